"""Attribution of token scores to the photo's pixels: gradients through the whole network, for all words from one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ..adapters.contract import TaskAdapter, layer_view_of
from ..adapters.inputs import Inputs
from ..methods.pixels import times_grad_cam
from .forward_pass import AttributionRequest, rows_of_tap, rows_that_read
from .grad_modes import gradients_from_inputs
from .gradients import ProductLog
from .hooks import LayerTap
from .layer_view import GridView
from .path_attribution import points_at_once
from .pixel_gradients import PIXELS_NOT_FINITE, PixelScores
from .spans import Span
from .token_maps import TokenMaps

ROWS = 4  # whose graphs of the whole network are kept at once
INDEPENDENT_OF_PIXELS = (
    "the text does not depend on the photo's pixels in a way that can be differentiated: something between them and the text has "
    "no gradient (detach, numpy, rounding, quantised weights); a method of the layer, such as grad_cam, needs none there"
)


@dataclass(frozen=True)
class PixelModel:
    """A batch of rows under teacher forcing, each with an image of its own, and the model as a function of their pixels."""

    adapter: TaskAdapter
    inputs: Inputs
    ids: Tensor  # (b, t)
    request: AttributionRequest

    @classmethod
    def of(cls, adapter: TaskAdapter, inputs: Inputs, ids: Tensor, request: AttributionRequest) -> PixelModel:
        """Raises ValueError for a model that does not read a photo as one picture."""
        own = inputs.expand_images()
        found, method = tuple(own.pixels.shape), request.method.name
        if own.pixels.ndim != 4 or own.placements[0].boxes:
            what = "regions" if own.placements[0].boxes else "tiles" if own.pixels.ndim == 5 else "patches"
            raise ValueError(
                f"{method}: expected a model that reads pixels (b, c, H, W), {adapter.name} reads {what} {found}: take a method "
                "of its layer, such as grad_cam"
            )
        return cls(adapter, own, ids, request)

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits `(n b, t, v)` of pixels `(n b, c, H, W)`, the whole batch `n` times."""
        copies = len(pixels) // len(self.ids)
        inputs = self.inputs if copies == 1 else self.inputs.repeat(copies)
        return self.adapter.logits(replace(inputs, pixels=pixels), self.ids.repeat(copies, 1))

    def graphed_logits(self, pixels: Tensor) -> Tensor:
        """The same with a graph, whatever switches gradients off on the way."""
        with gradients_from_inputs():
            return self.logits(pixels)

    def layer_tap(self) -> LayerTap:
        request = self.request
        return LayerTap(request.layer, request.layer_name, view=layer_view_of(self.adapter, self.inputs, request.layer))

    def baseline(self) -> Tensor:
        """Pixels `(b, c, H, W)` of no photo."""
        return self.adapter.baseline_inputs(self.inputs).pixels


def chunks_of_rows(rows: list[int], request: AttributionRequest) -> Iterator[list[int]]:
    """Rows that run together: all of them, or few where graphs of the whole network, maps of all channels or gradients of many
    copies are kept."""
    keeps_much = request.by_channel or request.method.pixels is not None or request.method.kind == "noise"
    size = ROWS if keeps_much else len(rows)
    return (rows[start : start + size] for start in range(0, len(rows), size))


