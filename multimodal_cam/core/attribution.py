"""Attribution of token scores to the cells of a layer: the Grad-CAM engine that serves every model and method.

`attribute` runs in four steps: the baseline, the forward pass with its gradients at the layer, the path from one to the other
(for methods that integrate), the words of the question. The backbone runs once for all words of a batch; everything else is head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..adapters.contract import (
    HasAttention,
    ReadsQuestions,
    ReadsQuestionsInPrompts,
    TaskAdapter,
    layer_view_of,
    question_view_of,
)
from ..adapters.inputs import Inputs
from ..methods import MethodSpec
from ..methods.path import integrated_gradients, mean_gradients
from ..scores import ScoreFn, ScoreSpec, contrast_with, log_prob, most_likely_others, reversed_sign
from .gradients import ProductLog, Reduction, score_gradients, wide
from .hooks import HeadInputTap, LayerTap, ReadoutTap
from .layer_view import LayerView

QUESTION_PATH_POWER = 4  # the question's path runs as u**4: networks that normalise their input change most near 0
MAX_GRAPH_NUMEL = 2**25  # numbers that the graphs of a path's points may keep at once: 128 MB in float32


@dataclass(frozen=True)
class AttributionRequest:
    """What is to be explained, resolved: modules and table entries, no names to look up."""

    layer: nn.Module
    layer_name: str
    method: MethodSpec
    score: ScoreSpec
    n_steps: int = 16
    counterfactual: bool = False
    n_alternatives: int = 0

    @property
    def integrates(self) -> bool:
        """Whether gradients are averaged along a path from the baseline."""
        return self.method.kind == "path"


@dataclass(frozen=True)
class ScoredTokens:
    """One token for each position, and the score that is explained of it."""

    ids: Tensor  # (b, t)
    score: ScoreFn

    def scores(self, logits: Tensor) -> Tensor:
        """`(rows, t)`, 0 at padding; rows are repeats of the batch."""
        ids = self.ids.repeat(len(logits) // len(self.ids), 1)
        return torch.where(ids >= 0, self.score(wide(logits), ids), 0)


@dataclass
class TokenMaps:
    """Maps and scores of `b` rows, `t` tokens, `a` columns; 0 at padding. `maps` for linear methods, else `gradients`.

    Column 0 holds the tokens themselves, the others the likeliest alternatives at each position. `unplaced` is what the tokens'
    own scores got from activations that have no place on the grid: `maps` and it add up to `changes`. `activations` and
    `gradients` are cells of `view`, which also draws maps of them on the image.
    """

    view: LayerView
    activations: Tensor  # (b, c, h, w)
    ids: Tensor  # (a, b, t)
    scores: Tensor  # (a, b, t)
    log_probs: Tensor  # (a, b, t)
    reliance: Tensor  # (b, t)
    maps: Tensor | None = None  # (a, t, b, h, w)
    gradients: Tensor | None = None  # (a, t, b, c, h, w)
    changes: Tensor | None = None  # (b, t), path methods only
    unplaced: Tensor | None = None  # (b, t), path methods only; None if every activation has a place
    question: Tensor | None = None  # (t, b, q): what each token of the question adds to the score
    notes: dict[str, str] = field(default_factory=dict)

    def span_map(self, row: int, tokens: slice, method: MethodSpec, column: int = 0) -> Tensor:
        """The map `(h, w)` of a run of tokens: a sum of maps, or computed from summed gradients if the method is not linear."""
        if self.maps is not None:
            return self.maps[column, tokens, row].sum(dim=0)
        assert self.gradients is not None
        gradients = self.gradients[column, tokens, row].sum(dim=0, keepdim=True)
        return self.view.to_image(method.maps(wide(self.activations[row : row + 1]), gradients))[0]


@dataclass(frozen=True)
class CutModel:
    """A batch of rows (image, question, text) under teacher forcing, and the model cut at a layer.

    `from_adapter_layer`: the adapter itself can start from this layer; from another one the whole network runs, overridden there.
    """

    adapter: TaskAdapter
    inputs: Inputs
    ids: Tensor  # (b, t)
    layer: nn.Module
    layer_name: str
    view: LayerView

    @classmethod
    def at(cls, adapter: TaskAdapter, inputs: Inputs, ids: Tensor, layer: nn.Module, layer_name: str) -> CutModel:
        view = layer_view_of(adapter, inputs, layer)
        return cls(adapter, inputs if layer is adapter.layer else inputs.expand_images(), ids, layer, layer_name, view)

    @property
    def from_adapter_layer(self) -> bool:
        return self.layer is self.adapter.layer

    def tap(self, *, leaf: bool = False, replace: Tensor | None = None) -> LayerTap:
        return LayerTap(self.layer, self.layer_name, leaf=leaf, replace=replace, view=self.view)

    def logits(self) -> Tensor:
        """Logits `(b, t, v)` from the images."""
        return self.adapter.logits(self.inputs, self.ids)

    def logits_from(self, activations: Tensor, copies: int = 1) -> Tensor:
        """Logits `(copies b, t, v)` from activations of the layer, `copies` times the batch."""
        ids = self.ids.repeat(copies, 1)
        if self.from_adapter_layer:
            return self.adapter.logits(self.inputs, ids, activations.clone())  # heads may write on their input in place
        with self.tap(replace=activations):
            return self.adapter.logits(self.inputs.repeat(copies), ids)

    def baseline(self) -> Tensor:
        """The layer's activations without a photo, `(b, ...)` or broadcastable to it."""
        if self.from_adapter_layer:
            return self.adapter.baseline_activations(self.inputs)
        with self.tap() as tap:
            self.adapter.logits(self.adapter.baseline_inputs(self.inputs), self.ids)
        return tap.activations

    def row_activations(self) -> Tensor:
        """Activations `(b, ...)` of images that several rows share: the backbone runs once for each image."""
        with self.tap() as tap:
            self.logits()
        activations = rows_of_tap(self.inputs, tap)
        if activations is None:
            rows = len(tap.activations)
            raise RuntimeError(f"{self.adapter.name}: the layer gave {rows} rows for {len(self.inputs)} questions")
        return activations


