"""The command line: parse, call, print. Results go to stdout, talk to stderr; nothing of ours loads before it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from multimodal_cam.study.commands import study

if TYPE_CHECKING:
    from rich.progress import Progress

    from multimodal_cam import Failure, TaskAdapter

INTERRUPTED = 130


class Scale(StrEnum):
    caption = "caption"
    word = "word"


class Unknown(StrEnum):
    error = "error"
    unk = "unk"


class OnError(StrEnum):
    fail = "raise"
    skip = "skip"


class DType(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Commands(TyperGroup):
    """Says what a user can mend in one line; with --debug everything keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, LookupError, ImportError, MemoryError) as error:
            if ctx.params.get("debug"):
                raise
            from multimodal_cam.results.report_folder import message

            _say(f"error: {message(error)}")
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train a network of ours.")
evaluate = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure how good a model is.")
data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make datasets.")
app.add_typer(train, name="train")
app.add_typer(evaluate, name="eval")
app.add_typer(data, name="data")
app.add_typer(study, name="study")

Model = Annotated[
    str,
    typer.Option(
        help="A bundled name, a folder that `train` or save_pretrained wrote, the hub's owner/name, or module:function."
    ),
]
Device = Annotated[str, typer.Option(help="auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps.")]
Numbers = Annotated[
    DType | None, typer.Option("--dtype", help="Load a Hugging Face model in these numbers [default: as it was saved].")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Folder = Annotated[Path, typer.Option(exists=True, file_okay=False, help="The folder with the photos.")]
Questions = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="JSON lines, as `data make-questions` writes.")]
Captions = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="CSV file with the header image,caption.")]


