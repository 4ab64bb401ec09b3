"""Occlusion sensitivity: what the scores lose when a window of the photo, or of the layer, is removed.

A perturbation method is a function of a `Canvas`, the network's pixels or the tapped layer's activations, and of its options. All
words are read off the same forward passes. Maps are signed, in the unit of the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .canvas import Canvas, means_by_place
from .method_options import Size

WINDOWS = 7  # windows along each side of the pixels, unless the user says otherwise: 32 x 32 of 224 x 224


def occlusion(canvas: Canvas, options: Mapping[str, Any]) -> Tensor:
    """Occlusion sensitivity, Zeiler and Fergus, ECCV 2014, section 4.2: maps `(s, b, h, w)`.

    A window of `fill` slides over the canvas by `stride`; a place gets the mean drop of the score over the windows that cover it.
    Windows that reach over the edge are cut off there. Raises ValueError for a window larger than the canvas, or a stride larger
    than the window, which would leave places out.
    """
    window, stride = _window(canvas, options)
    corners = [torch.arange(_steps(side, high, by)) * by for side, high, by in zip(canvas.size, window, stride, strict=True)]
    top, left = (axis.flatten() for axis in torch.meshgrid(*corners, indexing="ij"))
    change, _ = means_by_place(canvas, len(top), lambda i: _windows(canvas.size, top[i], left[i], window), lambda mask: mask)
    return -change


def _window(canvas: Canvas, options: Mapping[str, Any]) -> tuple[Size, Size]:
    """Window and stride, in places of the canvas."""
    at_layer, (height, width) = options["where"] == "layer", canvas.size
    window: Size = options["window"] or ((1, 1) if at_layer else (-(-height // WINDOWS), -(-width // WINDOWS)))
    stride: Size = options["stride"] or (-(-window[0] // 2), -(-window[1] // 2))
    if window[0] > height or window[1] > width:
        raise ValueError(
            f"window: expected at most {height} x {width} {canvas.what} (height x width), got {window[0]} x {window[1]}"
        )
    if stride[0] > window[0] or stride[1] > window[1]:
        largest = f"{window[0]} x {window[1]}"
        raise ValueError(f"stride: expected at most the window, {largest}, or places are left out, got {stride[0]} x {stride[1]}")
    return window, stride


def _steps(side: int, window: int, stride: int) -> int:
    return -(-(side - window) // stride) + 1


def _windows(size: Size, top: Tensor, left: Tensor, window: Size) -> Tensor:
    """Masks `(n, 1, 1, h, w)` of windows with these corners `(n,)`."""
    inside = [
        (torch.arange(side) >= start[:, None]) & (torch.arange(side) < start[:, None] + length)
        for side, start, length in zip(size, (top, left), window, strict=True)
    ]
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None, None]
