"""Numbers and remarks as people read them."""

from __future__ import annotations

from ..explanation import Explanation, Part


def signed(value: float) -> str:
    """`+1.50`, with a true minus sign, and no sign on what rounds to 0."""
    return f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"


def source(explanation: Explanation) -> str:
    """What made the maps."""
    return f"{explanation.model} · {explanation.method} of {explanation.score} · layer {explanation.layer}"


def note(part: Part) -> str:
    """What stands under a word: its reliance, and what its map lacks."""
    if not part.known:
        return "unknown word"
    return f"{signed(part.reliance)} nats" + (", nothing positive" if part.is_empty else "")
