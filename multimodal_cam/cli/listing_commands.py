"""The commands `models`, `layers` and `methods`, which list the choices."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options as o
from .output import print_line, print_rows


def models(as_json: o.Json = False) -> None:
    """List the bundled models, and the families of Hugging Face models that --model takes."""
    from multimodal_cam.adapters.catalog import family_rows, model_rows

    print_rows(model_rows(), as_json)
    families = family_rows()
    if as_json:
        print_rows(families, as_json)
        return
    print_line("")
    print_rows([{name: value for name, value in row.items() if name != "architectures"} for row in families], as_json)
    print_line("Hugging Face: a folder that save_pretrained wrote, or the hub's owner/name; docs/families.md has the details")


def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundled name, a folder, owner/name, or file.py:function.")],
    as_json: o.Json = False,
    device: o.Device = "auto",
    dtype: o.ModelDType = None,
) -> None:
    """List the layers of a model that can be explained, with their grids, and the default one."""
    from multimodal_cam.adapters.catalog import layer_rows

    print_rows(layer_rows(o.load_model(model, device, dtype=dtype)), as_json)


def methods(as_json: o.Json = False) -> None:
    """List the methods; maps of linear ones add up from words to phrases."""
    from multimodal_cam.adapters.catalog import method_rows

    print_rows(method_rows(), as_json)
