"""Vector-Jacobian products: the gradient of every token's score with respect to a leaf, batched and in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from .hooks import ReadoutTap

log = logging.getLogger(__name__)

VMAP_REFUSALS = ("vmap", "Batching rule", "batching rule", "doesn't have storage")  # what PyTorch's errors say
BUDGET = 2**23  # numbers that a batch of products may hold: 32 MB in float32
INSIDE = 8  # a product holds, at its worst moment, as many tensors of the size of the largest that the graph keeps


def token_gradients(
    scores: Tensor, leaf: Tensor, cut: ReadoutTap, kept: Callable[[Tensor], Tensor] = lambda chunk: chunk
) -> tuple[Tensor, bool]:
    """Gradient of each score with respect to `leaf`, summed over the rows of `scores` that depend on it.

    `scores` is `(rows, a, t)`, `a` of them for each of `t` tokens; the result is `(a, t, *leaf.shape)` and whether the products
    were batched (False: looped, because some operation has no batching rule or memory was short). `kept` says what is kept of
    gradients `(m, *leaf.shape)`, one row a score, where that is less than all; the result is `(a, t, ...)` of it.
    """
    _, a, t = scores.shape
    if cut.hidden is None:
        outputs, sources = scores, torch.ones_like(scores).unbind(1)
    else:
        assert cut.leaf is not None
        outputs, ones = cut.hidden, torch.ones_like(scores)
        kinds = [ones * (torch.arange(a, device=ones.device) == i)[:, None] for i in range(a)]
        sources = tuple(torch.autograd.grad(scores, cut.leaf, kind, retain_graph=True)[0] for kind in kinds)
    room = max(1, BUDGET // max(leaf.numel(), INSIDE * cut.graph.largest * len(leaf) // len(scores)))
    results, batched, start = [], True, 0
    while start < a * t:
        stop = min(a * t, start + room) if batched else start + 1
        cotangents = outputs.new_zeros((stop - start, *outputs.shape))
        for row, column in enumerate(range(start, stop)):
            i, position = divmod(column, t)
            at = cotangents[row] if cut.hidden is not None else cotangents[row, :, i]
            at[:, position] = sources[i][:, position]
        try:
            results.append(kept(_products(outputs, leaf, cotangents, batched and len(cotangents) > 1)))
        except torch.OutOfMemoryError:
            if stop - start == 1:
                raise
            room = (stop - start) // 2
            continue
        except RuntimeError as error:
            if not batched or not any(sign in str(error) for sign in VMAP_REFUSALS):
                raise
            log.info("products are looped, not batched: %s", error)
            batched = False
            continue
        start = stop
    gradients = results[0] if len(results) == 1 else torch.cat(results)
    return gradients.view(a, t, *gradients.shape[1:]), batched


def _products(outputs: Tensor, leaf: Tensor, cotangents: Tensor, batched: bool) -> Tensor:
    """Vector-Jacobian products `(m, *leaf.shape)` for `m` cotangents; the graph stays. 0 where there is no graph."""
    if not outputs.requires_grad:
        return leaf.new_zeros((len(cotangents), *leaf.shape))
    (gradient,) = torch.autograd.grad(
        outputs,
        leaf,
        grad_outputs=cotangents if batched else cotangents[0],
        retain_graph=True,
        allow_unused=True,
        is_grads_batched=batched,
    )
    if gradient is None:
        return leaf.new_zeros((len(cotangents), *leaf.shape))
    return gradient if batched else gradient[None]
