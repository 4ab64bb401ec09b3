"""Integrated gradients: what the points of a path from the baseline add up to, at the layer and at the question's embeddings."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..adapters.contract import ReadsQuestionsInPrompts
from ..methods.path import channel_integrated_gradients, integrated_gradients, mean_gradients
from .forward_pass import CutModel, ForwardPass, ScoredTokens
from .gradients import ProductLog, Reduction, score_gradients, wide
from .hooks import HeadInputTap, ReadoutTap

QUESTION_PATH_POWER = 4  # the question's path runs as u**4: networks that normalise their input change most near 0
MAX_GRAPH_NUMEL = 2**25  # numbers that the graphs of a path's points may keep at once: 128 MB in float32


class PathMaps(NamedTuple):
    """Integrated gradients: maps, and what activations without a place add to the tokens' own scores, if there are any."""

    maps: Tensor  # (a, t, b, h, w)
    channels: Tensor | None  # (t, b, c, h, w): of the tokens themselves, by channel, if they are wanted
    unplaced: Tensor | None  # (b, t)


def integrate_path(model: CutModel, forward: ForwardPass, baseline: Tensor, log: ProductLog) -> PathMaps:
    """Integrated gradients of all scores from `baseline` to the photo's activations."""
    reduction = partial(_integrated_maps, model, wide(forward.activations), wide(baseline), log)
    maps, *others = mean_gradients(
        partial(_summed_gradients, model, forward.columns, reduction, log),
        forward.activations,
        baseline,
        n_steps=model.request.n_steps,
        steps_at_once=partial(points_at_once, log),
    )
    channels = others.pop(0)[0] if model.request.by_channel else None
    return PathMaps(maps, channels, others[0][0].T if others else None)


def _summed_gradients(
    model: CutModel, columns: list[ScoredTokens], reduction: Reduction, log: ProductLog, points: Tensor
) -> tuple[Tensor, ...]:
    """Reduced gradients of all scores, `(a, t, b, ...)`, summed over points `(n, b, ...)` of the path.

    One leaf of zeros is added to all points: its gradient is the sum, and no tensor of size `(t, n, ...)` is kept.
    """
    n = len(points)
    affine = model.adapter.head_input_layer if model.from_adapter_layer else None
    with ReadoutTap(model.adapter.readout) as cut, torch.enable_grad():
        if affine is None:
            leaf = torch.zeros_like(points[0]).requires_grad_()
            logits = model.logits_from((points + leaf).flatten(0, 1), n)
        else:
            with HeadInputTap(affine, n) as tap:
                logits = model.logits_from(points.flatten(0, 1), n)
            assert tap.leaf is not None
            leaf = tap.leaf
        scores = torch.stack([column.scores(logits) for column in columns], dim=1)
        if affine is None:
            return score_gradients(scores, leaf, cut, reduction, log)
        return score_gradients(scores, leaf, cut, lambda chunk: reduction(tap.pull_back(chunk, points[0])), log)


def _integrated_maps(
    model: CutModel, activations: Tensor, baseline: Tensor, log: ProductLog, gradients: Tensor
) -> tuple[Tensor, ...]:
    """Reduce gradients `(m, b, ...)` to integrated gradients: maps `(m, b, h, w)`, if they are wanted those by channel
    `(m, b, c, h, w)` and, if there are any, unplaced sums `(m, b)`.

    Integrated gradients are linear in the gradients, so averaging what they are reduced to suffices.
    """
    view = model.view
    maps = integrated_gradients(view.cells(activations), view.cells(baseline), view.cells(gradients))
    log.check(gradients, maps)
    change, slopes = view.unplaced(activations - baseline), view.unplaced(gradients)
    unplaced = () if change is None or slopes is None else ((change * slopes).sum(dim=(-2, -1)),)
    if not model.request.by_channel:
        return (view.to_image(maps), *unplaced)
    by_channel = channel_integrated_gradients(view.cells(activations), view.cells(baseline), view.cells(gradients))
    return (view.to_image(maps), view.to_image(by_channel), *unplaced)


def points_at_once(log: ProductLog) -> int:
    """How many points of a path run at once: one, until it is known what its graph keeps."""
    return max(1, MAX_GRAPH_NUMEL // log.graph_numel) if log.graph_numel else 1


def attribute_question(model: CutModel, forward: ForwardPass, embeddings: Tensor, log: ProductLog) -> Tensor:
    """What each token of the question, embedded as `embeddings` `(b, q, d)`, adds to the scores: `(t, b, q)`.

    Gradient times input at the question's embeddings; along a path, integrated gradients from embeddings of 0. One leaf scales
    each token's embedding, so that its gradient is the token's share.
    """
    integrates = model.request.method.kind == "path"
    own, embeddings, power = embeddings, wide(embeddings), QUESTION_PATH_POWER if integrates else 1
    log.graph_numel = 0  # another graph, larger than the map's if the question is read before the layer

    def shares_at(steps: Tensor) -> tuple[Tensor]:
        leaf, steps = torch.zeros_like(embeddings[..., :1]).requires_grad_(), steps.view(-1, 1, 1, 1)
        with torch.enable_grad():
            points = (steps**power + power * steps ** (power - 1) * leaf) * embeddings
            tap = model.question_tap(points.flatten(0, 1).to(own))
            assert tap is not None
            with ReadoutTap(model.adapter.readout) as cut, tap:
                scores = forward.columns[0].scores(_logits_with_question(model, forward.activations, len(points)))[:, None]
            (gradients,) = score_gradients(scores, leaf, cut, lambda chunk: (chunk,), log)
            return (gradients[0, ..., 0],)

    one = embeddings.new_ones(())
    if not integrates:
        return shares_at(one)[0]
    steps_at_once = partial(points_at_once, log)
    (shares,) = mean_gradients(shares_at, one, one - one, n_steps=model.request.n_steps, steps_at_once=steps_at_once)
    return shares


def _logits_with_question(model: CutModel, activations: Tensor, copies: int) -> Tensor:
    """Logits of `copies` of the batch, from the layer's activations unless the question is read before the layer."""
    adapter = model.adapter
    if isinstance(adapter, ReadsQuestionsInPrompts) and adapter.question_before_layer:
        return adapter.logits(model.inputs.repeat(copies), model.ids.repeat(copies, 1))
    return model.logits_from(activations.repeat(copies, *[1] * (activations.ndim - 1)), copies)
