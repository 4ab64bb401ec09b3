"""Which of a layer's rows belong to which image's scores: one each, or the frames of a clip; noticed if rows hang together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-3  # by how much a row's gradient may hang on another image's score
TOLERANCE_HALF = 3e-2


@dataclass(frozen=True)
class ScoreRows:
    """`each` rows of the layer for every image: `frames` of a clip, if so; `time_first`: all first frames stand in front."""

    each: int
    frames: bool
    time_first: bool = False

    @classmethod
    def of(cls, scores: Tensor, leaf: Tensor, *, images: int | None, frames: bool) -> ScoreRows:
        """How the scores share the rows of `leaf` `(r, ...)`, found by their gradients.

        Raises ValueError for scores of another shape, and where an image's score depends on the rows of others.
        """
        r, count = len(leaf), len(scores) if scores.ndim else 1
        clips = frames or images in (None, count)
        if scores.ndim > 2 or (scores.ndim == 0 and r > 1 and not clips) or count == 0 or r % count or (r != count and not clips):
            hint = "" if r == 1 or count != 1 else "; rows that are the frames of one clip are layout='tchw'"
            raise ValueError(
                f"fn: expected scores ({r},) or ({r}, m), one row for each row of the layer's output, got {tuple(scores.shape)}"
                f"{hint}"
            )
        each = r // count
        if count == 1:
            return cls(each, frames or each > 1)
        order = _independent_order(scores.reshape(count, -1)[:, 0], leaf, each)
        if order is None:
            raise ValueError(
                "fn: the scores of the rows hang together: an image's score depends on the layer's rows of other images (a mean "
                "over frames, a recurrence, a batch statistic), so that its map would be counted several times. Return one score "
                "a clip; rows that are the frames of one clip are layout='tchw'"
            )
        return cls(each, frames or each > 1, time_first=order == "time first")

    def by_image(self, maps: Tensor) -> Tensor:
        """Maps `(m, r, cells)` -> `(images, m, each, cells)`."""
        m, r, cells = maps.shape
        if self.time_first:
            return maps.view(m, self.each, r // self.each, cells).permute(2, 0, 1, 3)
        return maps.view(m, r // self.each, self.each, cells).transpose(0, 1)


def _independent_order(scores: Tensor, leaf: Tensor, each: int) -> str | None:
    """In which order the rows belong to the images, each of which is weighted by another number; None if they hang together."""
    count = len(scores)
    weights = torch.linspace(1, 2, count).to(scores)
    gradients = [
        torch.autograd.grad(scores, leaf, weight, retain_graph=True, allow_unused=True)[0]
        for weight in (torch.ones_like(scores), weights)
    ]
    plain, weighted = (torch.zeros_like(leaf) if one is None else one for one in gradients)
    if not (plain.isfinite().all() and weighted.isfinite().all()):
        return "image first"  # which is refused as soon as maps are made
    tolerance = TOLERANCE_HALF if leaf.dtype in (torch.float16, torch.bfloat16) else TOLERANCE
    orders = {"image first": weights.repeat_interleave(each), "time first": weights.repeat(each)}
    for name, factors in orders.items():
        expected = factors.view(-1, *[1] * (leaf.ndim - 1)) * plain
        if float((weighted - expected).float().norm()) <= tolerance * float(weighted.float().norm()):
            return name
    return None
