"""Rules of generated text: its length limit, where it stops, and what is cut behind that."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..inputs import pad_ids
from .loaded_model import LoadedModel

MAX_NEW_TOKENS = 64  # where neither the caller nor the checkpoint says


def generation_options(loaded: LoadedModel, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the network's `generate`: `beam=3` is its `num_beams`; one word at least, and a length limit."""
    beam = options.pop("beam", None)
    if beam is not None:
        options["num_beams"] = beam
    if not {"max_new_tokens", "max_length"} & options.keys():
        options |= _length_limits(loaded.model)
    return {"min_new_tokens": 1} | options


def _length_limits(model: Any) -> dict[str, Any]:
    """The checkpoint's length limit, or `MAX_NEW_TOKENS` where that is transformers' default of 20."""
    own = getattr(model, "generation_config", None)
    if getattr(own, "max_new_tokens", None) is None and getattr(own, "max_length", None) not in (None, 20):
        return {}
    return {"max_new_tokens": getattr(own, "max_new_tokens", None) or MAX_NEW_TOKENS}


def samples(loaded: LoadedModel, options: dict[str, Any]) -> bool:
    """Whether the network's `generate` draws its words by lot, by these options or by the checkpoint's."""
    own = getattr(loaded.model, "generation_config", None)
    return bool(options.get("do_sample", getattr(own, "do_sample", False)))


def stop_ids(loaded: LoadedModel) -> set[int]:
    """The tokens that end a text."""
    ends = [getattr(loaded.tokenizer, f"{kind}_token_id", None) for kind in ("eos", "sep", "pad")]
    own = getattr(loaded.model, "generation_config", None)
    for kind in ("eos_token_id", "pad_token_id"):
        value = getattr(own, kind, None)
        ends += value if isinstance(value, list) else [value]
    return {end for end in ends if end is not None} | loaded.spec.stop_ids(loaded.model)


def cut_at_stop(loaded: LoadedModel, generated: Tensor) -> Tensor:
    """Generated ids `(b, t)` up to the first that ends a text. Raises ValueError for a row without words."""
    stops = stop_ids(loaded)
    rows = []
    for row in generated.tolist():
        end = next((i for i, token in enumerate(row) if token in stops), len(row))
        rows.append(row[:end])
    if not all(rows):
        raise ValueError(f"{loaded.name} says nothing about this photo: pass text=")
    return pad_ids(rows, generated.device)
