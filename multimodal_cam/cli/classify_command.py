"""The command `classify`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .explanation_output import Batch, OutputOptions, print_answers, print_text, write_explanations
from .method_flags import with_method_options

if TYPE_CHECKING:
    from multimodal_cam import TaskAdapter


@with_method_options
def classify(
    photos: o.Photos,
    text: Annotated[str | None, typer.Option(help="Explain this class instead of the likeliest one.")] = None,
    instead_of: Annotated[str | None, typer.Option(help="Explain why the class and not this one.")] = None,
    counterfactual: Annotated[bool, typer.Option("--counterfactual", help="Show what speaks against the class.")] = False,
    model: Annotated[
        str, typer.Option(help="efficientnet_lite0, timm:NAME, torchvision:NAME, or file.py:function.")
    ] = "efficientnet_lite0",
    weights: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Weights file for timm:NAME or torchvision:NAME.")
    ] = None,
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
    batch_size: o.BatchSize = 32,
    engine: o.Engine = o.EngineName.local,
    workers: o.Workers = 1,
    *,
    method_options: Mapping[str, str],
) -> None:
    """Classify photos and show the evidence for the class and for its alternatives.

    Prints the classes; writes index.html and, for every photo, a page, figure.png and its maps, as they come: whatever
    ends the command, repeating it goes on. efficientnet_lite0 needs no network; weights of timm's and torchvision's models
    are downloaded on first use. Exit code 1 if a photo failed, 130 after Ctrl-C.
    """
    from multimodal_cam.batch.batch_settings import BatchSettings, photo_items

    options = o.attribution_options(method, score, layer, n_steps, method_options)
    options |= o.drop_none(text=text, instead_of=instead_of, counterfactual=counterfactual, channels=channels or None)
    items = photo_items(photos)
    settings = BatchSettings(
        "classify",
        model,
        {"device": device, "weights": weights},
        options,
        format=format.value,
        figure=figure,
        scale=scale.value,
        batch_size=batch_size,
        boxes=box_rule.value if boxes else None,
    )

    def load_classifier() -> TaskAdapter:
        adapter = o.load_model(model, device, weights=weights)
        if adapter.task != "classification":
            raise typer.BadParameter(f"{adapter.name} is no classifier but for {adapter.task}", param_hint="--model")
        return adapter

    write_explanations(
        Batch(settings, items, photos, load_classifier),
        OutputOptions(out, as_json, overwrite, on_error, engine, workers),
        print_answers if len(items) == 1 else print_text,
    )
