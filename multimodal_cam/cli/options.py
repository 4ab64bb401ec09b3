"""Options that several commands share, as annotated types with help text and checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multimodal_cam.methods import METHODS, find_method
from multimodal_cam.scores import SCORES

from .help_pages import HelpfulTyper
from .method_flags import check_method_options

if TYPE_CHECKING:
    from multimodal_cam import TaskAdapter


class Scale(StrEnum):
    caption = "caption"
    word = "word"


class UnknownWords(StrEnum):
    error = "error"
    unk = "unk"


class BoxRule(StrEnum):
    segment = "segment"
    otsu = "otsu"


class OnError(StrEnum):
    skip = "skip"
    stop = "stop"


class OutputFormat(StrEnum):
    html = "html"
    json = "json"
    parquet = "parquet"


class EngineName(StrEnum):
    local = "local"
    ray = "ray"


class DType(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


# ---- photos, models, devices -------------------------------------------------------------------------------

Photos = Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos, and folders of photos.")]
Model = Annotated[
    str,
    typer.Option(
        help="A bundled name, a folder written by `train` or save_pretrained, owner/name on the hub, or file.py:function."
    ),
]
Device = Annotated[str, typer.Option(help="auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps.")]
ModelDType = Annotated[
    DType | None, typer.Option("--dtype", help="Number format of a Hugging Face model's weights [default: as saved].")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Photos in a batch; a run that is killed loses at most one for each worker.")]
Engine = Annotated[EngineName, typer.Option(help="local (this machine) or ray (Ray Data, see docs/scale.md).")]
Workers = Annotated[int, typer.Option(min=1, help="Processes, or Ray actors, that work at once; each loads the model.")]

# ---- score, method, layer ----------------------------------------------------------------------------------

Method = Annotated[str | None, typer.Option(help=f"{', '.join(METHODS)}: see `multimodal-cam methods`.")]
Score = Annotated[str | None, typer.Option(help=f"{', '.join(SCORES)}.")]
Layer = Annotated[str | None, typer.Option(help="Dotted name of the layer to explain.")]
Steps = Annotated[int, typer.Option(min=1, help="Integration steps of the method evidence.")]
StepsOrMore = Annotated[
    int | None,
    typer.Option(
        "--n-steps", min=1, help="Integration steps of the method evidence [default: 16, more for words that do not add up]."
    ),
]

Channels = Annotated[
    bool, typer.Option("--channels", help="Also list the layer's channels that speak most for and against each word.")
]

# ---- where results go --------------------------------------------------------------------------------------

Out = Annotated[
    Path | None, typer.Option(help="Output folder; repeating the command goes on there [default: a new ./multimodal-cam-out].")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
JsonOnly = Annotated[bool, typer.Option("--json", help="Print one JSON object a line; write no files unless --out is given.")]
MapScale = Annotated[Scale, typer.Option(help="Colour scale of the PNG: shared by the caption, or one for each word.")]
OnFailure = Annotated[
    OnError, typer.Option("--on-error", help="Skip a photo that fails and list it at the end, or stop; what is done stays.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report in --out.")]
Format = Annotated[
    OutputFormat,
    typer.Option(
        "--format", help="html: a page and a saved explanation a photo; json: records alone; parquet: a table with the maps."
    ),
]
Figure = Annotated[bool, typer.Option("--figure/--no-figure", help="Draw a PNG of each explanation (html).")]

Boxes = Annotated[bool, typer.Option("--boxes", help="Draw the box around what each map marks; records have it in pixels.")]
RuleOfBoxes = Annotated[
    BoxRule, typer.Option("--box-rule", help="What --boxes keeps of a map: 15 % of its maximum (segment), or Otsu's foreground.")
]

# ---- data files --------------------------------------------------------------------------------------------

ImageFolder = Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with the photos.")]
QuestionsFile = Annotated[
    Path, typer.Option(exists=True, dir_okay=False, help="JSON lines, as written by `data make-questions`.")
]
CaptionsFile = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="CSV file with the header image,caption.")]

# ---- training ----------------------------------------------------------------------------------------------

TrainingFolder = Annotated[Path, typer.Option(file_okay=False, help="Output folder for the network, its log and its cache.")]
Epochs = Annotated[int | None, typer.Option(min=1)]
LearningRate = Annotated[float | None, typer.Option(min=0)]
Dropout = Annotated[float | None, typer.Option(min=0, max=1)]
TrainingSeed = Annotated[int | None, typer.Option(min=0)]


def command_group(help: str) -> typer.Typer:
    """Empty group of commands in the style of this program."""
    return HelpfulTyper(no_args_is_help=True, rich_markup_mode=None, help=help)


def drop_none(**options: Any) -> dict[str, Any]:
    """The options that are not None, i.e. were set on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def check_choice(option: str, value: str | None, choices: Iterable[str]) -> None:
    """Raises a usage error that lists `choices` if `value` is given and none of them."""
    if value is not None and value not in choices:
        raise typer.BadParameter(f"unknown {value!r}; choose from {', '.join(sorted(choices))}", param_hint=option)


def attribution_options(
    method: str | None, score: str | None, layer: str | None, n_steps: int | None, method_options: Mapping[str, str]
) -> dict[str, Any]:
    """Keyword arguments of `explain` that are common to all tasks; raises a usage error for unknown names."""
    if method is not None:
        try:
            find_method(method)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--method") from error
    check_choice("--score", score, SCORES)
    check_method_options(method, method_options)
    return drop_none(method=method, score=score, layer=layer, n_steps=n_steps, **method_options)


def load_model(name: str, device: str, *, weights: Path | None = None, dtype: DType | None = None) -> TaskAdapter:
    """The model `name`; an unknown name is a usage error."""
    from multimodal_cam import load
    from multimodal_cam.adapters.contract import UnknownModelError

    try:
        return load(name, device=device, weights=weights, dtype=dtype)
    except UnknownModelError as error:
        raise typer.BadParameter(str(error), param_hint="--model") from error