class _Targets:
    """The scores of a batch that maps are wanted of: those of all tokens and, for a method that is not linear, of runs of tokens.

    `found` is what is known of the tokens at the layer; `at_layer` finds it from the activations, after the photo's own pass if
    nothing is known before.
    """

    def __init__(
        self, model: PixelModel, at_layer: Callable[[Tensor | None], TokenMaps], spans: Sequence[Sequence[Span]]
    ) -> None:
        self.model, self.at_layer = model, at_layer
        runs = [list(dict.fromkeys((span.start, span.stop) for span in own if span.stop - span.start > 1)) for own in spans]
        self.runs = [] if model.request.method.linear else runs
        self.found: TokenMaps | None = None

    def run(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and the layer's activations if they are wanted and the layer ran once."""
        if self.found is not None:
            return self.model.logits(pixels), None
        with self.model.layer_tap() as tap:
            logits = self.model.logits(pixels)
        return logits, rows_of_tap(self.model.inputs, tap)

    def scores_of(self, outputs: tuple[Tensor, Tensor | None]) -> Tensor:
        """Scores `(n b, a t)`, and behind them those of the runs, from what `run` gave."""
        logits, activations = outputs
        if self.found is None:
            self.found = self.at_layer(activations)
        tokens = torch.stack([column.scores(logits) for column in self.found.columns], dim=1)
        member = self._member.repeat(len(tokens) // len(self.model.ids), 1, 1).to(tokens.device)
        return torch.cat([tokens.flatten(1), torch.where(member, tokens[:, :1], 0).sum(dim=-1)], dim=1)

    @property
    def _member(self) -> Tensor:
        """Whether a token belongs to each of a row's runs, `(b, j, t)`; rows with fewer runs have empty ones."""
        b, t = self.model.ids.shape
        member = torch.zeros(b, max(map(len, self.runs), default=0), t, dtype=torch.bool)
        for row, own in enumerate(self.runs):
            for j, (start, stop) in enumerate(own):
                member[row, j, start:stop] = True
        return member


def attribute_pixels(
    model: PixelModel,
    at_layer: Callable[[Tensor | None], TokenMaps],
    *,
    activations: Tensor | None,
    spans: Sequence[Sequence[Span]],
) -> TokenMaps:
    """Maps of the pixels of all tokens, and of runs of tokens where these are no sums of them.

    `at_layer` gives scores, reliance and Grad-CAM from activations of the layer. Where they are not known, the pass over the
    photo that is differentiated also gives them, so that the backbone runs once.
    """
    request, pixels = model.request, model.inputs.pixels.detach()
    assert request.method.pixels is not None
    log = ProductLog(PIXELS_NOT_FINITE, INDEPENDENT_OF_PIXELS)
    targets = _Targets(model, at_layer, spans)
    if activations is not None or request.method.pixels.at != "photo":
        targets.found = at_layer(activations)
    with torch.no_grad():
        baseline = model.baseline().to(pixels)
    scores = PixelScores(
        targets.run, targets.scores_of, request.method.name, request.method.pixels, log, partial(points_at_once, log)
    )
    gradients = scores.mean_gradients(pixels, baseline, request.n_steps)
    if log.is_lost((model.ids >= 0).any(dim=1), partial(rows_that_read, model.graphed_logits, pixels)):
        raise ValueError(log.independent)
    found = targets.found
    assert found is not None
    changes = None
    if request.method.pixels.at == "path":
        with torch.no_grad():
            changes = found.scores[0] - found.columns[0].scores(model.logits(baseline))
    return _with_pixels(found, gradients, targets.runs, request, changes)


def _with_pixels(
    found: TokenMaps,
    gradients: Tensor,
    runs: Sequence[Sequence[tuple[int, int]]],
    request: AttributionRequest,
    changes: Tensor | None,
) -> TokenMaps:
    """What was found at the layer, with maps of the pixels from gradients `(k, b, c, H, W)` in the place of its own."""
    a, _, t = found.ids.shape
    pixels = gradients[: a * t].view(a, t, *gradients.shape[1:])
    of_runs = {(row, *run): gradients[a * t + j, row] for row, own in enumerate(runs) for j, run in enumerate(own)}
    assert request.method.pixels is not None
    if request.method.pixels.times == "grad_cam":
        assert found.maps is not None
        pixels = times_grad_cam(pixels, found.maps)
        of_runs = {
            (row, start, stop): times_grad_cam(one, found.maps[0, start:stop, row].sum(dim=0))
            for (row, start, stop), one in of_runs.items()
        }
    return replace(
        found,
        view=GridView(),
        maps=pixels.sum(dim=-3) if request.method.linear else None,
        pixels=pixels,
        span_pixels=of_runs,
        changes=changes,
    )
