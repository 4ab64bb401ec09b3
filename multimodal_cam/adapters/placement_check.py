"""Do cells and regions lie where an adapter says? Measured through the adapter, whatever it wraps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..core.geometry import Placement
from .photo_registration import shows
from .pixel_layout import pixels_of
from .probe_photos import PhotoValues
from .transform_placement import TransformPlacement

TRIED = 6  # boxes of a photo
OWN = 0.5  # share of the strongest change that a region shows at least when its own box changes
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
        found = f"not measured ({why}); the pixels {'look' if alike else 'do not look'} like that part of the photo"
        return alike, found if alike else f"{found}: state by placement= what preprocess does to a photo of this size"
    width, height = measured.frame[2] - measured.frame[0], measured.frame[3] - measured.frame[1]
    sides = (width, height) * 2
    gap = max(abs(a - b) / side for a, b, side in zip(stated.frame, measured.frame, sides, strict=True))
    found = f"stated {_written(stated)}, measured {_written(measured)}"
    return (True, found) if gap <= FAR else (False, f"{found}: leave placement= out, or state what preprocess does")


def check_boxes(
    boxes: Sequence[tuple[int, int, int, int]], change: Callable[[tuple[int, int, int, int]], Tensor]
) -> tuple[bool, str]:
    """Whether regions lie in their boxes: `change(box)` says how much each region changes with what is in a box of pixels."""
    tried = range(0, len(boxes), -(-len(boxes) // TRIED))
    changes = [change(boxes[i]) for i in tried]
    if not any(bool(one.any()) for one in changes):
        return True, "not to be seen: no region depends on the photo's pixels"
    right = sum(bool(one[i] >= OWN * one.max()) for i, one in zip(tried, changes, strict=True))
    found = f"{right} of {len(tried)} boxes that were changed changed their own region"
    return (
        (True, found)
        if 2 * right >= len(tried)
        else (
            False,
            f"{found}: regions= gives boxes in another order or place: they must be those of the features, in pixels",
        )
    )


def _written(placement: Placement) -> str:
    return "(" + ", ".join(f"{edge:.2f}" for edge in placement.frame) + ")"
