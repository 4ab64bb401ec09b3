"""The command `classify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .explanation_output import OutputOptions, explain_in_batches, print_answers, print_text, write_explanations

if TYPE_CHECKING:
    from multimodal_cam import Explanation, Failure


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
    out: o.Out = None,
    as_json: o.JsonOnly = False,
    n_steps: o.Steps = 16,
    scale: o.MapScale = o.Scale.caption,
    on_error: o.OnFailure = o.OnError.fail,
    overwrite: o.Overwrite = False,
    device: o.Device = "auto",
    batch_size: o.BatchSize = 32,
) -> None:
    """Classify photos and show the evidence for the class and for its alternatives.

    Prints the classes; writes index.html and, for every photo, figure.png and its maps. efficientnet_lite0
    needs no network; weights of timm's and torchvision's models are downloaded on first use.
    """
    from multimodal_cam.core.files import photos_in

    options = o.attribution_options(method, score, layer, n_steps)
    options |= o.drop_none(text=text, instead_of=instead_of, counterfactual=counterfactual, batch_size=batch_size)
    paths = photos_in(photos)

    def explain() -> Iterator[tuple[str, Explanation | Failure]]:
        adapter = o.load_model(model, device, weights=weights)
        if adapter.task != "classification":
            raise typer.BadParameter(f"{adapter.name} is no classifier but for {adapter.task}", param_hint="--model")
        return explain_in_batches(adapter, paths, **options)

    write_explanations(
        explain,
        len(paths),
        print_answers if len(paths) == 1 else print_text,
        OutputOptions(out, as_json, overwrite, scale, on_error),
    )
