"""Tiny Hugging Face models with random weights, each with a processor and a tokenizer made on the spot.

One file a group of families, with the cases that the contract test runs; `parts` and `tokenizers` are what they are made of.
"""

from typing import Any

import pytest

from . import captioners, convolutional, generic, tiled, vision_language
from .parts import Case

CASES: list[Case] = [*captioners.CASES, *convolutional.CASES, *vision_language.CASES, *tiled.CASES, *generic.CASES]


def parameters() -> list[Any]:
    """The cases as pytest's parameters: variants of others are slow."""
    return [pytest.param(case, id=case.name, marks=[pytest.mark.slow] * case.slow) for case in CASES]


def forced_tokens(model: Any) -> int:
    """How many tokens an encoder-decoder's `generate` puts between the start and the first word."""
    from multimodal_cam.adapters.hf.decoding import encoder_decoder_logits, start_and_forced_ids

    return len(start_and_forced_ids(model.module)) - 1 if model.spec.logits is encoder_decoder_logits else 0
