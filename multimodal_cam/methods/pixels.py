"""Pixel methods: the points at which gradients are taken, and what they are multiplied by. `spec.METHODS` lists them.

Letters: `x` the pixels as the network takes them `(b, c, H, W)`, `x0` those of no photo, `g(x)` the gradient of the score there.

    gradient                    g(x)
    gradient_x_input            x g(x)
    smooth_grad                 mean of g(x + noise)
    pixel_integrated_gradients  (x - x0) mean of g(x0 + s (x - x0))
    guided_grad_cam             relu(Grad-CAM), interpolated, times g(x) with guided ReLUs
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .path import path_points
from .spec import PixelRule

NOISE = 0.15  # of the range of a photo's pixels: deviation of SmoothGrad's noise (Smilkov et al., 2017, sec. 3.2: .1 to .2)


def gradient_points(rule: PixelRule, pixels: Tensor, baseline: Tensor, n_steps: int) -> tuple[Callable[[int, int], Tensor], int]:
    """Where gradients are taken: a function of numbers `start` to `stop` that gives points `(n, b, c, H, W)`, and their count."""
    if rule.at == "noise":
        return lambda start, stop: noisy_copies(pixels, start, stop), n_steps
    if rule.at == "path":
        return path_points(pixels, baseline, n_steps), n_steps
    return lambda _start, _stop: pixels[None], 1


def noisy_copies(pixels: Tensor, start: int, stop: int) -> Tensor:
    """Copies number `start` to `stop` of SmoothGrad, eq. 1: `(n, b, ...)`; a copy's noise is the same in every call and batch."""
    flat = pixels.flatten(1)
    spread = (NOISE * (flat.amax(dim=1) - flat.amin(dim=1))).view(-1, *[1] * (pixels.ndim - 1))
    draws = [torch.randn(pixels.shape[1:], generator=torch.Generator().manual_seed(i)) for i in range(start, stop)]
    return torch.stack([pixels + spread * noise.to(pixels) for noise in draws])


def times_grad_cam(gradients: Tensor, cams: Tensor) -> Tensor:
    """Guided Grad-CAM, Selvaraju et al., ICCV 2017, sec. 3.1: pixels' gradients `(..., c, H, W)` times Grad-CAM `(..., h, w)`.

    Grad-CAM's negative part is cut off (their eq. 2), the rest interpolated bilinearly to the pixels.
    """
    flat = cams.relu().reshape(-1, 1, *cams.shape[-2:])
    drawn = F.interpolate(flat, size=gradients.shape[-2:], mode="bilinear", align_corners=False)
    return gradients * drawn.view(*cams.shape[:-2], 1, *gradients.shape[-2:])
