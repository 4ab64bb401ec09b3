"""Attribution of token scores to the cells of a layer: the Grad-CAM engine that serves every model and method.

`attribute` runs in four steps: the baseline, the forward pass with its gradients at the layer (`forward_pass`), the path from one
to the other for methods that integrate, the words of the question (both `path_attribution`). The backbone runs once for all words
of a batch; everything else is head.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..adapters.contract import HasAttention, TaskAdapter, layer_view_of, log_prob_of
from ..adapters.inputs import Inputs
from ..adapters.network_state import steady_networks
from ..methods import METHODS
from .forward_pass import AttributionRequest, CutModel, ForwardPass, ScoredTokens, rows_that_read, run_forward
from .gradient_diagnosis import lost_gradient_reason
from .gradients import ProductLog, wide
from .noisy_gradients import noisy_gradients
from .path_attribution import attribute_question, integrate_path
from .perturbed_passes import perturb
from .pixel_attribution import PixelModel, attribute_pixels
from .spans import Span
from .token_maps import TokenMaps

NOT_FINITE = "the gradient at layer {!r} is not finite: check the model's weights and the photo's pixels"
INDEPENDENT = (
    "the text does not depend on layer {!r}: its gradient is zero everywhere; "
    "choose a layer that the head reads (weights that some libraries quantise give no gradient at all)"
)

UNCHANGED = (
    "the text does not depend on layer {!r}: the logits are the same whatever it gives; choose a layer that the head reads"
)
ROUNDINGS = 16  # roundings of the largest logit by which passes of another batch size may differ

NO_RELIANCE = "the model's logits for the blank photo are not finite, so nobody can say what the photo added: reliance is NaN"


@steady_networks()
def attribute(
    adapter: TaskAdapter,
    inputs: Inputs,
    ids: Tensor,
    request: AttributionRequest,
    *,
    contrast_ids: Tensor | None = None,
    activations: Tensor | None = None,
    spans: Sequence[Sequence[Span]] = (),
) -> TokenMaps:
    """Maps of all tokens `ids` `(b, t)`: one backbone pass, then head passes only; the whole network for a method of pixels.

    Args:
        contrast_ids: Tokens `(b, t)` that the explained ones are compared with, `PAD` for the likeliest other one.
        activations: Activations of `layer`, if they are known already: the backbone then does not run.
        spans: Runs of tokens of each row that maps are wanted of: a method of pixels that is not linear computes them one by one.

    Raises ValueError if the gradient is not finite, or if a row's logits do not depend on the layer, or on the pixels.
    """
    if request.method.pixels is None:
        return _attribute_layer(adapter, inputs, ids, request, contrast_ids, activations)
    of_layer = replace(request, method=METHODS["grad_cam"])
    at_layer = partial(_attribute_layer, adapter, inputs, ids, of_layer, contrast_ids)
    model = PixelModel.of(adapter, inputs, ids, request)
    return attribute_pixels(model, at_layer, activations=activations, spans=spans)


def _attribute_layer(
    adapter: TaskAdapter,
    inputs: Inputs,
    ids: Tensor,
    request: AttributionRequest,
    contrast_ids: Tensor | None,
    activations: Tensor | None,
) -> TokenMaps:
    """Maps of the cells of the request's layer, with the scores, reliance and shares of the question."""
    own_layer = request.layer is adapter.layer
    view = layer_view_of(adapter, inputs, request.layer)
    model = CutModel(adapter, inputs if own_layer else inputs.expand_images(), ids, request, view, own_layer)
    log = ProductLog(NOT_FINITE.format(request.layer_name), INDEPENDENT.format(request.layer_name))
    with torch.no_grad():
        baseline = model.baseline()  # first: its pass over the backbone should not come on top of the photo's graph
        forward = run_forward(model, contrast_ids, activations, log)
        baseline = baseline.to(forward.activations)
        logits_without_photo = model.logits_from(baseline.expand_as(forward.activations))
    kind, maps, channels, gradients, unplaced = request.method.kind, None, None, None, None
    if kind == "attention":
        maps = _attention_maps(model, forward)
    elif kind == "path":
        maps, channels, unplaced = integrate_path(model, forward, baseline, log)
    elif kind == "perturbation":
        found = perturb(model, forward, baseline)
        maps, gradients = (found, None) if request.method.linear else (None, found)
    elif kind == "noise":
        gradients = noisy_gradients(model, forward.columns, log)
    elif kind == "activations":
        cells = view.cells(forward.activations)
        gradients = cells.new_zeros(()).expand(len(forward.columns), ids.shape[1], *cells.shape)
    elif request.method.linear:
        maps, *by_channel = forward.reduced
        channels = by_channel[0][0] if by_channel else None
    else:
        gradients = view.cells(forward.reduced[0])
    if kind in ("gradient", "noise", "path"):
        _require_dependence(model, forward, log)
    elif kind in ("activations", "perturbation"):
        _require_change(model, forward, logits_without_photo)
    columns, embeddings, log_prob = forward.columns, forward.question_embeddings, log_prob_of(adapter)
    scores = torch.stack([column.scores(forward.logits) for column in columns])
    log_probs = torch.stack([ScoredTokens(column.ids, log_prob).scores(forward.logits) for column in columns])
    reliance = log_probs[0] - ScoredTokens(ids, log_prob).scores(logits_without_photo)
    return TokenMaps(
        view,
        view.cells(forward.activations),
        columns,
        ids=torch.stack([column.ids for column in columns]),
        scores=scores,
        log_probs=log_probs,
        reliance=reliance,
        maps=maps,
        channels=channels,
        gradients=gradients,
        unplaced=unplaced,
        changes=scores[0] - columns[0].scores(logits_without_photo) if kind == "path" else None,
        question=None if embeddings is None else attribute_question(model, forward, embeddings, log),
        notes={"products": "batched" if log.batched else "looped"} | _blank_photo_note(reliance),
    )