@dataclass
class ForwardPass:
    """What one forward pass leaves behind: everything that the maps are made of."""

    activations: Tensor  # (b, ...), as the view extracts them
    logits: Tensor  # (b, t, v)
    columns: list[ScoredTokens]
    reduced: Tensor | None = None  # (a, t, ...): gradients at the photo, or what a linear method makes of them
    question_embeddings: Tensor | None = None  # (b, q, d)


def attribute(
    adapter: TaskAdapter,
    inputs: Inputs,
    ids: Tensor,
    request: AttributionRequest,
    *,
    contrast_ids: Tensor | None = None,
    activations: Tensor | None = None,
) -> TokenMaps:
    """Maps of all tokens `ids` `(b, t)`: one backbone pass, then head passes only.

    Args:
        contrast_ids: Tokens `(b, t)` that the explained ones are compared with, `PAD` for the likeliest other one.
        activations: Activations of `layer`, if they are known already: the backbone then does not run.

    Raises ValueError if the gradient is not finite, or zero everywhere.
    """
    model = CutModel.at(adapter, inputs, ids, request.layer, request.layer_name)
    log = ProductLog(
        f"the gradient at layer {request.layer_name!r} is not finite: check the model's weights and the photo's pixels",
        f"the text does not depend on layer {request.layer_name!r}: its gradient is zero everywhere; "
        "choose a layer that the head reads (weights that some libraries quantise give no gradient at all)",
    )
    with torch.no_grad():
        if not model.from_adapter_layer:
            activations = None
        elif activations is None and inputs.image_index is not None:
            activations = model.row_activations()
        baseline = model.baseline()  # first: its pass over the backbone should not come on top of the photo's graph
        forward = run_forward(model, request, contrast_ids, activations, log)
        baseline = baseline.to(forward.activations)
        logits_without_photo = model.logits_from(baseline.expand_as(forward.activations))
    maps = gradients = unplaced = None
    if request.method.kind == "attention":
        maps = _attention_maps(model, forward)
    elif request.integrates:
        maps, unplaced = _split_cells(model.view, integrate_path(model, request, forward, baseline, log), forward.activations)
        unplaced = None if model.view.unplaced(forward.activations) is None else unplaced
    elif request.method.linear:
        assert forward.reduced is not None
        maps, _ = _split_cells(model.view, forward.reduced, forward.activations)
    else:
        assert forward.reduced is not None
        gradients = model.view.cells(forward.reduced)
    if request.method.kind != "attention":
        log.require_dependence()
    own, columns = forward.columns[0], forward.columns
    log_probs = [ScoredTokens(column.ids, log_prob).scores(forward.logits) for column in columns]
    return TokenMaps(
        model.view,
        model.view.cells(forward.activations),
        ids=torch.stack([column.ids for column in columns]),
        scores=torch.stack([column.scores(forward.logits) for column in columns]),
        log_probs=torch.stack(log_probs),
        reliance=log_probs[0] - ScoredTokens(own.ids, log_prob).scores(logits_without_photo),
        maps=maps,
        gradients=gradients,
        unplaced=unplaced,
        changes=own.scores(forward.logits) - own.scores(logits_without_photo) if request.integrates else None,
        question=attribute_question(model, request, forward, log),
        notes={"products": "batched" if log.batched else "looped"},
    )


