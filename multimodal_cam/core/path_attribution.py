"""Integrated gradients: what the points of a path from the baseline add up to, at the layer and at the question's embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from ..adapters.contract import ReadsQuestionsInPrompts
from ..methods.path import mean_gradients
from .cut_model import CutModel, question_tap
from .forward_pass import AttributionRequest, ForwardPass, ScoredTokens, column_scores
from .gradients import ProductLog, Reduction, score_gradients, wide
from .hooks import HeadInputTap, ReadoutTap
from .map_reduction import path_reduction

QUESTION_PATH_POWER = 4  # the question's path runs as u**4: networks that normalise their input change most near 0
MAX_GRAPH_NUMEL = 2**25  # numbers that the graphs of a path's points may keep at once: 128 MB in float32


def integrate_path(
    model: CutModel, request: AttributionRequest, forward: ForwardPass, baseline: Tensor, log: ProductLog
) -> tuple[Tensor, ...]:
    """Integrated gradients of all scores from `baseline` to the photo's activations.

    Returns maps `(a, t, b, h, w)` and, if some activations have no place on the image, what these add, `(a, t, b)`.
    """
    reduction = path_reduction(model.view, forward.activations, baseline, log)

    def gradients_at(points: Tensor) -> tuple[Tensor, ...]:
        return _summed_gradients(model, forward.columns, points, reduction, log)

    return mean_gradients(
        gradients_at, forward.activations, baseline, n_steps=request.n_steps, steps_at_once=lambda: points_at_once(log)
    )


def _summed_gradients(
    model: CutModel, columns: list[ScoredTokens], points: Tensor, reduction: Reduction, log: ProductLog
) -> tuple[Tensor, ...]:
    """Reduced gradients of all scores, `(a, t, b, ...)`, summed over points `(n, b, ...)` of the path.

    One leaf of zeros is added to all points: its gradient is the sum, and no tensor of size `(t, n, ...)` is kept.
    """
    n = len(points)
    affine = model.adapter.head_input_layer if model.from_adapter_layer else None
    with ReadoutTap(model.adapter.readout) as cut, torch.enable_grad():
        if affine is None:
            leaf = torch.zeros_like(points[0]).requires_grad_()
            scores = column_scores(columns, model.logits_from((points + leaf).flatten(0, 1), n))
            return score_gradients(scores, leaf, cut, reduction, log)
        with HeadInputTap(affine, n) as tap:
            scores = column_scores(columns, model.logits_from(points.flatten(0, 1), n))
        assert tap.leaf is not None
        return score_gradients(scores, tap.leaf, cut, lambda chunk: reduction(tap.pull_back(chunk, points[0])), log)


def points_at_once(log: ProductLog) -> int:
    """How many points of a path run at once: one, until it is known what its graph keeps."""
    return max(1, MAX_GRAPH_NUMEL // log.graph_numel) if log.graph_numel else 1


def attribute_question(model: CutModel, request: AttributionRequest, forward: ForwardPass, log: ProductLog) -> Tensor | None:
    """What each token of the question adds to the scores, `(t, b, q)`; None if the model reads no question, or hides it.

    Gradient times input at the question's embeddings; along a path, integrated gradients from embeddings of 0. One leaf scales
    each token's embedding, so that its gradient is the token's share.
    """
    if forward.question_embeddings is None:
        return None
    embeddings, power = wide(forward.question_embeddings), QUESTION_PATH_POWER if request.integrates else 1
    log.graph_numel = 0  # another graph, larger than the map's if the question is read before the layer

    def shares_at(steps: Tensor) -> tuple[Tensor]:
        leaf, steps = torch.zeros_like(embeddings[..., :1]).requires_grad_(), steps.view(-1, 1, 1, 1)
        with torch.enable_grad():
            points = (steps**power + power * steps ** (power - 1) * leaf) * embeddings
            replaced = points.flatten(0, 1).to(forward.question_embeddings)
            with ReadoutTap(model.adapter.readout) as cut, question_tap(model, replaced):
                scores = forward.columns[0].scores(_logits_with_question(model, forward.activations, len(points)))[:, None]
            (gradients,) = score_gradients(scores, leaf, cut, lambda chunk: (chunk,), log)
            return (gradients[0, ..., 0],)

    one = embeddings.new_ones(())
    if not request.integrates:
        return shares_at(one)[0]
    (shares,) = mean_gradients(shares_at, one, one - one, n_steps=request.n_steps, steps_at_once=lambda: points_at_once(log))
    return shares


def _logits_with_question(model: CutModel, activations: Tensor, copies: int) -> Tensor:
    """Logits of `copies` of the batch, from the layer's activations unless the question is read before the layer."""
    adapter = model.adapter
    if isinstance(adapter, ReadsQuestionsInPrompts) and adapter.question_before_layer:
        return adapter.logits(model.inputs.repeat(copies), model.ids.repeat(copies, 1))
    return model.logits_from(activations.repeat(copies, *[1] * (activations.ndim - 1)), copies)
