"""Text of exceptions. A leaf: it loads nothing."""

from __future__ import annotations


def message(error: BaseException) -> str:
    """The error in one line, without the quotes that `KeyError` puts around its message."""
    text = error.args[0] if isinstance(error, KeyError) and len(error.args) == 1 else error
    return " ".join(str(text).split()) or type(error).__name__


class BrokenFile(ValueError):  # noqa: N818  a public name that says what it is about
    """A file or folder that is damaged, edited, or not what its name says.

    Attributes:
        path: The file or folder.
        expected: What should be there.
        found: What is there.
        advice: What to do.
    """

    def __init__(self, path: object, expected: str, found: str, advice: str) -> None:
        super().__init__(f"{path}: expected {expected}, got {found}: {advice}")
        self.path, self.expected, self.found, self.advice = str(path), expected, found, advice

    def __reduce__(self) -> tuple[type[BrokenFile], tuple[str, str, str, str]]:
        return BrokenFile, (self.path, self.expected, self.found, self.advice)


def shown(value: object, most: int = 60) -> str:
    """A value as an error shows it: on one line, and no longer than that."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[:most]}…"
