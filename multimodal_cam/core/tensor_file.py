"""Safetensors files, read with every failure as a `BrokenFile`. Needs torch only when used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import BrokenFile

if TYPE_CHECKING:
    from torch import Tensor


def read_tensors(path: Path, advice: str) -> dict[str, Tensor]:
    """The file's tensors by name. Raises BrokenFile for what is missing, truncated or no safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise BrokenFile(path, "a safetensors file", "none of that kind" if path.exists() else "nothing", advice)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BrokenFile(path, "a whole safetensors file", f"something else ({error})", advice) from error
    return tensors
