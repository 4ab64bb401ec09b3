"""More steps for the tokens whose evidence does not add up: the path is integrated anew, on a finer grid, for those alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .forward_pass import AttributionRequest
from .token_maps import TokenMaps

STEPS = AttributionRequest.n_steps  # of the path of `evidence`, unless a token needs more
MORE_STEPS = (48, 144)  # what a token gets whose gap is too large; the gap shrinks with the square of their number
RELATIVE_GAP, LARGEST_GAP, SMALLEST_GAP = 0.02, 0.02, 0.001  # of the change of the score; in the score's unit


def gaps(found: TokenMaps) -> Tensor:
    """By how much the maps of each token `(b, t)` miss the change of its score."""
    assert found.maps is not None  # of a path method
    assert found.changes is not None
    unplaced = 0 if found.unplaced is None else found.unplaced
    return (found.maps[0].sum(dim=(-2, -1)).T + unplaced - found.changes).abs()


def unfinished(found: TokenMaps) -> Tensor:
    """Which tokens `(b, t)` have a gap above 2 % of the change of their score, or above .02; one below .001 is none."""
    assert found.changes is not None
    return gaps(found) > (RELATIVE_GAP * found.changes.abs()).clamp(SMALLEST_GAP, LARGEST_GAP)


def add_steps(found: TokenMaps, explain_row: Callable[[int, int], TokenMaps]) -> TokenMaps:
    """`found`, made with `STEPS`, with maps of longer paths for `unfinished` tokens; those of the others stay as they are.

    `explain_row` takes a row and a number of steps. In half precision nothing is added: there the gap is not one of steps.
    """
    steps = torch.full_like(found.ids[0], STEPS)
    if found.activations.dtype.itemsize >= 4:
        for n_steps in MORE_STEPS:
            for row in unfinished(found).any(dim=1).nonzero()[:, 0].tolist():
                tokens = unfinished(found)[row].nonzero()[:, 0]
                found = _with_tokens_of(found, row, tokens, explain_row(row, n_steps))
                steps[row, tokens] = n_steps
    return replace(found, steps=steps)


def _with_tokens_of(found: TokenMaps, row: int, tokens: Tensor, finer: TokenMaps) -> TokenMaps:
    """`found` with the maps of some tokens of a row taken from `finer`, which is of this row alone."""
    assert found.maps is not None  # of a path method
    assert finer.maps is not None
    maps, unplaced = found.maps.clone(), None if found.unplaced is None else found.unplaced.clone()
    for column, ids in enumerate(finer.ids[: len(maps), 0]):
        same = tokens[found.ids[column, row, tokens] == ids[tokens]]  # ties may order alternatives otherwise
        maps[column, same, row] = finer.maps[column, same, 0]
    if unplaced is not None and finer.unplaced is not None:
        unplaced[row, tokens] = finer.unplaced[0, tokens]
    channels = None if found.channels is None else found.channels.clone()
    if channels is not None and finer.channels is not None:
        channels[tokens, row] = finer.channels[tokens, 0]
    return replace(found, maps=maps, channels=channels, unplaced=unplaced)
