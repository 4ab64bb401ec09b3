"""DICOM files through pydicom, an extra: their values as stored, and how a viewer would show them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extras import needed_by

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".dcm", ".dicom")

_log = logging.getLogger("multimodal_cam")


def is_dicom(path: Path) -> bool:
    """Whether a file is called so, or begins as one."""
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Values as stored, `(H, W)` or `(H, W, 3)`, and what is drawn, in 8 bits: within the file's window, or from end to end.

    Raises MissingPackageError without pydicom, ValueError for files that it cannot read.
    """
    with needed_by(f"{name!r}, a DICOM file,", "pydicom"):
        import pydicom
        import pydicom.pixels

    try:
        dataset: Any = pydicom.dcmread(path, force=True)
        pixels: Any = pydicom.pixels
        values: np.ndarray = pixels.pixel_array(dataset)
    except Exception as error:
        raise ValueError(f"{name!r} is no DICOM file that pydicom can read ({error}): convert it to PNG") from error
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        _log.warning("%r holds several frames: only the first is used", name)
        values = values[0]
    return values, _shown(values, dataset, name)


def _shown(values: np.ndarray, dataset: Any, name: str) -> np.ndarray:
    import numpy as np

    if values.dtype == np.uint8 and values.ndim == 3:
        return values
    rescaled = values.astype(np.float64) * float(dataset.get("RescaleSlope") or 1) + float(dataset.get("RescaleIntercept") or 0)
    center, width = (_first(dataset.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if center is not None and width:
        low, high, how = center - width / 2, center + width / 2, f"window {center:g} / {width:g}"
    else:
        low, high, how = float(rescaled.min()), float(rescaled.max()), "no window: from the lowest to the highest value"
    _log.warning("%r: DICOM, %s bits, %s", name, dataset.get("BitsStored"), how)
    share = ((rescaled - low) / max(high - low, 1e-300)).clip(0, 1)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        share = 1 - share
    shown: np.ndarray = np.floor(share * 255 + 0.5).astype(np.uint8)
    return shown


def _first(value: Any) -> float | None:
    if value is None:
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
