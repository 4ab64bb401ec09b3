"""The command `caption`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options as o
from .explanation_output import OutputOptions, explain_in_batches, print_text, print_words, write_explanations


def caption(
    photos: o.Photos,
    text: Annotated[str | None, typer.Option(help="Explain this text instead of the model's own.")] = None,
    model: o.Model = "nic",
    method: o.Method = None,
    score: o.Score = None,
    layer: o.Layer = None,
    out: o.Out = None,
    as_json: o.JsonOnly = False,
    phrases: Annotated[bool, typer.Option("--phrases", help="Also give maps of noun phrases.")] = False,
    beam: Annotated[int | None, typer.Option(min=1, help="Width of the beam search [default: 3].")] = None,
    n_steps: o.Steps = 16,
    scale: o.MapScale = o.Scale.caption,
    unknown: Annotated[
        o.UnknownWords, typer.Option(help="Words of --text outside the model's vocabulary.")
    ] = o.UnknownWords.error,
    on_error: o.OnFailure = o.OnError.fail,
    overwrite: o.Overwrite = False,
    device: o.Device = "auto",
    dtype: o.ModelDType = None,
    batch_size: o.BatchSize = 32,
) -> None:
    """Caption photos and show where each word came from.

    Prints the captions; writes index.html and, for every photo, figure.png and its maps. Folders are searched
    recursively for .jpg .jpeg .png .webp .gif .bmp .tif .tiff .avif .dcm. Exit code 1 if a photo failed.
    """
    from multimodal_cam.core.files import photos_in

    options = o.attribution_options(method, score, layer, n_steps)
    options |= o.drop_none(text=text, beam=beam, unknown=unknown.value, batch_size=batch_size)
    paths = photos_in(photos)
    write_explanations(
        lambda: explain_in_batches(o.load_model(model, device, dtype=dtype), paths, **options),
        len(paths),
        print_words if len(paths) == 1 else print_text,
        OutputOptions(out, as_json, overwrite, scale, on_error, phrases),
    )
