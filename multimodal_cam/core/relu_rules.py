"""Guided backpropagation and the deconvnet: what passes back through the ReLUs of one graph.

With `R` the signal that comes back to a ReLU `f(x)`, and `f'(x)` the ReLU's own slope (0 or 1; that of a leaky kind is never 0):

    gradient    f'(x) R
    guided      f'(x) R where R > 0     Springenberg et al., ICLR-W 2015, fig. 1
    deconvnet         R where R > 0     Zeiler and Fergus, ECCV 2014, sec. 2.1

The hooks are on the nodes of the autograd graph, whoever wrote them: a module, `F.relu`, `clamp(min=0)`. A graph is the call's
own, so that nothing is patched and nothing is left behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..methods.spec import ReluRule

ALWAYS = ("Relu", "LeakyRelu", "PreluKernel", "RreluWithNoise")  # nodes, without `Backward` and number
LOWER_LIMITS = {"Hardtanh": "_saved_min_val", "Clamp": "_saved_min", "ClampMin": "_saved_min", "Threshold": "_saved_threshold"}
SMOOTH = ("Gelu", "Silu", "Elu", "Celu", "Mish", "Hardswish", "Softplus", "Tanh", "Sigmoid", "Hardsigmoid", "Hardtanh")
HIDDEN = ("DifferentiableGraph", "CompiledFunction")  # nodes that are a whole network of their own

Gradients = tuple[Tensor | None, ...]


def _guided(grad_inputs: Gradients, grad_outputs: Gradients) -> Gradients | None:
    gradient, signal = grad_inputs[0], grad_outputs[0]
    if gradient is None or signal is None:
        return None
    return (torch.where(signal > 0, gradient, 0), *grad_inputs[1:])


def _deconvnet(grad_inputs: Gradients, grad_outputs: Gradients) -> Gradients | None:
    signal = grad_outputs[0]
    return None if grad_inputs[0] is None or signal is None else (signal.clamp(min=0), *grad_inputs[1:])


RULES: dict[ReluRule, Callable[[Gradients, Gradients], Gradients | None]] = {"guided": _guided, "deconvnet": _deconvnet}


def apply_relu_rule(scores: Tensor, leaf: Tensor, rule: ReluRule, method: str) -> None:
    """Let every product through the graph from `scores` back to `leaf` follow `rule` at its ReLUs.

    Raises ValueError if there is none, or if a part of the network hides its graph. Scores without a graph pass.
    """
    nodes = list(_nodes_between(scores, leaf))
    kinds = {_kind(node): None for node in nodes}
    if hidden := [kind for kind in kinds if any(name in kind for name in HIDDEN)]:
        raise ValueError(
            f"{method}: a part of the network is TorchScript or compiled ({', '.join(hidden)}), whose ReLUs nobody sees: take "
            "the network as it is written, or method gradient, smooth_grad or pixel_integrated_gradients"
        )
    rectifiers = [node for node in nodes if _is_rectifier(node)]
    if nodes and not rectifiers:
        found = ", ".join(name for name in SMOOTH if name in kinds)
        raise ValueError(
            f"{method} changes what passes back through ReLUs, and there is none between pixels and score"
            f"{f' (there are {found})' if found else ''}: take method gradient, smooth_grad, "
            "pixel_integrated_gradients or grad_cam"
        )
    for node in rectifiers:
        node.register_hook(RULES[rule])


def _nodes_between(scores: Tensor, leaf: Tensor) -> Iterator[Any]:
    """The nodes of the graph of `scores` that the way back to `leaf` leads through."""
    if scores.grad_fn is None:
        return
    readers: dict[Any, list[Any]] = {scores.grad_fn: []}  # node -> nodes that its gradient comes from
    stack: list[Any] = [scores.grad_fn]
    while stack:
        node = stack.pop()
        for inner, _ in node.next_functions:
            if inner is None:
                continue
            if inner not in readers:
                readers[inner] = []
                stack.append(inner)
            readers[inner].append(node)
    stack = [node for node in readers if getattr(node, "variable", None) is leaf]
    seen = set(stack)
    while stack:
        for node in readers[stack.pop()]:
            if node not in seen:
                seen.add(node)
                stack.append(node)
                yield node


def _kind(node: Any) -> str:
    """`Relu` of a node that is called `ReluBackward0`."""
    return re.sub(r"Backward\d*$", "", node.name())


def _is_rectifier(node: Any) -> bool:
    kind = _kind(node)
    if kind not in LOWER_LIMITS:
        return kind in ALWAYS
    limit = getattr(node, LOWER_LIMITS[kind], None)
    return limit is not None and bool((torch.as_tensor(limit) == 0).all())
