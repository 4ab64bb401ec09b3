"""Whether a checkpoint's files hold the network's weights: under a wrapper's names, or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..unwrapping import wrapper_prefix


def loading_options(folder: Path) -> dict[str, Any]:
    """Options of `from_pretrained`: a report of what was found, and names without a wrapper's prefix (`_orig_mod.`)."""
    from safetensors import safe_open

    names: list[str] = []
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            names += weights.keys()
    prefix = wrapper_prefix(names)
    return {"output_loading_info": True} | ({"key_mapping": {f"^{re.escape(prefix)}": ""}} if prefix else {})


def require_weights(folder: Path, network: nn.Module, report: Mapping[str, Any]) -> None:
    """Raise ValueError where most of the network's weights are missing: transformers draws them at random, and only logs it.

    Some missing ones are usual: poolers that nobody reads.
    """
    missing, all_of_them = sorted(report["missing_keys"]), len(list(network.parameters()))
    if 2 * len(missing) >= all_of_them:
        raise ValueError(
            f"{folder} lacks {len(missing)} of the {all_of_them} weights of {type(network).__name__}, such as {missing[0]!r}: "
            "its files hold another model's, or have other names; save the plain model with save_pretrained"
        )
