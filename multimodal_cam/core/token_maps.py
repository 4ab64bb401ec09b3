"""What the engine gives: maps and scores of all tokens of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from ..methods import MethodSpec
from .forward_pass import ScoredTokens
from .gradients import wide
from .layer_view import LayerView


@dataclass
class TokenMaps:
    """Maps and scores of `b` rows, `t` tokens, `a` columns; 0 at padding. `maps` for linear methods, else `gradients`.

    Column 0 holds the tokens themselves, the others the likeliest alternatives at each position. `unplaced` is what the tokens'
    own scores got from activations that have no place on the grid: `maps` and it add up to `changes`. `activations` and
    `gradients` are cells of `view`, which also draws maps of them on the image. A method of pixels has `pixels` instead; where it
    is not linear, maps of the runs of tokens that were asked for beforehand are in `span_pixels`.
    """

    view: LayerView
    activations: Tensor  # (b, c, h, w)
    columns: list[ScoredTokens]
    ids: Tensor  # (a, b, t)
    scores: Tensor  # (a, b, t)
    log_probs: Tensor  # (a, b, t)
    reliance: Tensor  # (b, t)
    maps: Tensor | None = None  # (a, t, b, h, w)
    channels: Tensor | None = None  # (t, b, c, h, w): the tokens' own maps by channel, where they were asked for
    gradients: Tensor | None = None  # (a, t, b, c, h, w)
    changes: Tensor | None = None  # (b, t), path methods only
    unplaced: Tensor | None = None  # (b, t), path methods only; None if every activation has a place
    question: Tensor | None = None  # (t, b, q): what each token of the question adds to the score
    pixels: Tensor | None = None  # (a, t, b, c, H, W); a linear method's `maps` are their sums over the channels
    span_pixels: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)  # (row, start, stop) -> (c, H, W)
    fused_spans: Callable[[int, slice, MethodSpec, int], Tensor] | None = None  # maps of runs of tokens, fused over layers
    steps: Tensor | None = None  # (b, t): steps of the path of each token, if some were added
    notes: dict[str, str] = field(default_factory=dict)

    def span_map(self, row: int, tokens: slice, method: MethodSpec, column: int = 0) -> Tensor:
        """The map `(h, w)` of a run of tokens: a sum of maps, or computed from summed gradients if the method is not linear."""
        if self.maps is not None:
            return self.maps[column, tokens, row].sum(dim=0)
        if self.pixels is not None:
            return self.span_of_pixels(row, tokens, column).sum(dim=0)
        if self.fused_spans is not None:
            return self.fused_spans(row, tokens, method, column)
        assert self.gradients is not None
        gradients = self.gradients[column, tokens, row].sum(dim=0, keepdim=True)
        return self.view.to_image(method.maps(wide(self.activations[row : row + 1]), gradients))[0]

    def span_of_pixels(self, row: int, tokens: slice, column: int = 0) -> Tensor:
        """The map `(c, H, W)` of a run of tokens by a method of pixels."""
        assert self.pixels is not None
        if self.maps is not None or tokens.stop - tokens.start == 1:
            return self.pixels[column, tokens, row].sum(dim=0)
        return self.span_pixels[row, tokens.start, tokens.stop]