def main() -> None:
    """The entry point `multimodal-cam`."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # file names may hold anything
    app(prog_name="multimodal-cam")


def _version(wanted: bool) -> None:
    if wanted:
        from multimodal_cam import __version__

        print(f"multimodal-cam {__version__}")
        raise typer.Exit


@app.callback()
def multimodal_cam(
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(envvar="MULTIMODAL_CAM_DEBUG", help="Show the traceback of errors.")] = False,
) -> None:
    """Where a captioning or VQA model looked when it said a word: a photo, its caption, one heatmap per word."""


# ---- caption -----------------------------------------------------------------------------------------------


@app.command()
def caption(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos, and folders of photos.")],
    text: Annotated[str | None, typer.Option(help="Explain this text instead of the model's own.")] = None,
    model: Model = "nic",
    method: Annotated[str | None, typer.Option(help="See `multimodal-cam methods`.")] = None,
    score: Annotated[str | None, typer.Option(help="log_prob, logit or contrast.")] = None,
    layer: Annotated[str | None, typer.Option(help="Dotted name of the layer to look at.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write [default: a new ./multimodal-cam-out].")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; writes no files unless --out is given.")
    ] = False,
    phrases: Annotated[bool, typer.Option("--phrases", help="Noun phrases, too.")] = False,
    beam: Annotated[int | None, typer.Option(min=1, help="Width of the beam search [default: 3].")] = None,
    n_steps: Annotated[int, typer.Option(min=1, help="Steps of the method evidence.")] = 16,
    scale: Annotated[Scale, typer.Option(help="Colours of the PNG: one scale, or each word its own.")] = Scale.caption,
    unknown: Annotated[Unknown, typer.Option(help="Words of --text that the model lacks.")] = Unknown.error,
    on_error: Annotated[OnError, typer.Option(help="Stop at a photo that fails, or go on.")] = OnError.fail,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report in --out.")] = False,
    device: Device = "auto",
    dtype: Numbers = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos that run together.")] = 32,
) -> None:
    """Caption photos and show where each word came from.

    Prints the captions; writes index.html and, for every photo, figure.png and its maps. Folders are searched
    at every depth for .jpg .jpeg .png .webp .gif .bmp .tif .tiff .avif. Exit code 1 when any photo failed.
    """
    import multimodal_cam as mc
    from multimodal_cam.core.files import photos_in
    from multimodal_cam.methods import METHODS
    from multimodal_cam.results.report_folder import explain_each

    _choice("--method", method, METHODS)
    _choice("--score", score, mc.SCORES)
    paths = photos_in(photos)
    options = _given(text=text, method=method, score=score, layer=layer, beam=beam)
    options |= {"batch_size": batch_size, "n_steps": n_steps, "unknown": unknown.value}
    _tell(
        lambda: explain_each(_load(model, device, dtype=dtype), paths, **options),
        len(paths),
        _table if len(paths) == 1 else _caption_line,
        out=out,
        as_json=as_json,
        overwrite=overwrite,
        on_error=on_error,
        scale=scale,
        phrases=phrases,
    )


def _tell(
    explained: Callable[[], Iterator[tuple[str, Any]]],
    total: int,
    show: Callable[[dict[str, Any]], None],
    *,
    out: Path | None,
    as_json: bool,
    overwrite: bool,
    on_error: OnError = OnError.fail,
    scale: Scale = Scale.caption,
    phrases: bool = False,
) -> None:
    """Prints explanations as they come and, unless only JSON is wanted, writes their folder."""
    import multimodal_cam as mc
    from multimodal_cam.core.files import unused, whole_or_nothing
    from multimodal_cam.results.report_folder import Report, record

    target = out or unused(Path("multimodal-cam-out"))
    failures: list[tuple[str, Failure]] = []
    with ExitStack() as stack:
        report = None
        if out or not as_json:
            folder = stack.enter_context(whole_or_nothing(target, overwrite=overwrite))
            report = Report(folder, scale=scale.value, phrases=phrases)
        results = explained()
        advance = stack.enter_context(_bar("explaining", total))
        for done, (path, result) in enumerate(results, start=1):
            (_json_line if as_json else show)(record(path, result, phrases=phrases))
            if isinstance(result, mc.Failure):
                if on_error is OnError.fail:
                    raise result.error
                failures.append((path, result))
            if report is not None:
                report.add(path, result)
            advance(done)
        if report is not None and len(failures) < total:
            report.finish()
        elif report is not None:
            _stop(failures, total)
    if report is not None:
        _line(str(target / "index.html"), sys.stderr if as_json else sys.stdout)
    if failures:
        _stop(failures, total)


def _stop(failures: list[tuple[str, Failure]], total: int) -> NoReturn:
    """Says what failed and why; exit code 1."""
    from multimodal_cam.results.report_folder import message

    _say(f"{len(failures)} of {total} photos failed:")
    for path, failure in failures:
        _say(f"  {path}: {message(failure.error)}")
    raise typer.Exit(1)


def _json_line(found: dict[str, Any]) -> None:
    print(json.dumps(found, allow_nan=False), flush=True)


def _caption_line(found: dict[str, Any]) -> None:
    if "text" in found:  # failures are told in the end
        _line(f"{found['image']}: {found['text']}")


def _table(found: dict[str, Any]) -> None:
    """The caption, and a line for each word."""
    _caption_line(found)
    if "text" not in found:
        return
    scored = found["score"] != "log_prob"  # its numbers are the probabilities' logarithms
    rows = []
    for part in [*found["words"], *found.get("phrases", [])]:
        x, y = part["peak"] or (None, None)
        numbers = [part["probability"], *([part["score"]] if scored else []), part["reliance"], x, y]
        rows.append([part["text"], *("-" if number is None else f"{number:.2f}" for number in numbers)])
    _columns(["", "probability", *([found["score"]] if scored else []), "reliance", "peak x", "peak y"], rows)
    _line("reliance: nats that the photo adds; peak: in fractions of the photo from its top left corner")


# ---- vqa ---------------------------------------------------------------------------------------------------


@app.command()
def vqa(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="The photo.")],
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="One question or several, each in quotes.")],
    answer: Annotated[str | None, typer.Option(help="Explain this answer instead of the model's own.")] = None,
    instead_of: Annotated[str | None, typer.Option(help="Explain why the answer, and not this one.")] = None,
    counterfactual: Annotated[bool, typer.Option("--counterfactual", help="What speaks against the answer.")] = False,
    model: Model = "lstm-q",
    method: Annotated[str | None, typer.Option(help="See `multimodal-cam methods`.")] = None,
    score: Annotated[str | None, typer.Option(help="logit, log_prob or contrast.")] = None,
    layer: Annotated[str | None, typer.Option(help="Dotted name of the layer to look at.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write [default: a new ./multimodal-cam-out].")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; writes no files unless --out is given.")
    ] = False,
    n_steps: Annotated[int, typer.Option(min=1, help="Steps of the method evidence.")] = 16,
    scale: Annotated[Scale, typer.Option(help="Colours of the PNG: one scale, or each map its own.")] = Scale.caption,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report in --out.")] = False,
    device: Device = "auto",
    dtype: Numbers = None,
) -> None:
    """Ask a photo questions, and show where the answers came from and what the others had for them.

    Prints the answers; writes index.html and, for every question, figure.png and its maps. Several questions
    run the backbone once.
    """
    import multimodal_cam as mc
    from multimodal_cam.methods import METHODS

    _choice("--method", method, METHODS)
    _choice("--score", score, mc.SCORES)
    options = _given(text=answer, instead_of=instead_of, method=method, score=score, layer=layer)

    def explained() -> Iterator[tuple[str, Any]]:
        adapter = _load(model, device, dtype=dtype)
        asked = list(questions)
        for found in mc.explain(adapter, photo, question=asked, counterfactual=counterfactual, n_steps=n_steps, **options):
            yield photo, found

    _tell(explained, len(questions), _answers, out=out, as_json=as_json, overwrite=overwrite, scale=scale)


def _answers(found: dict[str, Any]) -> None:
    """The answer or class, a line for each that could have been given, and what each word of the question adds.

    An answer of several words is a table as a caption is.
    """
    if "text" not in found:  # failures are told in the end
        return
    if not found.get("answers"):
        _line(str(found["question"]))
        _table(found)
        _asked(found)
        return
    _line(f"{found['question']} {found['text']}" if "question" in found else f"{found['image']}: {found['text']}")
    rows = []
    for part in found["answers"]:
        x, y = part["peak"] or (None, None)
        numbers = [part["probability"], part["score"], x, y]
        rows.append([part["text"], *("-" if number is None else f"{number:.2f}" for number in numbers)])
    _columns(["", "probability", found["score"], "peak x", "peak y"], rows)
    _asked(found)
    (answer,) = found["words"]
    _line(f"the photo adds {answer['reliance']:+.2f} nats to {answer['text']}")
    _line("peak: in fractions of the photo from its top left corner")


def _asked(found: dict[str, Any]) -> None:
    """What each word of the question adds, and which of them the model does not know."""
    words = found.get("question_words", [])
    if words:
        shares = (f"{word['text']} {word['share']:+.2f}" for word in words)
        _line(f"the question's words add, in {found['unit']}: {', '.join(shares)}")
    unknown = [word["text"] for word in words if not word["known"]]
    if unknown:
        _say(f"the model does not know {', '.join(unknown)}: it reads <unk> there")


# ---- classify ----------------------------------------------------------------------------------------------


@app.command()
def classify(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos, and folders of photos.")],
    text: Annotated[str | None, typer.Option(help="Explain this class instead of the likeliest one.")] = None,
    instead_of: Annotated[str | None, typer.Option(help="Explain why that class, and not this one.")] = None,
    counterfactual: Annotated[bool, typer.Option("--counterfactual", help="What speaks against the class.")] = False,
    model: Annotated[
        str, typer.Option(help="efficientnet_lite0, timm:NAME, torchvision:NAME, or module:function.")
    ] = "efficientnet_lite0",
    weights: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File with weights for timm:NAME or torchvision:NAME.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="See `multimodal-cam methods`.")] = None,
    score: Annotated[str | None, typer.Option(help="logit, log_prob or contrast.")] = None,
    layer: Annotated[str | None, typer.Option(help="Dotted name of the layer to look at.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write [default: a new ./multimodal-cam-out].")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; writes no files unless --out is given.")
    ] = False,
    n_steps: Annotated[int, typer.Option(min=1, help="Steps of the method evidence.")] = 16,
    scale: Annotated[Scale, typer.Option(help="Colours of the PNG: one scale, or each map its own.")] = Scale.caption,
    on_error: Annotated[OnError, typer.Option(help="Stop at a photo that fails, or go on.")] = OnError.fail,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report in --out.")] = False,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Photos that run together.")] = 32,
) -> None:
    """Classify photos and show where the class came from and what the others had for them.

    Prints the classes; writes index.html and, for every photo, figure.png and its maps. efficientnet_lite0
    needs no network; the weights of timm's and torchvision's models are fetched the first time.
    """
    import multimodal_cam as mc
    from multimodal_cam.core.files import photos_in
    from multimodal_cam.methods import METHODS
    from multimodal_cam.results.report_folder import explain_each

    _choice("--method", method, METHODS)
    _choice("--score", score, mc.SCORES)
    paths = photos_in(photos)
    options = _given(text=text, instead_of=instead_of, method=method, score=score, layer=layer)
    options |= {"batch_size": batch_size, "n_steps": n_steps, "counterfactual": counterfactual}

    def explained() -> Iterator[tuple[str, Any]]:
        adapter = _load(model, device, weights)
        if adapter.task != "classification":
            raise typer.BadParameter(f"{adapter.name} is no classifier but for {adapter.task}", param_hint="--model")
        return explain_each(adapter, paths, **options)

    _tell(
        explained,
        len(paths),
        _answers if len(paths) == 1 else _caption_line,
        out=out,
        as_json=as_json,
        overwrite=overwrite,
        on_error=on_error,
        scale=scale,
    )


# ---- what there is -----------------------------------------------------------------------------------------


@app.command()
def models(as_json: Json = False) -> None:
    """List the models that come with the package, and the families of Hugging Face models that --model takes."""
    from multimodal_cam.adapters.catalog import family_rows, model_rows

    _rows(model_rows(), as_json)
    families = family_rows()
    if as_json:
        _rows(families, as_json)
        return
    _line("")
    _rows([{name: value for name, value in row.items() if name != "architectures"} for row in families], as_json)
    _line("Hugging Face: a folder that save_pretrained wrote, or the hub's owner/name; docs/families.md says what to expect")


@app.command()
def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundled name, a folder, owner/name, or module:function.")],
    as_json: Json = False,
    device: Device = "auto",
    dtype: Numbers = None,
) -> None:
    """List the layers of a model that can be looked at, with their grids, and which is looked at by default."""
    from multimodal_cam.adapters.catalog import layer_rows

    _rows(layer_rows(_load(model, device, dtype=dtype)), as_json)


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods; maps of linear ones add up from words to phrases."""
    from multimodal_cam.adapters.catalog import method_rows

    _rows(method_rows(), as_json)


