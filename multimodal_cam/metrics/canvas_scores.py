"""Scores of words on perturbed canvases, each canvas run once.

The model is a `Score`: `score(canvases (n, c, H, W), rows (m,), words (m,)) -> (m,)`, entry `i` the score of word `words[i]` on
canvas `rows[i]` under the fixed prefix. So a perturbation that all words share costs one forward, one that is a word's own asks
for that word only, and equal perturbations of several words are run once. At most `batch` canvases come at a time, a word's own
one word after the other: a head may stop at the last of `words`, and read out `m` states only. `all_words` makes one of a
function that always gives all words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .imputation import impute
from .localization import refuse_nan

Score = Callable[[Tensor, Tensor, Tensor], Tensor]
Paint = Callable[[Tensor], Tensor]  # masks (n, H, W), 1 for places that stay -> canvases (n, c, H, W)


def all_words(scores: Callable[[Tensor], Tensor]) -> Score:
    """The `Score` of a function that gives all words of every canvas: `(n, c, H, W) -> (n, t)`."""
    return lambda canvases, rows, words: scores(canvases)[rows, words]


def filled(canvas: Tensor, fill: Tensor) -> Paint:
    return lambda keep: torch.where(keep[:, None], canvas, fill)


def blended(canvas: Tensor, fill: Tensor) -> Paint:
    return lambda shown: fill + shown[:, None] * (canvas - fill)


def imputed(canvas: Tensor, noise: float, seed: int) -> Paint:
    grain = noise * torch.randn(canvas.shape, generator=torch.Generator().manual_seed(seed)).to(canvas)
    return lambda keep: torch.stack([torch.where(own, canvas, impute(canvas, ~own) + grain) for own in keep])


def own_word_scores(score: Score, paint: Paint, keep: Tensor, words: Tensor, batch: int) -> Tensor:
    """The score `(k, s)` of word `words[i]` on each of its own canvases `keep[i]` `(s, H, W)`; equal canvases run once."""
    distinct, rows = _distinct(keep.flatten(0, 1))
    return run_scores(score, paint, distinct, rows, words.repeat_interleave(keep.shape[1]), batch).view(keep.shape[:2])


def shared_scores(score: Score, paint: Paint, keep: Tensor, words: int, batch: int) -> Tensor:
    """The scores `(t, n)` of all words on the same canvases `keep` `(n, H, W)`; equal canvases run once."""
    distinct, index = _distinct(keep)
    row, word = torch.arange(len(distinct), device=keep.device), torch.arange(words, device=keep.device)
    found = run_scores(score, paint, distinct, row.repeat_interleave(words), word.repeat(len(distinct)), batch)
    return found.view(-1, words)[index].T


@torch.no_grad()
def run_scores(score: Score, paint: Paint, masks: Tensor, rows: Tensor, words: Tensor, batch: int) -> Tensor:
    """The score of word `words[i]` on canvas `rows[i]`, `(m,)` float64; at most `batch` canvases at a time."""
    found = torch.empty(len(rows), dtype=torch.float64, device=masks.device)
    for start in range(0, len(masks), batch):
        asked = ((rows >= start) & (rows < start + batch)).nonzero()[:, 0]
        scores = score(paint(masks[start : start + batch]), rows[asked] - start, words[asked])
        if scores.shape != asked.shape:
            raise ValueError(
                f"score: expected one number for each of the {len(asked)} words asked for, got shape {tuple(scores.shape)};"
                " wrap a function that gives all words of all canvases in all_words"
            )
        found[asked] = scores.double()
    return found


def _distinct(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct masks among `(n, H, W)`, and the index of each mask among them `(n,)`."""
    keys = [mask.tobytes() for mask in np.packbits(masks.flatten(1).cpu().numpy(), axis=1)]
    first: dict[bytes, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    place = {key: i for i, key in enumerate(first)}
    return masks[list(first.values())], torch.tensor([place[key] for key in keys], device=masks.device)


def largest_places(maps: Tensor, canvas: Tensor, counts: Tensor) -> Tensor:
    """Mask of the places among the `counts` `(s,)` largest of each map: `(t, s, H, W)`."""
    order = drawn_on(maps, canvas).flatten(1).argsort(dim=1, descending=True, stable=True)
    return (order.argsort(dim=1)[:, None] < counts[:, None]).view(len(maps), len(counts), *canvas.shape[1:])


def step_counts(canvas: Tensor, steps: int) -> Tensor:
    """Number of perturbed places after each of at most `steps` equal steps, from none to all."""
    places = place_count(canvas)
    return torch.linspace(0, places, min(steps, places) + 1, dtype=torch.float64, device=canvas.device).round().long()


def place_count(canvas: Tensor) -> int:
    return canvas.shape[1] * canvas.shape[2]


def drawn_on(maps: Tensor, canvas: Tensor) -> Tensor:
    refuse_nan(maps)
    maps = maps.to(canvas.device)  # maps of explanations are on the CPU
    if maps.shape[1:] == canvas.shape[1:]:
        return maps
    return F.interpolate(maps[:, None], canvas.shape[1:], mode="bilinear", align_corners=False)[:, 0]


def cell_blocks(masks: Tensor, canvas: Tensor) -> Tensor:
    """Masks `(n, h, w)` of a map's cells as masks of the canvas, each cell a block."""
    row, column = (
        torch.arange(fine, device=canvas.device) * coarse // fine
        for fine, coarse in zip(canvas.shape[1:], masks.shape[1:], strict=True)
    )
    return masks[:, row[:, None], column]
