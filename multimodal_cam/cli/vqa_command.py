"""The command `vqa`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from . import options as o
from .explanation_output import Batch, OutputOptions, print_answers, print_text, write_explanations
from .method_flags import with_method_options


@with_method_options
def vqa(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="The photo, or a folder of photos.")],
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="One or more questions, each in quotes.")],
    answer: Annotated[str | None, typer.Option(help="Explain this answer instead of the model's own.")] = None,
    instead_of: Annotated[str | None, typer.Option(help="Explain why the answer and not this one.")] = None,
    counterfactual: Annotated[bool, typer.Option("--counterfactual", help="Show what speaks against the answer.")] = False,
    model: o.Model = "lstm-q",
    method: o.Method = None,
    score: o.Score = None,
    layer: o.Layer = None,
    channels: o.Channels = False,
    out: o.Out = None,
    as_json: o.JsonOnly = False,
    n_steps: o.StepsOrMore = None,
    scale: o.MapScale = o.Scale.caption,
    on_error: o.OnFailure = o.OnError.skip,
    overwrite: o.Overwrite = False,
    format: o.Format = o.OutputFormat.html,
    figure: o.Figure = True,
    boxes: o.Boxes = False,
    box_rule: o.RuleOfBoxes = o.BoxRule.segment,
    device: o.Device = "auto",
    dtype: o.ModelDType = None,
    batch_size: o.BatchSize = 32,
    engine: o.Engine = o.EngineName.local,
    workers: o.Workers = 1,
    *,
    method_options: Mapping[str, str],
) -> None:
    """Ask questions about a photo, or each photo of a folder, and show the evidence for the answers and their alternatives.

    Prints the answers; writes index.html and, for every photo and question, a page, figure.png and its maps, as they come:
    whatever ends the command, repeating it goes on. Several questions share one pass of the backbone. Exit code 1 if a photo
    failed, 130 after Ctrl-C.
    """
    from multimodal_cam.batch.batch_settings import BatchSettings, photo_items

    options = o.attribution_options(method, score, layer, n_steps, method_options)
    options |= o.drop_none(text=answer, instead_of=instead_of, counterfactual=counterfactual, channels=channels or None)
    items = photo_items([photo], questions)
    settings = BatchSettings(
        "vqa",
        model,
        {"device": device, "dtype": dtype},
        options,
        format=format.value,
        figure=figure,
        scale=scale.value,
        batch_size=batch_size,
        boxes=box_rule.value if boxes else None,
    )
    write_explanations(
        Batch(settings, items, [photo, *questions], lambda: o.load_model(model, device, dtype=dtype)),
        OutputOptions(out, as_json, overwrite, on_error, engine, workers),
        print_answers if len(items) == len(questions) else print_text,
    )
