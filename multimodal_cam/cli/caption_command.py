"""The command `caption`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from . import options as o
from .explanation_output import Batch, OutputOptions, print_text, print_words, write_explanations
from .method_flags import with_method_options


@with_method_options
def caption(
    photos: o.Photos,
    text: Annotated[str | None, typer.Option(help="Explain this text instead of the model's own.")] = None,
    model: o.Model = "nic",
    method: o.Method = None,
    score: o.Score = None,
    layer: o.Layer = None,
    channels: o.Channels = False,
    out: o.Out = None,
    as_json: o.JsonOnly = False,
    phrases: Annotated[bool, typer.Option("--phrases", help="Also give maps of noun phrases.")] = False,
    beam: Annotated[
        int | None, typer.Option(min=1, help="Width of the beam search [default: 3; of your own captioner 1, greedy].")
    ] = None,
    n_steps: o.StepsOrMore = None,
    scale: o.MapScale = o.Scale.caption,
    unknown: Annotated[
        o.UnknownWords, typer.Option(help="Words of --text outside the model's vocabulary.")
    ] = o.UnknownWords.error,
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
    """Caption photos and show where each word came from.

    Prints the captions; writes index.html and, for every photo, a page, figure.png and its maps, as they come: whatever
    ends the command, repeating it goes on. Folders are searched recursively for .jpg .jpeg .png .webp .gif .bmp .tif .tiff
    .avif .dcm. Exit code 1 if a photo failed, 130 after Ctrl-C.
    """
    from multimodal_cam.batch.batch_settings import BatchSettings, photo_items

    options = o.attribution_options(method, score, layer, n_steps, method_options)
    options |= o.drop_none(text=text, beam=beam, unknown=unknown.value, channels=channels or None)
    items = photo_items(photos)
    settings = BatchSettings(
        "caption",
        model,
        {"device": device, "dtype": dtype},
        options,
        format=format.value,
        figure=figure,
        scale=scale.value,
        phrases=phrases,
        batch_size=batch_size,
        boxes=box_rule.value if boxes else None,
    )
    write_explanations(
        Batch(settings, items, photos, lambda: o.load_model(model, device, dtype=dtype)),
        OutputOptions(out, as_json, overwrite, on_error, engine, workers),
        print_words if len(items) == 1 else print_text,
    )
