"""What there is to choose from: bundled models and methods, as rows of a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any


def model_rows() -> list[dict[str, Any]]:
    """What needs no network: name, task, default method, tapped layer, its grid, and the size of the vocabulary."""
    from ..models.bundle import bundled
    from .load import load
    from .pretrained import PACKAGED

    return [_model_row(load(name, device="cpu")) for name in [*bundled(), *PACKAGED]]


def _model_row(model: Any) -> dict[str, Any]:
    import torch
    from PIL import Image

    from ..core.hooks import LayerTap
    from .contract import layer_view_of
    from .layer_choice import resolve_layer

    inputs = model.preprocess([Image.new("RGB", (64, 64))], ["what is there?"] if model.task == "vqa" else None)
    layer, name = resolve_layer(model, None)
    with torch.no_grad(), LayerTap(layer, name, view=layer_view_of(model, inputs, layer)) as tap:
        logits = model.logits(inputs, torch.zeros(1, 1, dtype=torch.long, device=inputs.pixels.device))
    return {
        "name": model.name,
        "task": model.task,
        "method": model.default_method,
        "layer": name,
        "grid": list(tap.activations.shape[2:]),
        "vocabulary": logits.shape[-1],
    }


def family_rows() -> list[dict[str, Any]]:
    """The families of Hugging Face models that `load` takes, from their checkpoints."""
    from .hf.family_registry import FAMILIES, TESTED
    from .hf.generic_model import GENERIC

    return [
        {
            "family": family.name,
            "task": family.task,
            "layer": family.layer,
            "grid": family.grid,
            "tokenizer": family.tokenizer,
            "head alone": family.capabilities.head_runs_alone,
            "memory": family.memory,
            "transformers": TESTED,
            "architectures": list(family.architectures),
        }
        for family in (*FAMILIES, GENERIC)
    ]


def layer_rows(model: Any) -> list[dict[str, Any]]:
    """Every layer that gives a grid once a photo, in the order in which they run: name, grid, whether the head uses it.

    `used` is whether the text's score has a gradient on the grid that is not zero; None where the network runs without one.
    """
    import torch
    from PIL import Image

    from ..core.hooks import evaluation_mode
    from ..scores import log_prob
    from .contract import layer_view_of
    from .hf.token_views import first_tensor, with_first_tensor
    from .layer_choice import resolve_layer

    questions = ["what is there?"] if "vqa" in model.task else None
    inputs = model.preprocess([Image.effect_noise((96, 64), 80).convert("RGB")], questions)
    ids = torch.zeros(1, 1, dtype=torch.long, device=inputs.pixels.device)
    outputs: dict[str, Any] = {}
    runs: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(module: Any, _args: Any, output: Any) -> None:
            tensor: Any = first_tensor(output)
            runs[name] = runs.get(name, 0) + 1
            try:
                rows = len(layer_view_of(model, inputs, module).extract(output))
            except ValueError:
                return
            if rows == len(inputs):
                outputs[name] = (module, with_first_tensor(output, tensor))  # a copy: some models write on theirs

        return hook

    default = resolve_layer(model, None)[1]
    root = getattr(model, "tower", model.module)
    handles = [m.register_forward_hook(note(n)) for n, m in model.module.named_modules() if n and _below(m, root)]
    try:
        with torch.random.fork_rng(devices=[]), evaluation_mode(model.module), torch.enable_grad():
            pixels = inputs.pixels.detach().clone().requires_grad_()
            score = log_prob(model.logits(replace(inputs, pixels=pixels), ids), ids).sum()
    finally:
        for handle in handles:
            handle.remove()
    rows = []
    for name, (module, output) in outputs.items():
        view = layer_view_of(model, inputs, module)
        grid = list(view.to_image(view.cells(view.extract(output))[:, 0]).shape[-2:])
        if runs[name] == 1 and (min(grid) > 1 or name == default):
            rows.append({"layer": name, "grid": grid, "used": _used(score, output, view), "default": name == default})
    return rows


def _below(module: Any, root: Any) -> bool:
    return any(module is part for part in root.modules())


def _used(score: Any, output: Any, view: Any) -> bool | None:
    import torch

    from .hf.token_views import first_tensor, with_first_tensor

    tensor: Any = first_tensor(output)
    if not (score.requires_grad and tensor.requires_grad):
        return None
    (gradient,) = torch.autograd.grad(score, tensor, retain_graph=True, allow_unused=True)
    return gradient is not None and bool(view.cells(view.extract(with_first_tensor(output, gradient))).any())


def method_rows() -> list[dict[str, Any]]:
    """The methods: name, whether phrase maps are sums of word maps, and the paper."""
    from ..methods import METHODS

    return [{"name": spec.name, "linear": spec.linear, "paper": spec.paper} for spec in METHODS.values()]