# ---- train and eval ----------------------------------------------------------------------------------------


@train.command("captioner")
def train_captioner(
    images: Folder,
    captions: Captions,
    split: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Names to train on, one a line.")],
    dev: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Names to watch the loss on.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the network, its log and cache.")],
    network: Annotated[str | None, typer.Option(help="nic, or sat, which has attention.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="timm's name, or our captioner whose encoder it borrows: a bundled name or a folder.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Photos, each with all captions.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0)] = None,
    dropout: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    min_count: Annotated[int | None, typer.Option(min=1, help="Rarer words are unknown.")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    device: Device = "auto",
) -> None:
    """Train a captioner on photos with captions, and write it to a folder that --model takes.

    What is not given is the recipe's. Stopped at any moment, the same command goes on after the last epoch.
    """
    from dataclasses import replace

    from multimodal_cam.adapters.load import choose_device
    from multimodal_cam.data.captions import read_captions, read_split
    from multimodal_cam.models import captioner_training as training

    _choice("--network", network, training.NETWORKS)
    given = _given(
        network=network,
        encoder=encoder,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dropout=dropout,
        min_count=min_count,
        seed=seed,
    )
    recipe = replace(training.TrainingOptions(), **given)
    texts = read_captions(captions)
    with _stoppable(), _training_bars(recipe.epochs) as progress:
        training.train_captioner(
            images=images,
            captions=texts,
            train=read_split(split, texts),
            dev=read_split(dev, texts),
            out=out,
            options=recipe,
            device=choose_device(device),
            progress=progress,
        )
    _line(str(out))


@train.command("vqa")
def train_vqa(
    images: Folder,
    questions: Questions,
    dev: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Questions to watch the loss on.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the network, its log and cache.")],
    network: Annotated[str | None, typer.Option(help="lstm-q, or san, which has attention.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Our captioner whose encoder it uses: a bundled name or a folder.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Photos, each with all questions.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0)] = None,
    dropout: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    min_count: Annotated[int | None, typer.Option(min=1, help="Rarer words of questions are unknown.")] = None,
    min_answers: Annotated[int | None, typer.Option(min=1, help="Rarer answers are never given.")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    device: Device = "auto",
) -> None:
    """Train a VQA model on photos with questions, and write it to a folder that --model takes.

    What is not given is the recipe's. Stopped at any moment, the same command goes on after the last epoch.
    Lines of the question files that are broken are left out and told.
    """
    from dataclasses import replace

    from multimodal_cam.adapters.load import choose_device
    from multimodal_cam.models.vqa_training import NETWORKS, VQAOptions
    from multimodal_cam.models.vqa_training import train_vqa as run

    _choice("--network", network, NETWORKS)
    given = _given(
        network=network,
        encoder=encoder,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dropout=dropout,
        min_count=min_count,
        min_answers=min_answers,
        seed=seed,
    )
    recipe = replace(VQAOptions(), **given)
    with _stoppable(), _training_bars(recipe.epochs) as progress:
        run(
            images=images,
            train=_read_questions(questions),
            dev=_read_questions(dev),
            out=out,
            options=recipe,
            device=choose_device(device),
            progress=progress,
        )
    _line(str(out))


def _given(**options: Any) -> dict[str, Any]:
    """The options that are not left at None."""
    return {name: value for name, value in options.items() if value is not None}


def _read_questions(path: Path) -> list[Any]:
    """The questions of a file; broken lines are left out, counted, and the first is shown."""
    from multimodal_cam.data.questions import read_questions

    broken: list[str] = []
    questions = list(read_questions(path, broken.append))
    if broken:
        _say(f"left out {len(broken)} broken lines, the first: {broken[0]}")
    if not questions:
        raise ValueError(f"{path} holds no questions")
    return questions


@contextmanager
def _stoppable() -> Iterator[None]:
    """A training run that Ctrl-C may stop."""
    try:
        yield
    except KeyboardInterrupt:
        _say("stopped: the same command goes on after the last finished epoch")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _training_bars(epochs: int) -> Iterator[Callable[[str, int, int, str], None]]:
    """The `progress` of a training run: a bar for what runs now, one for the epochs, one line for each epoch."""
    with _progress() as bars:
        overall = bars.add_task("epochs", total=epochs)
        now = bars.add_task("starting", total=None)

        def progress(what: str, done: int, total: int, remark: str) -> None:
            if what == "dev":
                bars.update(overall, completed=done, total=total, remark=remark)
                bars.console.print(f"epoch {done} of {total}: {remark}", markup=False, highlight=False)
            else:
                bars.update(now, description=what, completed=done, total=total, remark=remark)

        yield progress


@evaluate.command("captions")
def eval_captions(
    images: Folder,
    captions: Captions,
    split: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Names of photos, one a line.")],
    model: Model = "nic",
    beam: Annotated[int, typer.Option(min=1, help="Width of the beam search.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first photos of the split.")] = None,
    as_json: Json = False,
    device: Device = "auto",
    dtype: Numbers = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos that run together.")] = 32,
) -> None:
    """BLEU-1 to BLEU-4 (0 to 1) and CIDEr (0 to 10) of a model's captions against human ones."""
    from multimodal_cam.data.captions import read_captions, read_split
    from multimodal_cam.evaluation.caption_quality import evaluate_captions

    texts = read_captions(captions)
    references = {name: texts[name] for name in read_split(split, texts)[:limit]}
    adapter = _load(model, device, dtype=dtype)
    with _bar("captioning", len(references)) as advance:
        scores = evaluate_captions(
            adapter,
            images,
            references,
            batch_size=batch_size,
            progress=lambda done, _: advance(done),
            beam=beam,
        )
    if as_json:
        print(json.dumps({"model": adapter.name, "photos": len(references), "beam": beam} | scores))
    else:
        for name, value in scores.items():
            print(f"{name} {value:.3f}")


# ---- data --------------------------------------------------------------------------------------------------


@data.command("make-questions")
def make_questions(
    captions: Captions,
    split: Annotated[list[Path], typer.Option(exists=True, dir_okay=False, help="Names of photos, one a line; repeatable.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="File to write, one JSON object a line.")],
    entities: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Flickr30k Entities: answers get their boxes.")
    ] = None,
    min_count: Annotated[int, typer.Option(min=1, help="Rarer answers, and questions with rarer words, are left out.")] = 5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make questions about photos from their captions, each with its answer and where that is.

    They ask for objects, colours, numbers, places, actions and, as often yes as no, whether something is so. A
    split is called after its file, train_images.txt train. What cannot be read is left out and told in the end.
    """
    from multimodal_cam.data.asking import make_questions as questions_of
    from multimodal_cam.data.captions import read_captions, read_split
    from multimodal_cam.data.photos import Tally
    from multimodal_cam.data.questions import write_questions

    tally = Tally()
    texts = read_captions(captions, tally.of("lines of captions"))
    splits = {path.stem.removesuffix("_images"): read_split(path, texts, tally.of("photos without captions")) for path in split}
    if len(splits) < len(split):
        raise ValueError(f"two splits of one name: {', '.join(map(str, split))}")
    with _bar("reading captions", sum(map(len, splits.values()))) as advance:
        found = list(questions_of(texts, splits, entities, seed=seed, min_count=min_count, tally=tally, progress=advance))
    for reason, (times, first) in tally.found.items():
        _say(f"left out: {times} {reason}, the first: {first}")
    if not found:
        raise ValueError(f"no question could be made from {captions} for the photos of {', '.join(map(str, split))}")
    count = write_questions(found, out)
    _line(f"{out}: {count} questions")


@evaluate.command("vqa")
def eval_vqa(
    images: Folder,
    questions: Questions,
    known: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The training questions, for the commonest answers.")],
    model: Model = "lstm-q",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions.")] = None,
    as_json: Json = False,
    device: Device = "auto",
    dtype: Numbers = None,
) -> None:
    """Accuracy by type of question, beside the commonest answer, the question alone and the photo alone."""
    from dataclasses import asdict

    from multimodal_cam.evaluation.answer_accuracy import evaluate_answers

    asked, adapter = _read_questions(questions)[:limit], _load(model, device, dtype=dtype)
    with _bar("answering", len(asked)) as advance:
        found = evaluate_answers(adapter, images, asked, _read_questions(known), progress=lambda done, _: advance(done))
    rows: list[dict[str, Any]] = [{"type": kind} | asdict(accuracy) for kind, accuracy in found.items()]
    if not as_json:
        rows = [{k.replace("_", " "): f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    _rows(rows, as_json)


# ---- what the commands share -------------------------------------------------------------------------------


def _choice(option: str, value: str | None, choices: Iterable[str]) -> None:
    if value is not None and value not in choices:
        raise typer.BadParameter(f"unknown {value!r}; choose from {', '.join(sorted(choices))}", param_hint=option)


def _load(name: str, device: str, weights: Path | None = None, dtype: DType | None = None) -> TaskAdapter:
    import multimodal_cam as mc

    try:
        return mc.load(name, device=device, weights=weights, dtype=dtype)
    except ValueError as error:
        if str(error).startswith("unknown model"):
            raise typer.BadParameter(str(error), param_hint="--model") from error
        raise


def _line(text: str, file: TextIO | None = None) -> None:
    """Prints one line; what a file name may hold of control characters does not reach the terminal."""
    print("".join(c if c.isprintable() else "?" for c in text), file=file, flush=True)


def _say(text: str) -> None:
    _line(text, sys.stderr)


def _rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for row in rows:
            print(json.dumps(row))
    elif rows:
        _columns(list(rows[0]), [[_shown(value) for value in row.values()] for row in rows])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _columns(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        _line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; gives a function that takes how many are done."""
    if total == 1:
        yield lambda _: None
        return
    with _progress() as bars:
        task = bars.add_task(what, total=total)
        yield lambda done: bars.update(task, completed=done)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Remark(TextColumn):
        def render(self, task: Any) -> Any:
            from rich.text import Text

            return Text(str(task.fields.get("remark", "")))

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        Remark(""),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),  # on a terminal both go to the same place, else results stay results
    )


if __name__ == "__main__":
    main()
