"""Is the placement that an adapter states the one that its preprocessing has? Measured through the adapter, whatever it wraps."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..core.geometry import Placement
from .photo_registration import shows
from .pixel_layout import pixels_of
from .probe_photos import PhotoValues
from .transform_placement import TransformPlacement

FAR = 0.03  # of the frame's width or height: what an edge may lie beside the measured one


def check_placement(stated: Placement, photo: PhotoValues, process: Callable[[PhotoValues], Tensor]) -> tuple[bool, str]:
    """Whether `stated` is right for a photo whose pixels `(1, ..., c, H, W)` `process` gives, and what was measured.

    Where nothing can be measured, the photo's own pixels have to look like the stated part of it.
    """
    made = process(photo)
    if made.ndim < 4 or made.shape[:-3].numel() != 1:
        return True, f"not measured: {tuple(made.shape)} is not one picture of the photo"
    pixels = pixels_of(made)
    try:
        measured = TransformPlacement(process).of(photo, pixels)
    except ValueError as error:
        why = str(error).partition(",")[0]
        alike = shows(photo, pixels, stated)
        return alike, f"not measured ({why}); the pixels {'look' if alike else 'do not look'} like that part of the photo"
    width, height = measured.frame[2] - measured.frame[0], measured.frame[3] - measured.frame[1]
    sides = (width, height) * 2
    gap = max(abs(a - b) / side for a, b, side in zip(stated.frame, measured.frame, sides, strict=True))
    return gap <= FAR, f"stated {_written(stated)}, measured {_written(measured)}"


def _written(placement: Placement) -> str:
    return "(" + ", ".join(f"{edge:.2f}" for edge in placement.frame) + ")"
