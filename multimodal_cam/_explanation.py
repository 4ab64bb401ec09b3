"""Explanation, the public result: its data from `results`, pictures of them from `render`. This module may import both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .render.html import page, save_page
from .results.explanation_data import ExplanationData
from .results.io import read_explanation, write_explanation
from .results.records import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .core.images import ImageSource

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf", ".html", ".gif"})  # not what `save` writes


class Explanation(ExplanationData):
    """What `explain` returns: a text, a relevance map for each of its words, pictures of them, and the way to disk and back.

    The fields, and the sums and look-ups of words, are those of `ExplanationData`.
    """

    def figure(self, *, scale: Scale = "caption", ax: Axes | None = None, word: str | int | None = None) -> Figure:
        """A matplotlib figure: the photo, and one overlay per word.

        With `ax`, axes of yours, the overlay of `word` alone is drawn there, or of the whole text, and their figure is returned.
        """
        from .render.figure import draw_on, figure  # loads matplotlib, which only figures need

        if ax is None and word is not None:
            raise ValueError("word: figure() draws all words; figure(ax=axes, word=...) draws one, on axes of yours")
        return figure(self, scale=scale) if ax is None else draw_on(ax, self, word, scale)

    def to_html(self, path: str | Path | None = None) -> str:
        """One self-contained page to explore the words with; also written to `path` when it is given."""
        if path is None:
            return page([self])
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return save_page([self], path).read_text(encoding="utf-8")

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes `image.png`, `maps.safetensors` and, last, `manifest.json`; loads back with `Explanation.load`.

        The folder appears whole or not at all. Raises FileExistsError when it holds something and `overwrite` is False.
        """
        if Path(folder).suffix.lower() in PICTURES and not Path(folder).is_dir():
            raise ValueError(
                f"save writes a folder, and {str(folder)!r} is called like a file: e.figure().savefig(...) writes a picture, "
                f"e.to_html(...) a page, e.save({Path(folder).stem!r}) a folder that Explanation.load reads"
            )
        return write_explanation(self, Path(folder), overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path, *, photo: ImageSource | None = None) -> Explanation:
        """The explanation that `save`, or a command, wrote; needs no model.

        Args:
            photo: The photo itself, where a command's folder has a copy of it at display size (`image.jpg`). Without it the copy
                is the explanation's image, and heatmaps have the copy's size.

        Raises:
            BrokenFile: The folder is not whole, or `photo` is not the one that was explained. Both are known by hashes.
        """
        return cls(**read_explanation(Path(folder), photo))
