"""Text of exceptions. A leaf: it loads nothing."""

from __future__ import annotations


def message(error: BaseException) -> str:
    """The error in one line, without the quotes that `KeyError` puts around its message."""
    text = error.args[0] if isinstance(error, KeyError) and len(error.args) == 1 else error
    return " ".join(str(text).split()) or type(error).__name__