# ---- the forward pass ------------------------------------------------------------------------------------------------------


def run_forward(
    model: CutModel, request: AttributionRequest, contrast_ids: Tensor | None, activations: Tensor | None, log: ProductLog
) -> ForwardPass:
    """The photo's pass, from its pixels or from known `activations`, with the gradients of a gradient method."""
    differentiate = request.method.kind == "gradient"
    with ReadoutTap(model.adapter.readout) as cut, _question_embeddings(model) as question_tap:
        leaf: Tensor | None
        if activations is not None:
            leaf = activations.detach().requires_grad_(differentiate)
            with torch.set_grad_enabled(differentiate):
                logits = model.logits_from(leaf)
        else:
            with torch.no_grad(), model.tap(leaf=differentiate) as tap:
                logits = model.logits()
            activations, leaf = tap.activations, tap.leaf
        columns = _columns(model.ids, logits.detach(), request, contrast_ids)
        forward = ForwardPass(activations, logits.detach(), columns)
        if differentiate and leaf is not None:
            with torch.enable_grad():
                scores = _scores(columns, logits)
            reduction = log.check if not request.method.linear else _map_gradients(model.view, activations, request.method, log)
            forward.reduced = score_gradients(scores, leaf, cut, reduction, log)
    forward.question_embeddings = None if question_tap is None else question_tap.activations
    return forward


def _columns(ids: Tensor, logits: Tensor, request: AttributionRequest, contrast_ids: Tensor | None) -> list[ScoredTokens]:
    """The tokens themselves, then the likeliest alternatives at each position, each with its score."""

    def score(column: Tensor) -> ScoreFn:
        if contrast_ids is None:
            found = request.score.resolve(logits, column)
        else:
            found = contrast_with(torch.where(contrast_ids >= 0, contrast_ids, most_likely_others(logits, column)))
        return reversed_sign(found) if request.counterfactual else found

    return [ScoredTokens(column, score(column)) for column in (ids, *_alternatives(ids, logits, request.n_alternatives))]


def _alternatives(ids: Tensor, logits: Tensor, count: int) -> tuple[Tensor, ...]:
    """The likeliest other tokens at each position: with the explained ones these hold the likeliest `count`."""
    count = min(count, logits.shape[-1])
    if count == 0:
        return ()
    real, own = ids >= 0, ids.clamp(min=0)[..., None]
    likely = logits.topk(count, dim=-1).indices
    if count == logits.shape[-1] or bool(((likely == own).any(dim=-1) | ~real).all()):
        count -= 1  # the explained tokens are among them
    others = logits.scatter(-1, own, -torch.inf).topk(count, dim=-1).indices
    return torch.where(real[..., None], others, ids[..., None]).unbind(dim=-1)


def _scores(columns: list[ScoredTokens], logits: Tensor) -> Tensor:
    """The scores `(rows, a, t)` of all columns."""
    return torch.stack([column.scores(logits) for column in columns], dim=1)


