"""Bundled models, Hugging Face families, layers and methods, as rows of tables. Heavy imports are deferred."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from ..extras import MissingPackageError

_log = logging.getLogger("multimodal_cam")


def model_rows() -> list[dict[str, Any]]:
    """Models that come with the package: name, task, default method and layer, its grid, and the size of the vocabulary.

    A model whose weights come from a package that is not installed is left out, and the log says so.
    """
    from ..models.bundle import bundled
    from .load import load
    from .pretrained import PACKAGED

    rows = []
    for name in [*bundled(), *PACKAGED]:
        try:
            rows.append(_model_row(load(name, device="cpu")))
        except MissingPackageError as error:
            _log.warning("%s is left out: %s", name, error)
    return rows


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
    from .hf.generic_family import GENERIC

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
    from .layer_choice import resolve_layer

    inputs = _noise_inputs(model)
    score, calls = _score_and_layer_calls(model, inputs)
    default = resolve_layer(model, None)[1]
    rows = []
    for call in calls:
        view = call.view
        grid = list(view.to_image(view.cells(view.extract(call.output))[:, 0]).shape[-2:])
        if min(grid) > 1 or call.name == default:
            used = _has_gradient(score, call.output, view)
            rows.append({"layer": call.name, "grid": grid, "used": used, "default": call.name == default})
    return rows


@dataclass(frozen=True)
class LayerCall:
    """A layer that ran once, and a copy of its output in the graph of the score."""

    name: str
    module: Any
    output: Any
    view: Any


def _noise_inputs(model: Any) -> Any:
    """One photo of noise, with a question where the model takes one."""
    from PIL import Image

    from .contract import trial_photo

    questions = ["what is there?"] if "vqa" in model.task else None
    return model.preprocess([trial_photo(model, Image.effect_noise((96, 64), 80).convert("RGB"))], questions)


def _score_and_layer_calls(model: Any, inputs: Any) -> tuple[Any, list[LayerCall]]:
    """The score of a token, with a graph, and the layers that ran once and gave a grid for each row of `inputs`."""
    import torch

    from ..core.call_scope import unchanged_state
    from ..core.hooks import forward_hooks
    from .contract import HasVisionTower, MeasuresLayers, layer_view_of, log_prob_of

    inside = set((model.tower if isinstance(model, HasVisionTower) else model.module).modules())
    names = {module: name for name, module in model.module.named_modules() if name and module in inside}
    runs: Counter[Any] = Counter()
    calls: list[LayerCall] = []
    measured = model.readable_layers(inputs, list(names)) if isinstance(model, MeasuresLayers) else None

    def record_call(module: Any, _args: Any, output: Any) -> None:
        runs[module] += 1
        if measured is not None and module not in measured:
            return
        try:
            view = layer_view_of(model, inputs, module) if measured is None else measured[module]
            rows = len(view.extract(output))
        except ValueError:  # no grid
            return
        if rows == len(inputs):
            calls.append(LayerCall(names[module], module, output, view))

    ids = torch.zeros(1, 1, dtype=torch.long, device=inputs.pixels.device)
    with (
        unchanged_state(model.module),
        torch.enable_grad(),
        forward_hooks(list(names), record_call),
    ):
        pixels = inputs.pixels.detach().clone().requires_grad_()
        score = log_prob_of(model)(model.logits(replace(inputs, pixels=pixels), ids), ids).sum()
    return score, [call for call in calls if runs[call.module] == 1]


def _has_gradient(score: Any, output: Any, view: Any) -> bool | None:
    """Whether the gradient of `score` on the grid of `output` is not zero; None without a graph."""
    import torch

    from ..core.layer_layout import AxesView
    from ..core.output_parts import part_at, with_part
    from .hf.token_views import first_tensor, with_first_tensor

    path = view.layout.path if isinstance(view, AxesView) else None
    tensor: Any = first_tensor(output) if path is None else part_at(output, path)
    if not (score.requires_grad and tensor.requires_grad):
        return None
    (gradient,) = torch.autograd.grad(score, tensor, retain_graph=True, allow_unused=True)
    if gradient is None:
        return False
    replaced = with_first_tensor(output, gradient) if path is None else with_part(output, path, gradient)
    return bool(view.cells(view.extract(replaced)).any())


def method_rows() -> list[dict[str, Any]]:
    """The methods: name, whether phrase maps are sums of word maps, and the paper."""
    from ..methods import METHODS

    return [{"name": spec.name, "linear": spec.linear, "paper": spec.paper} for spec in METHODS.values()]


def score_rows() -> list[dict[str, Any]]:
    """The scores: name, unit, and what they are."""
    from ..scores import SCORES

    return [{"name": spec.name, "unit": spec.unit, "description": spec.description} for spec in SCORES.values()]
