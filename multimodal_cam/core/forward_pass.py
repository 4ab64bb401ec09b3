"""A model cut at a layer, and the photo's pass through it: logits, the columns that are explained, gradients at the layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..adapters.contract import ReadsQuestions, ReadsQuestionsInPrompts, TaskAdapter
from ..adapters.inputs import Inputs
from ..methods import MethodSpec
from ..scores import ScoreFn, ScoreSpec, contrast_with, most_likely_others, reversed_sign
from .grad_modes import numpy_errors_explained
from .gradients import ProductLog, score_gradients, wide
from .hooks import LayerTap, ReadoutTap
from .layer_view import GridView, LayerView


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
    adds_steps: bool = False  # whether tokens whose evidence does not add up get more steps than `n_steps`
    options: Mapping[str, Any] = field(default_factory=dict)  # the method's own, all of them
    report: Callable[[int, int], None] = lambda _done, _total: None  # told how many perturbed passes of how many are done
    other_layers: tuple[tuple[nn.Module, str], ...] = ()  # whose maps are fused with those of `layer`
    fuse: Literal["mean", "product"] = "mean"
    by_channel: bool = False  # whether the maps of each channel are kept; of a method that is `by_channel`

    @property
    def adds_up(self) -> bool:
        """Whether the map of a phrase is the sum of its tokens' maps."""
        return self.method.linear and not (self.other_layers and self.fuse == "product")

    @property
    def layer_names(self) -> tuple[str, ...]:
        return (self.layer_name, *(name for _, name in self.other_layers))


@dataclass(frozen=True)
class CutModel:
    """A batch of rows (image, question, text) under teacher forcing, and the model cut at the request's layer.

    `from_adapter_layer`: the adapter itself can start from this layer; from another one the whole network runs, overridden there.
    """

    adapter: TaskAdapter
    inputs: Inputs
    ids: Tensor  # (b, t)
    request: AttributionRequest
    view: LayerView  # of the request's layer
    from_adapter_layer: bool

    def tap(self, *, leaf: bool = False, replace: Tensor | None = None) -> LayerTap:
        return LayerTap(self.request.layer, self.request.layer_name, leaf=leaf, replace=replace, view=self.view)

    def logits_from(self, activations: Tensor, copies: int = 1) -> Tensor:
        """Logits `(copies b, t, v)` from activations of the layer, `copies` times the batch."""
        ids = self.ids.repeat(copies, 1)
        if self.from_adapter_layer:
            with numpy_errors_explained(self.request.layer_name):
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
            self.adapter.logits(self.inputs, self.ids)
        activations = rows_of_tap(self.inputs, tap)
        if activations is None:
            rows = len(tap.activations)
            raise RuntimeError(f"{self.adapter.name}: the layer gave {rows} rows for {len(self.inputs)} questions")
        return activations

    def question_tap(self, replace: Tensor | None = None) -> LayerTap | None:
        """A tap on the embeddings `(b, q, d)` of the question's tokens; None if the model reads no question, or hides it."""
        adapter = self.adapter
        if not isinstance(adapter, ReadsQuestions) or adapter.question_layer is None or self.inputs.question_ids is None:
            return None
        view = adapter.question_view(self.inputs) if isinstance(adapter, ReadsQuestionsInPrompts) else GridView(3)
        return None if view is None else LayerTap(adapter.question_layer, "question", replace=replace, view=view)


def rows_of_tap(inputs: Inputs, tap: LayerTap) -> Tensor | None:
    """The tapped activations, one row for each of `inputs`; None if the layer ran several times, or on other rows (beams)."""
    if tap.calls != 1:
        return None
    activations = tap.activations
    if len(activations) == len(inputs.pixels):
        return inputs.to_rows(activations)
    return activations if len(activations) == len(inputs) else None