# ---- from gradients to maps --------------------------------------------------------------------------------------------------
#
# Gradients of many words are large. What a linear method makes of a chunk of them `(m, b, ...)` is small: one number for each
# cell of the drawn map and one for what has no place, concatenated as `(m, b, h w + 1)`; these add up over chunks and points.


def _map_gradients(view: LayerView, activations: Tensor, method: MethodSpec, log: ProductLog) -> Reduction:
    """Reduces gradients to the cells of a linear method's maps."""
    at = view.cells(wide(activations))

    def reduce_gradients(gradients: Tensor) -> Tensor:
        maps = torch.stack([method.maps(at, view.cells(token)) for token in gradients])
        log.check(gradients, maps)
        return _join_cells(view.to_image(maps), None)

    return reduce_gradients


def _integrate_gradients(view: LayerView, activations: Tensor, baseline: Tensor, log: ProductLog) -> Reduction:
    """Reduces gradients to the cells of integrated gradients; these are linear in the gradients, so averaging them suffices."""
    at, start = wide(activations), wide(baseline)

    def reduce_gradients(gradients: Tensor) -> Tensor:
        maps = integrated_gradients(view.cells(at), view.cells(start), view.cells(gradients))
        log.check(gradients, maps)
        change, slopes = view.unplaced(at - start), view.unplaced(gradients)
        unplaced = None if change is None or slopes is None else (change * slopes).sum(dim=(-2, -1))
        return _join_cells(view.to_image(maps), unplaced)

    return reduce_gradients


def _join_cells(maps: Tensor, unplaced: Tensor | None) -> Tensor:
    """Maps `(..., h, w)` and unplaced sums `(...)` -> `(..., h w + 1)`."""
    unplaced = maps.new_zeros(maps.shape[:-2]) if unplaced is None else unplaced
    return torch.cat([maps.flatten(-2), unplaced[..., None]], dim=-1)


def _split_cells(view: LayerView, cells: Tensor, activations: Tensor) -> tuple[Tensor, Tensor]:
    """`(a, t, b, h w + 1)` -> token maps `(a, t, b, h, w)` and the unplaced sums of the tokens' own scores `(b, t)`."""
    h, w = view.to_image(view.cells(activations)[:, 0]).shape[-2:]
    maps: Tensor = cells[..., :-1].unflatten(-1, (h, w))  # type: ignore[no-untyped-call]
    return maps, cells[0, ..., -1].T


def _attention_maps(model: CutModel, forward: ForwardPass) -> Tensor:
    """The model's own attention as token maps `(a, t, b, h, w)`: the same for all alternatives."""
    assert isinstance(model.adapter, HasAttention)
    with torch.no_grad():
        maps = model.adapter.attention(model.inputs, model.ids, forward.activations)
    real = (model.ids >= 0)[..., None, None]
    return (wide(maps) * real).transpose(0, 1).expand(len(forward.columns), -1, -1, -1, -1)


# ---- the path from the baseline ----------------------------------------------------------------------------------------------


def integrate_path(
    model: CutModel, request: AttributionRequest, forward: ForwardPass, baseline: Tensor, log: ProductLog
) -> Tensor:
    """Integrated gradients of all scores between `baseline` and the photo's activations, reduced to `(a, t, b, h w + 1)`."""
    reduction = _integrate_gradients(model.view, forward.activations, baseline, log)

    def gradients_at(points: Tensor) -> Tensor:
        return _summed_gradients(model, forward.columns, points, reduction, log)

    return mean_gradients(
        gradients_at, forward.activations, baseline, n_steps=request.n_steps, steps_at_once=lambda: _points_at_once(log)
    )


def _summed_gradients(
    model: CutModel, columns: list[ScoredTokens], points: Tensor, reduction: Reduction, log: ProductLog
) -> Tensor:
    """Reduced gradients of all scores, `(a, t, b, ...)`, summed over points `(n, b, ...)` of the path.

    One leaf of zeros is added to all points: its gradient is the sum, and no tensor of size `(t, n, ...)` is kept.
    """
    n = len(points)
    affine = model.adapter.head_input_layer if model.from_adapter_layer else None
    with ReadoutTap(model.adapter.readout) as cut, torch.enable_grad():
        if affine is None:
            leaf = torch.zeros_like(points[0]).requires_grad_()
            scores = _scores(columns, model.logits_from((points + leaf).flatten(0, 1), n))
            return score_gradients(scores, leaf, cut, reduction, log)
        with HeadInputTap(affine, n) as tap:
            scores = _scores(columns, model.logits_from(points.flatten(0, 1), n))
        assert tap.leaf is not None
        return score_gradients(scores, tap.leaf, cut, lambda chunk: reduction(tap.pull_back(chunk, points[0])), log)


