"""Network Dissection: which concept each channel of a layer marks (Bau, Zhou, Khosla, Oliva, Torralba, CVPR 2017, section 2).

A channel marks the cells where it is above its threshold `T`, chosen so that it is above `T` in a small share, the quantile, of
all cells of all photos (.005 in the paper). Its overlap with a concept is taken over the whole set at once: the area that it
marks of the concept's boxes, over the area of both. Boxes stand in for the paper's masks, and cells are not drawn finer: a cell
that boxes cover partly counts by the covered share, as in `localization.coverage`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

QUANTILE = 0.005  # of all cells: the paper's
Labels = Mapping[str, Sequence[tuple[int, Tensor]]]  # concept -> (number of the photo, covered share of each cell (n,))


class TopCells:
    """The strongest cells of each channel over a stream of photos, so that not all activations have to be kept.

    `most` is the number of cells that is enough: `quantile` times those of all photos that may come.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"most: expected one cell or more, got {most}: more photos, or a larger quantile")
        self.most, self.photos, self.cells = most, 0, 0
        self._values, self._places, self._lowest = torch.empty(0, 0), torch.empty(0, 0, dtype=torch.long), torch.empty(0)

    def add(self, activations: Tensor) -> None:
        """Photos `(p, c, h, w)`, numbered as they come. Raises ValueError for another number of channels or cells than before."""
        values = activations.detach().float().cpu().flatten(2)  # (p, c, n)
        p, c, n = values.shape
        if not self.photos:
            self.cells, self._values = n, torch.empty(c, 0)
            self._places, self._lowest = torch.empty(c, 0, dtype=torch.long), torch.full((c,), torch.inf)
        if (c, n) != (len(self._values), self.cells):
            raise ValueError(f"expected {len(self._values)} channels of {self.cells} cells for every photo, got {c} of {n}")
        own = values.transpose(0, 1).flatten(1)  # (c, p n)
        self._lowest = torch.minimum(self._lowest, own.amin(dim=1))
        places = torch.arange(self.photos * n, (self.photos + p) * n).expand(c, -1)
        joined = torch.cat([self._values, own], dim=1)
        kept = joined.topk(min(self.most, joined.shape[1]), dim=1)
        self._values, self._places = kept.values, torch.cat([self._places, places], dim=1).gather(1, kept.indices)
        self.photos += p

    def marked(self, quantile: float = QUANTILE) -> tuple[Tensor, Tensor]:
        """Places `(c, k)` of each channel's strongest cells, numbered through all photos, and which of them count `(c, k)` bool.

        Cells at a channel's lowest value do not: a channel that is dead, or 0 almost everywhere, marks nothing by being 0.
        """
        count = min(self.most, max(1, round(quantile * self.photos * self.cells)), self._values.shape[1])
        return self._places[:, :count], self._values[:, :count] > self._lowest[:, None]


def concept_ious(top: TopCells, labels: Labels, quantile: float = QUANTILE) -> dict[str, Tensor]:
    """Intersection over union of each channel with each concept, over all photos: concept -> `(c,)` in 0..1.

    Raises ValueError for a label of a photo that did not come, or of another grid.
    """
    places, counts = top.marked(quantile)
    areas = counts.sum(dim=1).double()
    found = {}
    for concept, covered in labels.items():
        cells = torch.zeros(top.photos, top.cells, dtype=torch.float64)
        for photo, share in covered:
            if not 0 <= photo < top.photos or share.numel() != top.cells:
                raise ValueError(
                    f"{concept}: photo {photo} with {share.numel()} cells, expected one of {top.photos} with {top.cells}"
                )
            cells[photo] = torch.maximum(cells[photo], share.flatten().double())
        shared = (cells.flatten()[places] * counts).sum(dim=1)
        union = areas + cells.sum() - shared
        found[concept] = torch.where(union > 0, shared / union.clamp(min=1e-12), 0)
    return found


def best_concepts(ious: Mapping[str, Tensor]) -> list[tuple[str, float]]:
    """The concept that each channel matches best, with its intersection over union: one for each channel."""
    names = list(ious)
    best = torch.stack([ious[name] for name in names]).max(dim=0)
    return [(names[i], float(iou)) for i, iou in zip(best.indices.tolist(), best.values, strict=True)]
