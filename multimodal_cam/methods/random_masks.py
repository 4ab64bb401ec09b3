"""RISE: what the scores gain, on average over random masks, when a place is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .canvas import Canvas, means_by_place, require_cells

VISIBLE = 0.5  # probability that a cell of a mask is seen, the paper's


def rise(canvas: Canvas, options: Mapping[str, Any]) -> Tensor:
    """RISE, Petsiuk et al., BMVC 2018, eq. 6, less its constant: maps `(s, b, h, w)`.

    A place gets the mean score of the masked photos in which it is seen, minus that of all masked photos: the paper's map, whose
    probabilities are positive, but for a constant. Masks are grids of `cells` that are seen or not, enlarged bilinearly and
    shifted (section 3.2); the mean at a place is by the masks' own sum there, where the paper has its expectation.
    """
    count, cells = options["samples"], options["cells"]
    require_cells(canvas, cells)
    generator = torch.Generator().manual_seed(options["seed"])
    sides = [-(-side // number) for side, number in zip(canvas.size, cells, strict=True)]
    seen = (torch.rand(count, 1, *cells, generator=generator) < VISIBLE).float()
    top, left = (torch.randint(side, (count,), generator=generator).tolist() for side in sides)
    large = [(number + 1) * side for number, side in zip(cells, sides, strict=True)]
    height, width = canvas.size

    def removed(numbers: Tensor) -> Tensor:
        masks = F.interpolate(seen[numbers], large, mode="bilinear", align_corners=False)
        cut = [mask[:, top[i] : top[i] + height, left[i] : left[i] + width] for i, mask in zip(numbers, masks, strict=True)]
        return 1 - torch.stack(cut)[:, None]

    means, overall = means_by_place(canvas, count, removed, lambda masks: 1 - masks)
    return means - overall[..., None, None]
