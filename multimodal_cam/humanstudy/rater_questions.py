"""What a study asks: a question in one of its variants, and all variants of what is asked of a photo."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class RaterQuestion:
    """A question in one of its variants.

    Attributes:
        prompt: What is asked.
        pictures: One JPEG file, or the two that are compared.
        options: Answers to choose from.
        conditions: Conditions of the pictures.
        right: Index of the right option; None where there is none.
    """

    prompt: str
    pictures: tuple[bytes, ...]
    options: tuple[str, ...]
    conditions: tuple[str, ...]
    right: int | None = None


@dataclass(frozen=True, eq=False)
class Stimulus:
    """What is asked of a photo, with a variant for each condition, or ordered pair of them, in the same order for all stimuli."""

    name: str
    variants: tuple[RaterQuestion, ...]
