"""The forward pass through a cut model: its logits, the columns that are explained, and its gradients at the layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..methods import MethodSpec
from ..scores import ScoreFn, ScoreSpec, contrast_with, most_likely_others, reversed_sign
from .cut_model import CutModel, question_embeddings_tap
from .gradients import ProductLog, score_gradients, wide
from .hooks import ReadoutTap
from .map_reduction import map_reduction


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
class ForwardPass:
    """What one forward pass leaves behind: everything that the maps are made of."""

    activations: Tensor  # (b, ...), as the view extracts them
    logits: Tensor  # (b, t, v)
    columns: list[ScoredTokens]
    reduced: tuple[Tensor, ...] = ()  # gradient methods: the gradients (a, t, b, ...), or a linear method's maps (a, t, b, h, w)
    question_embeddings: Tensor | None = None  # (b, q, d)


def run_forward(
    model: CutModel, request: AttributionRequest, contrast_ids: Tensor | None, activations: Tensor | None, log: ProductLog
) -> ForwardPass:
    """The photo's pass, from its pixels or from known `activations`, with the gradients of a gradient method."""
    differentiate = request.method.kind == "gradient"
    with ReadoutTap(model.adapter.readout) as cut, question_embeddings_tap(model) as question_tap:
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
                scores = column_scores(columns, logits)
            reduction = log.checked if not request.method.linear else map_reduction(model.view, activations, request.method, log)
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


def column_scores(columns: list[ScoredTokens], logits: Tensor) -> Tensor:
    """The scores `(rows, a, t)` of all columns."""
    return torch.stack([column.scores(logits) for column in columns], dim=1)
