"""What there is to choose from: bundled models and methods, as rows of a table."""

from __future__ import annotations

from typing import Any

ATTENTION = "The model's own attention, Xu et al., ICML 2015, where it has some: no gradient, no unit"
EVIDENCE = "Integrated gradients at the layer, Sundararajan et al., ICML 2017, eq. 1"


def model_rows() -> list[dict[str, Any]]:
    """What needs no network: name, task, default method, tapped layer, its grid, and the size of the vocabulary."""
    from .adapters.zoo import PACKAGED
    from .loading import load
    from .models.bundle import bundled

    return [_model_row(load(name, device="cpu")) for name in [*bundled(), *PACKAGED]]


def _model_row(model: Any) -> dict[str, Any]:
    import torch
    from PIL import Image

    from .engine import view_of
    from .explaining import find_layer
    from .tap import LayerTap

    inputs = model.preprocess([Image.new("RGB", (64, 64))], ["what is there?"] if model.task == "vqa" else None)
    layer, name = find_layer(model, None)
    with torch.no_grad(), LayerTap(layer, name, view=view_of(model, inputs, layer)) as tap:
        logits = model.logits(inputs, torch.zeros(1, 1, dtype=torch.long, device=inputs.pixels.device))
    return {
        "name": model.name,
        "task": model.task,
        "method": model.method,
        "layer": name,
        "grid": list(tap.activations.shape[2:]),
        "vocabulary": logits.shape[-1],
    }


def method_rows() -> list[dict[str, Any]]:
    """The methods: name, whether phrase maps are sums of word maps, and the paper."""
    from .methods import LINEAR, METHODS

    rows = [{"name": "evidence", "linear": True, "paper": EVIDENCE}, {"name": "attention", "linear": True, "paper": ATTENTION}]
    for name, function in METHODS.items():
        paper = (function.__doc__ or "").strip().split("\n")[0].split(":")[0]
        rows.append({"name": name, "linear": name in LINEAR, "paper": paper})
    return sorted(rows, key=lambda row: str(row["name"]))
