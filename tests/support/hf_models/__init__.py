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
