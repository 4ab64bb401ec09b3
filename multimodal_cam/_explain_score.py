"""Grad-CAM of whatever is differentiable: a policy's action, a similarity, a regression, a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from .core.gradients import token_gradients
from .core.hooks import LayerTap, ReadoutTap, eval_mode_of_called_modules
from .methods import path as evidence
from .methods.gradient import METHODS, CamMethod


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

    `fn` runs the network once and returns a score for each of `b` images, `(b,)`, or several, `(b, m)` (a plain number is one
    image's). A row's scores may depend on that image only. The result has the scores' shape and the grid behind it, `(b, h, w)`
    or `(b, m, h, w)`: signed, raw, float32, on the CPU. All gradients come from one forward pass, in one batched product.

    `method`: a name of `METHODS`, a function, or `evidence`, integrated gradients from `baseline`, the inputs that stand for
    nothing (a black screen, a mean image), in `n_steps` steps of one forward pass each: its maps add up to
    `fn(*inputs) - fn(*baseline)`. `geometry.place` draws a map on an image.

    The modules that run are in evaluation mode for that time; nothing else of theirs is touched, no `.grad` either. Raises
    ValueError when the scores have another shape or do not depend on `layer`, and when `layer` gives no grid, does not run or
    runs more than once.
    """
    function = _method(method, baseline)
    if n_steps < 1:
        raise ValueError(f"n_steps: expected 1 or more, got {n_steps}")
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(eval_mode_of_called_modules())
        activations, scores, leaf = _run(fn, layer, inputs)
        if function is None:
            start, _, _ = _run(fn, layer, baseline)
            gradients = _path_gradients(fn, layer, inputs, activations, start, n_steps)
            maps = evidence.evidence(activations, start, gradients)
        else:
            gradients = _gradients(scores, leaf)
            rows = activations.to(gradients.dtype).expand_as(gradients)
            maps = function(rows.flatten(0, 1), gradients.flatten(0, 1)).view(*gradients.shape[:2], *activations.shape[2:])
    if not gradients.any():
        raise ValueError(f"fn: the scores do not depend on the layer, {type(layer).__name__}: choose one that they come from")
    shape = (*scores.shape, *activations.shape[2:])
    return maps.transpose(0, 1).reshape(shape).detach().to("cpu", torch.float32, copy=True)


def _method(method: str | CamMethod, baseline: Any) -> CamMethod | None:
    """The function; None for evidence."""
    if method == "evidence":
        if baseline is None:
            raise ValueError("evidence is counted from something: pass baseline=, the inputs that stand for nothing")
        return None
    if not isinstance(method, str):
        return method
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(sorted(['evidence', *METHODS]))}")
    return METHODS[method]


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
    fn: Callable[..., Tensor], layer: nn.Module, inputs: Any, activations: Tensor, start: Tensor, n_steps: int
) -> Tensor:
    """The mean gradients `(m, b, c, h, w)` on the way from `start`: the whole network runs for each node, overridden there."""

    def gradients_at(points: Tensor) -> Tensor:
        leaf = points[0].detach().requires_grad_()
        with torch.enable_grad(), LayerTap(layer, replace=leaf.clone()):  # a clone: what follows may write on it
            return _gradients(fn(*_arguments(inputs)), leaf)

    return evidence.mean_gradients(
        gradients_at, activations, start.expand_as(activations), n_steps=n_steps, steps_at_once=lambda: 1
    )


def _arguments(inputs: Any) -> Sequence[Any]:
    return (inputs,) if isinstance(inputs, Tensor) else inputs


def _gradients(scores: Tensor, leaf: Tensor) -> Tensor:
    """The gradient of each score `(m, b, c, h, w)`, at least float32."""
    with ReadoutTap(None) as cut:
        gradients, _ = token_gradients(scores.reshape(len(leaf), -1, 1), leaf, cut)
    if not gradients.isfinite().all():
        raise ValueError("fn: the gradient of the scores is not finite: check the weights and the inputs")
    return gradients[:, 0].to(torch.promote_types(gradients.dtype, torch.float32))
