"""Controls: maps that do not depend on the word, or maps by a method where it must fail."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...core.geometry import Placement
from .metric_spec import ControlSpec

SIGMA = 0.25  # of `centre`, as a fraction of each side of the photo

CONTROLS: Mapping[str, ControlSpec] = {
    spec.name: spec
    for spec in (
        ControlSpec(
            "centre", "a Gaussian blob at the photo's centre, sigma a quarter of each side", by_method=False, perturbed=True
        ),
        ControlSpec("uniform", "the same everywhere", by_method=False),
        ControlSpec(
            "random",
            "the cells in a random order; for faithfulness only, elsewhere uniform is what it comes to",
            by_method=False,
            perturbed=True,
        ),
        ControlSpec("activation", "the mean over the layer's channels: what is conspicuous to the encoder", by_method=False),
        ControlSpec("whole", "the map of the whole caption"),
        ControlSpec(
            "other_word",
            "another word of the same caption (another question about the same photo): the mean over all of them",
            perturbed=True,
        ),
        ControlSpec("other_answer", "the likeliest other answer to the same question"),
        ControlSpec("other_photo", "the same words after the same words, on the next photo"),
        ControlSpec("random_weights", "the same words and photo, the trained head's weights shuffled"),
    )
}


def blind_maps(grid: tuple[int, int], placement: Placement) -> dict[str, Tensor]:
    """Controls on the grid `(h, w)` that depend on neither photo nor word."""
    x0, y0, x1, y1 = placement.frame
    xs = x0 + (torch.arange(grid[1]) + 0.5) / grid[1] * (x1 - x0)
    ys = y0 + (torch.arange(grid[0]) + 0.5) / grid[0] * (y1 - y0)
    squared = (xs[None] - 0.5) ** 2 + (ys[:, None] - 0.5) ** 2
    return {"centre": torch.exp(-squared / (2 * SIGMA**2)), "uniform": torch.ones(grid)}
