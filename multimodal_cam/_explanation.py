"""Explanation, the public result: its data from `results`, pictures of them from `render`. This module may import both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .core.spans import Span
from .metrics.overlap import BoxRule
from .render.html import page, save_page
from .results.channel_explanation import ChannelExplanation, channels_of, explanation_text
from .results.explanation_data import ExplanationData
from .results.io import read_explanation, write_explanation
from .results.photo_boxes import chosen_rule, photo_boxes
from .results.records import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from .core.images import ImageSource

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf", ".html", ".gif"})  # not what `save` writes


class Explanation(ExplanationData):
    """What `explain` returns: a text, a relevance map for each of its words, pictures of them, and the way to disk and back.

    The fields, and the sums and look-ups of words, are those of `ExplanationData`.
    """

    def boxes(self, word: str | int | Span, rule: BoxRule = "segment") -> Tensor:
        """The box around the largest connected part of what `word` marks on the photo: the heatmap, cut by `rule`.

        Args:
            word: As `e[word]` takes it, or a span.
            rule: `segment` keeps what reaches 15 % of the maximum (Selvaraju et al., IJCV 2020, section 4.1), `otsu` what lies
                above Otsu's threshold.

        Returns:
            `(n, 4)` float64, x0, y0, x1, y1 in pixels of the photo, right and lower edge exclusive: one box, or none where
            nothing in the map is positive.

        Raises:
            ValueError: The network reads regions, which are boxes already (`region_boxes`), or `rule` is unknown.
        """
        return photo_boxes(self, self.map(self._span(word)), rule)

    def channels(self, word: str | int | Span, top: int | None = 5) -> list[ChannelExplanation]:
        """The channels of the layer that speak most for `word`, strongest first, then those that speak most against it.

        Args:
            word: As `e[word]` takes it, or a span.
            top: How many of each side, or None for all channels, whose maps add up to the word's.

        Raises:
            ValueError: The explanation was made without `channels=True`.
        """
        return channels_of(self, self._span(word), top)

    def explanation_text(self, word: str | int | Span) -> str:
        """The channels behind a word as a text: `dog: because of channel 311 (dog) and 87 (grass); against it: 902 (water)`.

        Raises ValueError as `channels` does.
        """
        return explanation_text(self, self._span(word))

    def _span(self, word: str | int | Span) -> Span:
        return word if isinstance(word, Span) else self.find(word)

    def figure(
        self,
        *,
        scale: Scale = "caption",
        ax: Axes | None = None,
        word: str | int | None = None,
        boxes: bool | BoxRule = False,
    ) -> Figure:
        """A matplotlib figure: the photo, and one overlay per word.

        With `ax`, axes of yours, the overlay of `word` alone is drawn there, or of the whole text, and their figure is returned.
        `boxes` draws that of each word, by the rule that it names, the paper's (`segment`) for True.
        """
        from .render.figure import draw_on, figure  # loads matplotlib, which only figures need

        if ax is None and word is not None:
            raise ValueError("word: figure() draws all words; figure(ax=axes, word=...) draws one, on axes of yours")
        rule = chosen_rule(boxes)
        return figure(self, scale=scale, boxes=rule) if ax is None else draw_on(ax, self, word, scale, rule)

    def to_html(self, path: str | Path | None = None, *, boxes: bool | BoxRule = False) -> str:
        """One self-contained page to explore the words with; also written to `path` when it is given. `boxes` as in `figure`."""
        if path is None:
            return page([self], boxes=chosen_rule(boxes))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return save_page([self], path, boxes=chosen_rule(boxes)).read_text(encoding="utf-8")

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
