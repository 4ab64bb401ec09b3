"""The one colour scale: what speaks for a word is warm, what speaks against it cool, and 0 shows the photo.

The warm arm is matplotlib's inferno from its purple upwards, the cool arm a blue of the same lightness. In OKLab
the lightness of both grows in equal steps (perceptually even), and the arms differ from blue to yellow, the axis
that red-green colour blindness leaves.
"""

from __future__ import annotations

import torch
from torch import Tensor

WARM = ("#62146e", "#88226a", "#ae305c", "#d04545", "#e9612b", "#f8850f", "#fcae12", "#f6d543", "#f3f68a")
COOL = ("#183392", "#004ea9", "#016ab4", "#0a84c3", "#089fd5", "#18b9e5", "#05d5f8", "#61edfe", "#b8fdff")
OPACITY = 0.75  # maximal opacity of an overlay, at which the photo stays recognisable
KNEE = 0.5  # heat at which opacity is maximal: weaker heat varies opacity and colour, stronger heat colour alone


def colours(heat: Tensor) -> Tensor:
    """RGB `(..., 3)` in [0, 1] of heat `(...)` in [-1, 1]."""
    stops = torch.tensor([[_rgb(stop) for stop in arm] for arm in (COOL, WARM)])
    arm, at = (heat >= 0).long(), heat.abs().clamp(max=1) * (len(WARM) - 1)
    low = at.long().clamp(max=len(WARM) - 2)
    return torch.lerp(stops[arm, low], stops[arm, low + 1], (at - low)[..., None])


def cover(heat: Tensor) -> Tensor:
    """Fraction of the photo that the colour covers `(...)` in [0, 1], before opacity; 0 where heat is 0."""
    return (heat.abs() / KNEE).clamp(max=1)


def _rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
