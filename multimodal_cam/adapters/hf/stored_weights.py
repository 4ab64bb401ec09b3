"""Whether a checkpoint's files hold the network's weights: under a wrapper's names, or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ...core.errors import BrokenFile
from ..unwrapping import wrapper_prefix

ADVICE = "download the checkpoint again, or save it with save_pretrained"
UNREAD = re.compile(r"(^|[._])pooler[._]")


def load_weights(model_class: Any, folder: Path, *, pickled: bool, **options: Any) -> tuple[Any, Mapping[str, Any]]:
    """The network of a folder, and transformers' report of what was found; safetensors wherever there are any.

    Raises BrokenFile for weights that cannot be read, do not fit the config, or are pickles that hold more than tensors.
    """
    safe = any(folder.glob("*.safetensors"))
    try:
        found: tuple[Any, Mapping[str, Any]] = model_class.from_pretrained(
            folder, use_safetensors=safe or not pickled, **_loading_options(folder), **options
        )
    except UnpicklingError as error:
        raise BrokenFile(folder, "pickles of tensors only", "something that would run code", "do not load it") from error
    except (SafetensorError, RuntimeError, EOFError, BadZipFile) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BrokenFile(folder, "weights that can be read and fit config.json", f"others ({said[:200]})", ADVICE) from error
    return found


def _loading_options(folder: Path) -> dict[str, Any]:
    """Options of `from_pretrained`: a report of what was found, and names without a wrapper's prefix (`_orig_mod.`)."""
    names: list[str] = []
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            names += weights.keys()
    prefix = wrapper_prefix(names)
    return {"output_loading_info": True} | ({"key_mapping": {f"^{re.escape(prefix)}": ""}} if prefix else {})


def require_weights(folder: Path, network: nn.Module, report: Mapping[str, Any]) -> None:
    """Raise BrokenFile, by name, where weights of the network are missing: transformers draws them at random, and only logs it.

    Poolers may be missing: nothing that is explained reads them.
    """
    missing = sorted(name for name in report["missing_keys"] if not UNREAD.search(name))
    if missing:
        of = f"{len(missing)} of the {len(list(network.parameters()))} weights of {type(network).__name__}"
        some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise BrokenFile(
            folder,
            "all weights of the network",
            f"a folder that lacks {of}: {some}",
            "its files hold another model's, or have other names; save the plain model with save_pretrained",
        )