def _points_at_once(log: ProductLog) -> int:
    """How many points of a path run at once: one, until it is known what its graph keeps."""
    return max(1, MAX_GRAPH_NUMEL // log.graph_numel) if log.graph_numel else 1


# ---- the words of the question -----------------------------------------------------------------------------------------------


def attribute_question(model: CutModel, request: AttributionRequest, forward: ForwardPass, log: ProductLog) -> Tensor | None:
    """What each token of the question adds to the scores, `(t, b, q)`; None if the model reads no question, or hides it.

    Gradient times input at the question's embeddings; along a path, integrated gradients from embeddings of 0. One leaf scales
    each token's embedding, so that its gradient is the token's share.
    """
    if forward.question_embeddings is None:
        return None
    embeddings, power = wide(forward.question_embeddings), QUESTION_PATH_POWER if request.integrates else 1
    log.graph_numel = 0  # another graph, larger than the map's if the question is read before the layer

    def shares_at(steps: Tensor) -> Tensor:
        leaf, steps = torch.zeros_like(embeddings[..., :1]).requires_grad_(), steps.view(-1, 1, 1, 1)
        with torch.enable_grad():
            points = (steps**power + power * steps ** (power - 1) * leaf) * embeddings
            replaced = points.flatten(0, 1).to(forward.question_embeddings)
            with ReadoutTap(model.adapter.readout) as cut, _question_tap(model, replaced):
                scores = forward.columns[0].scores(_logits_with_question(model, forward.activations, len(points)))[:, None]
            return score_gradients(scores, leaf, cut, lambda chunk: chunk, log)[0, ..., 0]

    one = embeddings.new_ones(())
    if not request.integrates:
        return shares_at(one)
    return mean_gradients(shares_at, one, one - one, n_steps=request.n_steps, steps_at_once=lambda: _points_at_once(log))


def _logits_with_question(model: CutModel, activations: Tensor, copies: int) -> Tensor:
    """Logits of `copies` of the batch, from the layer's activations unless the question is read before the layer."""
    adapter = model.adapter
    if isinstance(adapter, ReadsQuestionsInPrompts) and adapter.question_before_layer:
        return adapter.logits(model.inputs.repeat(copies), model.ids.repeat(copies, 1))
    return model.logits_from(activations.repeat(copies, *[1] * (activations.ndim - 1)), copies)


@contextmanager
def _question_embeddings(model: CutModel) -> Iterator[LayerTap | None]:
    """A tap on the embeddings `(b, q, d)` of the question's tokens; None if there are none to be seen."""
    if question_view_of(model.adapter, model.inputs) is None:
        yield None
        return
    with _question_tap(model) as tap:
        yield tap


def _question_tap(model: CutModel, replace: Tensor | None = None) -> LayerTap:
    adapter, view = model.adapter, question_view_of(model.adapter, model.inputs)
    assert isinstance(adapter, ReadsQuestions)
    assert adapter.question_layer is not None
    return LayerTap(adapter.question_layer, "question", replace=replace, view=view)


# ---- taps of whole models ----------------------------------------------------------------------------------------------------


def tap_layer(adapter: TaskAdapter, inputs: Inputs) -> LayerTap:
    """A tap on the adapter's own layer, through the adapter's view of it."""
    return LayerTap(adapter.layer, view=layer_view_of(adapter, inputs, adapter.layer))


def rows_of_tap(inputs: Inputs, tap: LayerTap) -> Tensor | None:
    """The tapped activations, one row for each of `inputs`; None if the layer ran several times, or on other rows (beams)."""
    if tap.calls != 1:
        return None
    activations = tap.activations
    if len(activations) == len(inputs.pixels):
        return inputs.to_rows(activations)
    return activations if len(activations) == len(inputs) else None
