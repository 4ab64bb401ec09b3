"""Score-CAM and Ablation-CAM: weights of the layer's channels from scores of perturbed photos, without gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .canvas import Canvas


def ablation_cam(canvas: Canvas, options: Mapping[str, Any]) -> Tensor:  # noqa: ARG001
    """Ablation-CAM, Desai and Ramaswamy, WACV 2020, eq. 3 and 4, in the unit of the score: maps `(s, b, h, w)`.

    `sum_k (y - y_k) A_k`, `y_k` the score with channel `k` of the layer removed. The paper divides by `y`, a constant of each map
    that has no meaning for log-probabilities, whose sign it would turn; without it, words add up.
    """
    channels = torch.eye(canvas.layer.shape[1])[:, None, :, None, None]
    changes = torch.cat([changes for _, changes in canvas.changes(len(channels), lambda i: channels[i])])
    return torch.einsum("csb,bchw->sbhw", -changes, canvas.layer.to(changes))


def score_increases(canvas: Canvas, options: Mapping[str, Any]) -> Tensor:  # noqa: ARG001
    """Score-CAM's numbers of the channels, `(s, b, c, 1, 1)`: change of the score when only what a channel marks is seen (eq. 5).

    A channel is scaled to 0..1 over its cells and enlarged bilinearly to the canvas; one that is equal everywhere marks nothing.
    """
    layer = canvas.layer
    low, high = layer.amin(dim=(2, 3), keepdim=True), layer.amax(dim=(2, 3), keepdim=True)
    marked = (layer - low) / torch.where(high > low, high - low, 1)

    def removed(numbers: Tensor) -> Tensor:
        large = F.interpolate(marked[:, numbers], canvas.size, mode="bilinear", align_corners=False)
        return 1 - large.transpose(0, 1)[:, :, None]

    changes = torch.cat([changes for _, changes in canvas.changes(layer.shape[1], removed)])
    return changes.permute(1, 2, 0)[..., None, None]


def score_cam(activations: Tensor, increases: Tensor) -> Tensor:
    """Score-CAM, Wang et al., CVPR-W 2020, eq. 6: `sum_k softmax(increase)_k A_k`, maps `(m, h, w)`."""
    return torch.einsum("mc,mchw->mhw", increases[..., 0, 0].softmax(dim=1).to(activations), activations)
