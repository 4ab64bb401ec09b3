"""Explanation, the public result: its data from `results`, pictures of them from `render`. This module may import both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .render.html import page, save_page
from .results.explanation_data import ExplanationData
from .results.io import read_explanation, write_explanation
from .results.records import Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Explanation(ExplanationData):
    """What `explain` returns: a text, a relevance map for each of its words, pictures of them, and the way to disk and back.

    The fields, and the sums and look-ups of words, are those of `ExplanationData`.
    """

    def figure(self, *, scale: Scale = "caption") -> Figure:
        """A matplotlib figure: the photo, and one overlay per word."""
        from .render.figure import figure  # loads matplotlib, which only figures need

        return figure(self, scale=scale)

    def to_html(self, path: str | Path | None = None) -> str:
        """One self-contained page to explore the words with; also written to `path` when it is given."""
        return page([self]) if path is None else save_page([self], path).read_text(encoding="utf-8")

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes `image.png`, `maps.safetensors` and, last, `manifest.json`; loads back with `Explanation.load`.

        The folder appears whole or not at all. Raises FileExistsError when it holds something and `overwrite` is False.
        """
        return write_explanation(self, Path(folder), overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path) -> Explanation:
        """The explanation that `save` wrote; needs no model. Raises ValueError when the folder is not whole."""
        return cls(**read_explanation(Path(folder)))