@dataclass(frozen=True)
class ScoredTokens:
    """One token for each position, and the score that is explained of it."""

    ids: Tensor  # (b, t)
    score: ScoreFn

    def scores(self, logits: Tensor) -> Tensor:
        """`(rows, t)`, 0 at padding; rows are repeats of the batch."""
        ids = self.ids.repeat(len(logits) // len(self.ids), 1)
        return torch.where(ids >= 0, self.score(wide(logits), ids), 0)


@dataclass(frozen=True)
class ForwardPass:
    """What one forward pass leaves behind: everything that the maps are made of."""

    activations: Tensor  # (b, ...), as the view extracts them
    logits: Tensor  # (b, t, v)
    columns: list[ScoredTokens]
    reduced: tuple[
        Tensor, ...
    ]  # gradient methods: the gradients (a, t, b, ...), or a linear method's maps (a, t, b, h, w), then those by channel
    question_embeddings: Tensor | None  # (b, q, d)


def run_forward(model: CutModel, contrast_ids: Tensor | None, activations: Tensor | None, log: ProductLog) -> ForwardPass:
    """The photo's pass, from pixels or from known `activations` of the adapter's layer; with a gradient method's gradients."""
    if not model.from_adapter_layer:
        activations = None
    elif activations is None and model.inputs.image_index is not None:
        activations = model.row_activations()
    method = model.request.method
    differentiate = method.kind == "gradient"
    leaf: Tensor | None
    reduced: tuple[Tensor, ...] = ()
    question_tap = model.question_tap()
    with ReadoutTap(model.adapter.readout) as cut, question_tap or nullcontext():
        if activations is not None:
            leaf = activations.detach().requires_grad_(differentiate)
            with torch.set_grad_enabled(differentiate):
                logits = model.logits_from(leaf)
        else:
            with torch.no_grad(), model.tap(leaf=differentiate) as tap:
                logits = model.adapter.logits(model.inputs, model.ids)
            activations, leaf = tap.activations, tap.leaf
        columns = _columns(model, logits.detach(), contrast_ids)
        if differentiate and leaf is not None:
            with torch.enable_grad():
                scores = torch.stack([column.scores(logits) for column in columns], dim=1)
            to_maps = partial(_linear_maps, model, model.view.cells(wide(activations)), log)
            reduced = score_gradients(scores, leaf, cut, to_maps if method.linear else log.checked, log)
    embeddings = None if question_tap is None else question_tap.activations
    return ForwardPass(activations, logits.detach(), columns, reduced, embeddings)


def rows_that_read(logits_from: Callable[[Tensor], Tensor], activations: Tensor) -> Tensor:
    """Whether any logit of each row `(b,)` has a gradient at the activations, be the explained scores as flat as they may."""
    leaf = activations.detach().requires_grad_()
    with torch.enable_grad():
        logits = wide(logits_from(leaf))
    if not logits.requires_grad:
        return torch.zeros(len(leaf), dtype=torch.bool, device=leaf.device)
    weights = torch.arange(1.0, logits.numel() + 1, device=logits.device).sin().view_as(logits)  # no two logits cancel
    (gradient,) = torch.autograd.grad(logits, leaf, weights.to(logits), allow_unused=True)
    return leaf.new_zeros(len(leaf)).bool() if gradient is None else gradient.flatten(1).ne(0).any(dim=1)


def _linear_maps(model: CutModel, cells: Tensor, log: ProductLog, gradients: Tensor) -> tuple[Tensor, ...]:
    """Reduce gradients `(m, b, ...)` to a linear method's maps `(m, b, h, w)`: gradients of many words are large.

    If they are wanted, maps by channel follow, `(m, b, c, h, w)`.
    """
    method = model.request.method
    maps = torch.stack([method.maps(cells, model.view.cells(token)) for token in gradients])
    log.check(gradients, maps)
    if not model.request.by_channel:
        return (model.view.to_image(maps),)
    by_channel = torch.stack([method.channel_maps(cells, model.view.cells(token)) for token in gradients])
    return model.view.to_image(maps), model.view.to_image(by_channel)


def _columns(model: CutModel, logits: Tensor, contrast_ids: Tensor | None) -> list[ScoredTokens]:
    """The tokens themselves, then the likeliest alternatives at each position, each with its score."""
    request, columns = model.request, [model.ids]
    if request.n_alternatives:
        columns += _alternatives(model.ids, logits, request.n_alternatives)
    scored = []
    for ids in columns:
        if contrast_ids is None:
            score = request.score.resolve(logits, ids)
        else:
            score = contrast_with(torch.where(contrast_ids >= 0, contrast_ids, most_likely_others(logits, ids)))
        scored.append(ScoredTokens(ids, reversed_sign(score) if request.counterfactual else score))
    return scored


def _alternatives(ids: Tensor, logits: Tensor, count: int) -> tuple[Tensor, ...]:
    """The likeliest other tokens at each position: with the explained ones these hold the likeliest `count`."""
    count = min(count, logits.shape[-1])
    real, own = ids >= 0, ids.clamp(min=0)[..., None]
    likely = logits.topk(count, dim=-1).indices
    if count == logits.shape[-1] or bool(((likely == own).any(dim=-1) | ~real).all()):
        count -= 1  # the explained tokens are among them
    others = logits.scatter(-1, own, -torch.inf).topk(count, dim=-1).indices
    return torch.where(real[..., None], others, ids[..., None]).unbind(dim=-1)
