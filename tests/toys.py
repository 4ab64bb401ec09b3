"""Small explanations without a model, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Collection

import torch
from PIL import Image

from multimodal_cam.explanation import Explanation
from multimodal_cam.geometry import Placement, squeeze
from multimodal_cam.spans import Span, join


def toy_explanation(
    text: str = "a brown dog runs over the green grass",
    image: Image.Image | None = None,
    *,
    unknown: Collection[int] = (),
    placement: Placement | None = None,
    grid: tuple[int, int] = (14, 14),
    linear: bool = True,
    seed: int = 0,
) -> Explanation:
    """One token a word; the map of word `i` is weak noise and one hot cell of 1 + i / 10 nats, `hot_cell(i, grid)`.

    It adds up to the word's reliance. `linear=False` keeps maps of the words and of the whole text only.
    """
    image = image or Image.new("RGB", (160, 120), (110, 120, 130))
    names, noise = text.split(), torch.Generator().manual_seed(seed)
    maps = 0.01 * torch.randn(len(names), *grid, generator=noise)
    for i in range(len(names)):
        maps[i][hot_cell(i, grid)] = 1 + i / 10
    words = tuple(Span(name, i, i + 1, known=i not in unknown) for i, name in enumerate(names))
    whole = join(words)
    spans = {(word.start, word.stop): maps[word.start] for word in words} | {(whole.start, whole.stop): maps.sum(dim=0)}
    reliance = maps.sum(dim=(1, 2))
    return Explanation(
        image=image,
        text=text,
        tokens=tuple(names),
        words=words,
        placement=placement or squeeze(*image.size),
        model="toy",
        method="evidence" if linear else "layer_cam",
        score="log_prob",
        unit="nats",
        layer="features",
        token_scores=torch.full((len(names),), -0.5),
        token_log_probs=torch.full((len(names),), -0.5),
        token_reliance=reliance,
        token_maps=maps if linear else None,
        span_maps={} if linear else spans,
        token_changes=reliance + 0.002 if linear else None,
        provenance={"seed": str(seed)},
    )


def hot_cell(word: int, grid: tuple[int, int] = (14, 14)) -> tuple[int, int]:
    """Row and column of the hot cell of word `word`."""
    return (3 * word + 1) % grid[0], (5 * word + 2) % grid[1]
