"""Gradients of scores at the layer of noisy copies of the photo."""

from __future__ import annotations

import torch
from torch import Tensor

from ..methods.pixels import noisy_copies
from .forward_pass import CutModel, ScoredTokens
from .gradients import ProductLog, score_gradients
from .hooks import ReadoutTap
from .pixel_attribution import PixelModel


def noisy_gradients(model: CutModel, columns: list[ScoredTokens], log: ProductLog) -> Tensor:
    """Gradients `(a, t, b, n c, h, w)` of all scores at the layer's cells, of the request's `n_steps` copies one after the other.

    The whole network runs for each copy. The scores `columns` are those that were chosen at the photo.
    """
    photo = PixelModel.of(model.adapter, model.inputs, model.ids, model.request)
    return torch.cat([_copy_gradients(model, photo, columns, log, i) for i in range(model.request.n_steps)], dim=-3)


def _copy_gradients(model: CutModel, photo: PixelModel, columns: list[ScoredTokens], log: ProductLog, number: int) -> Tensor:
    """Gradients `(a, t, b, c, h, w)` at copy `number`."""
    noisy = noisy_copies(photo.inputs.pixels.detach(), number, number + 1)[0]
    with ReadoutTap(model.adapter.readout) as cut:
        with torch.no_grad(), model.tap(leaf=True) as tap:
            logits = photo.logits(noisy)
        assert tap.leaf is not None
        with torch.enable_grad():
            scores = torch.stack([column.scores(logits) for column in columns], dim=1)
        (gradients,) = score_gradients(scores, tap.leaf, cut, log.checked, log)
    return model.view.cells(gradients)