def _require_dependence(model: CutModel, forward: ForwardPass, log: ProductLog) -> None:
    """Raises ValueError for a photo whose logits do not depend on the layer, with the line of the user's code that cuts them."""
    explained = (model.ids >= 0).any(dim=1)
    if log.is_lost(explained, lambda: rows_that_read(model.logits_from, forward.activations)):
        reason = lost_gradient_reason(model.tap(leaf=True), lambda: model.adapter.logits(model.inputs, model.ids))
        raise ValueError(log.independent if reason is None else reason)


def _require_change(model: CutModel, forward: ForwardPass, logits_without_photo: Tensor) -> None:
    """Raises ValueError for a photo whose logits are the same whatever the layer's activations are, up to rounding."""
    logits, explained = wide(forward.logits), (model.ids >= 0).any(dim=1)
    tiny = ROUNDINGS * torch.finfo(forward.logits.dtype).eps * logits.abs().amax(dim=(1, 2))

    def same(others: Tensor) -> Tensor:
        return ((wide(others) - logits).abs().amax(dim=(1, 2)) <= tiny) & explained

    if not same(logits_without_photo).any():
        return
    with torch.no_grad():  # a photo of the mean colour has the logits of no photo, too
        others = model.logits_from(1 - forward.activations)
    if same(others).any():
        raise ValueError(UNCHANGED.format(model.request.layer_name))


def _blank_photo_note(reliance: Tensor) -> dict[str, str]:
    """Note and warning that the reliance is unknown, if it is."""
    if not reliance.isnan().any():
        return {}
    warnings.warn(NO_RELIANCE, stacklevel=2)
    return {"reliance": NO_RELIANCE}


def _attention_maps(model: CutModel, forward: ForwardPass) -> Tensor:
    """The model's own attention as token maps `(a, t, b, h, w)`: the same for all alternatives."""
    assert isinstance(model.adapter, HasAttention)
    with torch.no_grad():
        maps = model.adapter.attention(model.inputs, model.ids, forward.activations)
    real = (model.ids >= 0)[..., None, None]
    return (wide(maps) * real).transpose(0, 1).expand(len(forward.columns), -1, -1, -1, -1)
