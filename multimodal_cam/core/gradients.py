"""Vector-Jacobian products: the gradient of every token's score with respect to a leaf, batched and in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .hooks import ReadoutTap

logger = logging.getLogger(__name__)

VMAP_REFUSALS = ("vmap", "Batching rule", "batching rule", "doesn't have storage")  # what PyTorch's errors say
MAX_PRODUCT_NUMEL = 2**23  # numbers that a batch of products may hold: 32 MB in float32
PEAK_TENSORS = 8  # a product holds at its peak as many tensors of the size of the largest that the graph keeps

# gradients (m, *leaf.shape), one row a score -> the tensors (m, ...) that are kept of them
Reduction = Callable[[Tensor], tuple[Tensor, ...]]


@dataclass
class ProductLog:
    """What the products of one call have shown so far; its messages are for the errors that follow from it."""

    not_finite: str
    independent: str
    batched: bool = True  # every product so far ran batched
    depends: Tensor | None = None  # (b,): rows in which some gradient was not zero; None before the first product
    graph_numel: int = 0  # numbers that the graph of one pass keeps; 0: not known yet

    def checked(self, gradients: Tensor) -> tuple[Tensor]:
        """The reduction that keeps the gradients themselves, and notes them."""
        self.check(gradients)
        return (gradients,)

    def check(self, gradients: Tensor, maps: Tensor | None = None) -> None:
        """Notes the gradients. Reads `maps` of them first: they are smaller, and hold what is not finite, too.

        Raises ValueError for what is not finite.
        """
        found = gradients if maps is None else maps
        if not found.isfinite().all():
            raise ValueError(self.not_finite)
        known = self.depends
        rows = _any_by_row(found) if known is None else known | _any_by_row(found)
        if maps is not None and not rows.all():
            rows = rows | _any_by_row(gradients)
        self.depends = rows

    def is_lost(self, explained: Tensor | None = None, reads_leaf: Callable[[], Tensor] = lambda: torch.tensor(False)) -> bool:
        """Whether the gradients of a row of the batch were all zero because it does not depend on the leaf.

        A gradient may be zero although the leaf is read: that of the log-probability of a token with p = 1 is. `reads_leaf` says
        for each row whether it is, by other scores; it is called only if there is a row in doubt. `explained` `(b,)`: rows with
        tokens.
        """
        if self.depends is None:
            return True
        doubtful = ~self.depends if explained is None else ~self.depends & explained
        return bool(doubtful.any()) and bool((doubtful & ~reads_leaf().to(doubtful.device)).any())


def _any_by_row(gradients: Tensor) -> Tensor:
    """Whether anything is not zero in each row `(b,)` of gradients or maps `(m, b, ...)`."""
    return (gradients != 0).reshape(*gradients.shape[:2], -1).any(dim=2).any(dim=0)


def score_gradients(scores: Tensor, leaf: Tensor, cut: ReadoutTap, reduction: Reduction, log: ProductLog) -> tuple[Tensor, ...]:
    """Gradient of each score with respect to `leaf`, summed over the rows of `scores` that depend on it, float32 at least.

    `scores` is `(rows, a, t)`, `a` of them for each of `t` tokens. `reduction` is applied to each chunk of gradients, so that
    memory does not grow with them. Products are looped where an operation has no batching rule, and in anomaly mode.

    Returns the reduced tensors, `(a, t, ...)` each.
    """
    _, a, t = scores.shape
    outputs, sources = cut.pull_back(scores)
    log.graph_numel = log.graph_numel or cut.graph.kept
    room = max(1, MAX_PRODUCT_NUMEL // max(leaf.numel(), PEAK_TENSORS * cut.graph.largest * len(leaf) // len(scores)))
    results: list[tuple[Tensor, ...]] = []
    batched, start = not torch.is_anomaly_enabled(), 0  # which reads numbers, and so refuses batches
    log.batched = log.batched and batched
    while start < a * t:
        stop = min(a * t, start + room) if batched else start + 1
        cotangents = outputs.new_zeros((stop - start, *outputs.shape))
        for row, column in enumerate(range(start, stop)):
            i, position = divmod(column, t)
            at = cotangents[row] if cut.hidden is not None else cotangents[row, :, i]
            at[:, position] = sources[i][:, position]
        try:
            results.append(reduction(wide(_products(outputs, leaf, cotangents, batched and len(cotangents) > 1))))
        except torch.OutOfMemoryError:
            if stop - start == 1:
                raise
            room = (stop - start) // 2
            continue
        except RuntimeError as error:
            if not batched or not any(sign in str(error) for sign in VMAP_REFUSALS):
                raise
            logger.info("products are looped, not batched: %s", error)
            batched = log.batched = False
            continue
        start = stop
    reduced = (chunks[0] if len(chunks) == 1 else torch.cat(chunks) for chunks in zip(*results, strict=True))
    return tuple(tensor.view(a, t, *tensor.shape[1:]) for tensor in reduced)


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


def wide(tensor: Tensor) -> Tensor:
    """At least float32: sums over channels and words are not left to half precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
