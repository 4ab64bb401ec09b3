"""Words on a picture: by Pillow where a plain row of letters is right, else by matplotlib, which shapes scripts, mixes fonts."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import cache

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from PIL import Image, ImageDraw, ImageFont

from ..core.graphemes import split_graphemes
from .fonts import default_characters, default_font, fonts_for

# Latin, Greek and Cyrillic letters and punctuation: one glyph a character, from left to right. Everything else is shaped.
PLAIN = re.compile("[ -~\u00a0-\u00ac\u00ae-\u02ff\u0370-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u2212]*")
POINTS = 72  # dots an inch at which a point is a pixel


class TextWriter:
    """Writes any of `texts`, in fonts that have their characters; what no font has becomes a sign, and is said once."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._fonts = fonts_for(texts)
        self._default_characters = default_characters()
        self._measuring = RendererAgg(1, 1, POINTS)  # type: ignore[no-untyped-call]

    def width(self, text: str, size: float) -> float:
        """Pixels that `text` takes in a row, with letters of `size` pixels."""
        if self._is_plain(text):
            return _plain_font(size).getlength(text)
        return self._measure(self._fonts.text(text), size)[0]

    def write(self, canvas: Image.Image, text: str, at: tuple[float, float], size: float, colour: str) -> None:
        """Write `text` on `canvas`; `at` is the middle of its base line."""
        if self._is_plain(text):
            ImageDraw.Draw(canvas).text(at, text, colour, _plain_font(size), anchor="ms")
            return
        text = self._fonts.text(text)
        width, height, descent = self._measure(text, size)
        small = RendererAgg(math.ceil(width) + 2, math.ceil(height) + 2, POINTS)  # type: ignore[no-untyped-call]
        ascent = math.ceil(height - descent)
        small.draw_text(small.new_gc(), 1, ascent + 1, text, self._properties(size), 0)  # type: ignore[no-untyped-call]
        pixels = np.asarray(small.buffer_rgba())  # type: ignore[no-untyped-call]
        opacity = Image.fromarray(np.ascontiguousarray(pixels[..., 3]))
        canvas.paste(colour, (round(at[0] - width / 2) - 1, round(at[1]) - ascent - 1), opacity)

    def wrapped(self, text: str, size: float, width: float) -> list[str]:
        """The text in lines of at most `width` pixels, broken between words, or within one that is wider."""
        lines: list[str] = []
        for word in text.split(" "):
            if lines and self.width(f"{lines[-1]} {word}", size) <= width:
                lines[-1] += f" {word}"
                continue
            while (head := self._head(word, size, width)) != word:
                lines.append(head)
                word = word[len(head) :]
            lines.append(word)
        return lines

    def shortened(self, text: str, size: float, width: float) -> str:
        """At most `width` pixels of the text, an ellipsis in place of the rest."""
        if self.width(text, size) <= width:
            return text
        return self._head(text, size, width - self.width("…", size)) + "…"

    def _head(self, text: str, size: float, width: float) -> str:
        """The longest beginning of the text that fits `width`: one character with its marks at least."""
        if not text or self.width(text, size) <= width:
            return text
        graphemes = list(split_graphemes(text))
        fitting = bisect_right(range(len(graphemes)), width, key=lambda count: self.width("".join(graphemes[:count]), size)) - 1
        return "".join(graphemes[: max(fitting, 1)])

    def _is_plain(self, text: str) -> bool:
        return PLAIN.fullmatch(text) is not None and self._default_characters.issuperset(text)

    def _measure(self, text: str, size: float) -> tuple[float, float, float]:
        properties = self._properties(size)
        measured = self._measuring.get_text_width_height_descent(text, properties, False)  # type: ignore[no-untyped-call]
        width, height, descent = map(float, measured)
        return width, height, descent

    def _properties(self, size: float) -> font_manager.FontProperties:
        return font_manager.FontProperties(family=list(self._fonts.families), size=size)


@cache
def _plain_font(size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(default_font(), size, layout_engine=ImageFont.Layout.BASIC)
