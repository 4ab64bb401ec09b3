"""The canvas of perturbation methods: what is perturbed, in which places, and how the scores of all words follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .method_options import Size


@dataclass(frozen=True)
class Canvas:
    """What is perturbed, and how its scores are found.

    Attributes:
        size: Height and width of masks.
        what: What those count, for messages: `pixels of the network's input`.
        values: The canvas of each row, `(b, ...)`.
        fill: What removed places get, broadcastable to `values`.
        spread: Masks `(n, b or 1, c or 1, h, w)`, 1 for what is removed -> weights that multiply `values`, `(n, b or 1, ...)`.
        score: Perturbed values `(n, b, ...)` -> scores `(n, s, b)`, at least float32.
        scores: The photo's own scores, `(s, b)`.
        layer: The tapped layer's activations on the image, `(b, c, h', w')`.
        at_once: Masks in one pass.
        report: Told how many masks of how many are done.
    """

    size: Size
    what: str
    values: Tensor
    fill: Tensor
    spread: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    scores: Tensor
    layer: Tensor
    at_once: int = 1
    report: Callable[[int, int], None] = lambda _done, _total: None

    def perturbed(self, masks: Tensor) -> Tensor:
        """The canvases `(n, b, ...)` that masks `(n, b or 1, c or 1, h, w)` leave."""
        return torch.lerp(self.values[None], self.fill.expand_as(self.values)[None], self.spread(masks))

    def changes(self, count: int, removed: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield masks `(n, b or 1, c or 1, h, w)` and the changes `(n, s, b)` of all scores, a pass at a time.

        `removed` makes the masks of some of the numbers 0 to `count - 1`, so that they need not be in memory together.
        """
        for start in range(0, count, self.at_once):
            numbers = torch.arange(start, min(count, start + self.at_once))
            masks = removed(numbers).to(self.values)
            yield masks, self.score(self.perturbed(masks)) - self.scores
            self.report(int(numbers[-1]) + 1, count)


def require_cells(canvas: Canvas, cells: Size) -> None:
    """Raises ValueError for more cells than the canvas has places."""
    (height, width), (rows, columns) = canvas.size, cells
    if rows > height or columns > width:
        raise ValueError(f"cells: expected at most {height} x {width} {canvas.what}, got {rows} x {columns}")


def means_by_place(
    canvas: Canvas, count: int, removed: Callable[[Tensor], Tensor], weight: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean changes of the scores: at each place `(s, b, h, w)`, by the `weight` of each mask there, and of all masks `(s, b)`.

    The masks are the same for all rows and channels, `(n, 1, 1, h, w)`. 0 where no mask has a weight.
    """
    sums = torch.zeros((*canvas.scores.shape, *canvas.size), dtype=canvas.scores.dtype, device=canvas.scores.device)
    weights, total = sums.new_zeros(canvas.size), torch.zeros_like(canvas.scores)
    for masks, changes in canvas.changes(count, removed):
        shares = weight(masks[:, 0, 0]).to(sums)
        sums += torch.einsum("nsb,nhw->sbhw", changes, shares)
        weights += shares.sum(dim=0)
        total += changes.sum(dim=0)
    return sums / torch.where(weights > 0, weights, 1), total / count
