"""Grad-CAM of whatever is differentiable: a policy's action, a similarity, a regression, a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .adapters.unwrapping import refuse_torchscript
from .core.call_scope import eval_mode_of_called_modules, unchanged_state
from .core.gradients import ProductLog, score_gradients
from .core.hooks import LayerTap, ReadoutTap
from .core.module_claims import exclusive
from .methods.path import integrated_gradients, mean_gradients
from .methods.spec import CamMethod, MethodSpec, find_method


def explain_score(
    fn: Callable[..., Tensor],
    layer: nn.Module,
    inputs: Tensor | Sequence[Any],
    *,
    method: str | CamMethod = "grad_cam",
    baseline: Tensor | Sequence[Any] | None = None,
    n_steps: int = 16,
) -> Tensor:
    """One map for each score: where in `layer`'s grid the numbers come from that `fn(*inputs)` returns.

    All gradients come from one forward pass, in one batched product. Modules are in evaluation mode while they run; nothing else
    of the network is touched, no `.grad` either.

    Args:
        fn: Runs the network once and returns a score for each of `b` images, `(b,)`, or several, `(b, m)`; a plain number is one
            image's. The scores of a row may depend on that image only.
        layer: A module that outputs `(b, c, h, w)` once in a forward pass.
        inputs: The arguments of `fn`; a tensor is its only one.
        method: A name of `METHODS`, or a function `(activations (m, c, h, w), gradients (m, c, h, w)) -> (m, h, w)`.
        baseline: For `evidence`: the inputs that stand for nothing (a black screen, a mean image). The maps add up to
            `fn(*inputs) - fn(*baseline)`.
        n_steps: Steps of the path of `evidence`, one forward pass each.

    Returns:
        Maps of the scores' shape and the grid behind it, `(b, h, w)` or `(b, m, h, w)`: signed, raw, float32, on the CPU.
        `geometry.place` draws a map on an image; `adapters.transform_placement.TransformPlacement(transform)(width, height)` says
        where the pixels of your transform lie on it.

    Raises:
        ValueError: The scores have another shape or do not depend on `layer`; or `layer` outputs no grid, does not run, or runs
            more than once.
    """
    refuse_torchscript(layer, "layer")
    spec = _method(method, baseline)
    if n_steps < 1:
        raise ValueError(f"n_steps: expected 1 or more, got {n_steps}")
    log = ProductLog(
        "fn: the gradient of the scores is not finite: check the weights and the inputs",
        f"fn: the scores do not depend on the layer, {type(layer).__name__}: choose one that they come from",
    )
    with exclusive(layer), unchanged_state(), eval_mode_of_called_modules():
        activations, scores, leaf = _run(fn, layer, inputs)
        if spec.kind == "path":
            start, _, _ = _run(fn, layer, baseline)
            gradients = _path_gradients(fn, layer, inputs, activations, start, n_steps, log)
            maps = integrated_gradients(activations, start, gradients)
        else:
            gradients = _gradients(scores, leaf, log)
            rows = activations.to(gradients.dtype).expand_as(gradients)
            maps = spec.maps(rows.flatten(0, 1), gradients.flatten(0, 1)).view(*gradients.shape[:2], *activations.shape[2:])
    log.require_dependence()
    shape = (*scores.shape, *activations.shape[2:])
    return maps.transpose(0, 1).reshape(shape).detach().to("cpu", torch.float32, copy=True)


def _method(method: str | CamMethod, baseline: Any) -> MethodSpec:
    """The method's entry. Raises ValueError for attention, and for a path without a baseline."""
    spec = find_method(method, ("gradient", "path"))
    if spec.kind == "path" and baseline is None:
        raise ValueError("evidence is counted from something: pass baseline=, the inputs that stand for nothing")
    return spec


def _run(fn: Callable[..., Tensor], layer: nn.Module, inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The layer's activations `(b, c, h, w)`, the scores, and the leaf in the layer's place that they come from."""
    with torch.no_grad(), LayerTap(layer, type(layer).__name__, leaf=True) as tap:
        scores = fn(*_arguments(inputs))
    activations = tap.activations
    assert tap.leaf is not None
    b = len(activations)
    if not isinstance(scores, Tensor):
        raise ValueError(f"fn: expected a tensor of scores, got {type(scores).__name__}")
    if scores.shape[:1] != (b,) and (scores.ndim or b != 1) or scores.ndim > 2:
        raise ValueError(
            f"fn: expected scores ({b},) or ({b}, m), one row for each row of the layer's output, got {tuple(scores.shape)}"
        )
    if not scores.requires_grad:
        raise ValueError(
            "fn: the scores do not depend on the layer in a way that can be differentiated: return what is computed from it, "
            "before argmax, detach, item or numpy"
        )
    return activations, scores, tap.leaf


def _path_gradients(
    fn: Callable[..., Tensor], layer: nn.Module, inputs: Any, activations: Tensor, start: Tensor, n_steps: int, log: ProductLog
) -> Tensor:
    """Mean gradients `(m, b, c, h, w)` from `start` to `activations`: the whole network runs for each step, overridden there."""

    def gradients_at(points: Tensor) -> tuple[Tensor]:
        leaf = points[0].detach().requires_grad_()
        with torch.enable_grad(), LayerTap(layer, replace=leaf.clone()):  # a clone: what follows may write on it
            return (_gradients(fn(*_arguments(inputs)), leaf, log),)

    (gradients,) = mean_gradients(
        gradients_at, activations, start.expand_as(activations), n_steps=n_steps, steps_at_once=lambda: 1
    )
    return gradients


def _arguments(inputs: Any) -> Sequence[Any]:
    return (inputs,) if isinstance(inputs, Tensor) else inputs


def _gradients(scores: Tensor, leaf: Tensor, log: ProductLog) -> Tensor:
    """The gradient of each score `(m, b, c, h, w)`, at least float32."""
    with ReadoutTap(None) as cut:
        (gradients,) = score_gradients(scores.reshape(len(leaf), -1, 1), leaf, cut, log.checked, log)
    return gradients[:, 0]
