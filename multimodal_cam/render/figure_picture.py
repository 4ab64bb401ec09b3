"""The figure of an explanation as a PNG file, for the folders of a batch: laid out in pixels, a third of matplotlib's cost."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import chain

import numpy as np
from PIL import Image, ImageDraw

from ..metrics.overlap import BoxRule
from ..results.explanation_data import ExplanationData
from ..results.records import QuestionWord, Scale
from .figure_content import (
    INK,
    MUTED,
    FigureContent,
    FigurePanel,
    colour_bar,
    figure_content,
    shade,
    strongest_share,
)
from .overlay import fit
from .remarks import share_note
from .text_writer import TextWriter

PHOTO, TALLEST = 216, 320  # pixels: width of a panel's photo, and height of a tall one
GAP, MARGIN = 12, 16  # pixels: between panels, around all
NARROWEST = 460  # pixels: room for the colour bar and its labels
HEADING, TITLE, NOTE = 19, 17, 13  # pixels: sizes of letters
LINE = 1.4  # of the size of letters: a line's height
BAR = 14  # pixels: height of the colour bar
RUNS = 3  # zlib's Z_RLE: as small for photos as its search for repetitions, in half the time


def figure_png(explanation: ExplanationData, *, scale: Scale = "caption", boxes: BoxRule | None = None) -> bytes:
    """What `figure` shows, as a PNG file with panels of a screen's size, packed fast."""
    ratio = explanation.image.height / explanation.image.width
    content = figure_content(fit(explanation, min(max(PHOTO, round(PHOTO * ratio)), TALLEST)), scale, boxes)
    file = io.BytesIO()
    figure_picture(content).save(file, "PNG", compress_level=1, compress_type=RUNS)
    return file.getvalue()


def figure_picture(content: FigureContent) -> Image.Image:
    """Heading, panels in rows, the question's words, colour bar and remarks, one below the other."""
    rows, columns = content.grid
    words = content.question_words
    panels = chain.from_iterable((panel.title, panel.below) for panel in content.panels)
    asked = [word.text for word in words]
    writer = TextWriter([*panels, *asked, content.heading, content.question_title, content.top, *content.remarks])
    width = max(columns * (PHOTO + GAP) - GAP, NARROWEST)
    strips = [
        _text_strip(writer, content.heading, width, HEADING, INK),
        *(_panel_strip(writer, content.panels[row * columns :][:columns], width, columns) for row in range(rows)),
        *([_text_strip(writer, content.question_title, width, NOTE, MUTED)] if words else []),
        *(_word_strip(writer, line, width, strongest_share(words)) for line in _lines(writer, words, width)),
        _bar_strip(writer, content.top, width),
        *(_text_strip(writer, remark, width, NOTE, MUTED) for remark in content.remarks),
    ]
    return _stacked(strips, width)


def _stacked(strips: Sequence[Image.Image], width: int) -> Image.Image:
    height = sum(strip.height for strip in strips)
    canvas = _blank(width + 2 * MARGIN, height + 2 * MARGIN)
    top = MARGIN
    for strip in strips:
        canvas.paste(strip, (MARGIN, top))
        top += strip.height
    return canvas


def _blank(width: int, height: float) -> Image.Image:
    return Image.new("RGB", (width, round(height)), "white")


def _text_strip(writer: TextWriter, text: str, width: int, size: int, colour: str) -> Image.Image:
    """The text in the middle, in as many lines as it needs."""
    lines = writer.wrapped(text, size, width)
    strip = _blank(width, LINE * size * len(lines))
    for number, line in enumerate(lines):
        writer.write(strip, line, (width / 2, LINE * size * number + size), size, colour)
    return strip


def _panel_strip(writer: TextWriter, panels: Sequence[FigurePanel], width: int, columns: int) -> Image.Image:
    """Panels side by side: title, picture, note."""
    above, tallest = round(1.7 * TITLE), max(panel.picture.height for panel in panels)
    strip = _blank(width, above + tallest + 2.2 * NOTE)
    left = (width - columns * (PHOTO + GAP) + GAP) // 2
    for number, panel in enumerate(panels):
        middle = left + number * (PHOTO + GAP) + PHOTO / 2
        strip.paste(panel.picture, (round(middle - panel.picture.width / 2), above))
        title = writer.shortened(panel.title, TITLE, PHOTO + GAP / 2)
        writer.write(strip, title, (middle, 1.25 * TITLE), TITLE, INK)
        writer.write(strip, panel.below, (middle, above + panel.picture.height + 1.25 * NOTE), NOTE, MUTED)
    return strip


def _lines(writer: TextWriter, words: Sequence[QuestionWord], width: int) -> list[list[QuestionWord]]:
    """The question's words in lines that fit `width`."""
    lines: list[list[QuestionWord]] = []
    for word in words:
        if lines and sum(_word_width(writer, other) for other in [*lines[-1], word]) <= width:
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def _word_width(writer: TextWriter, word: QuestionWord) -> float:
    return max(writer.width(word.text, TITLE), writer.width(share_note(word), NOTE)) + 1.2 * TITLE


def _word_strip(writer: TextWriter, words: Sequence[QuestionWord], width: int, most: float) -> Image.Image:
    """Words of a question, each on a shade of its share and over its number."""
    strip = _blank(width, 2 * TITLE + 2 * NOTE)
    left = (width - sum(_word_width(writer, word) for word in words)) / 2
    for word in words:
        colour, opacity = shade(word, most)
        half = writer.width(word.text, TITLE) / 2 + 4
        middle = left + _word_width(writer, word) / 2
        box = _blank(round(2 * half), 1.4 * TITLE)
        box = Image.blend(box, Image.new("RGB", box.size, colour), opacity)
        strip.paste(box, (round(middle - half), round(0.25 * TITLE)))
        writer.write(strip, word.text, (middle, 1.25 * TITLE), TITLE, INK)
        writer.write(strip, share_note(word), (middle, 1.75 * TITLE + 1.2 * NOTE), NOTE, MUTED)
        left += 2 * (middle - left)
    return strip


def _bar_strip(writer: TextWriter, top: str, width: int) -> Image.Image:
    """The colours from 0 to the strongest cell's, and their numbers."""
    length = min(width // 2, 480)
    strip, left = _blank(width, 1.5 * BAR + 2 * NOTE), (width - length) // 2
    bar = Image.fromarray((255 * colour_bar(length)).round().byte().numpy().astype(np.uint8)).resize((length, BAR))
    strip.paste(bar, (left, BAR // 2))
    ImageDraw.Draw(strip).rectangle((left, BAR // 2, left + length - 1, BAR // 2 + BAR - 1), outline="#dcd8d4")
    below = 1.5 * BAR + 1.25 * NOTE
    writer.write(strip, "0", (left, below), NOTE, MUTED)
    writer.write(strip, top, (min(left + length, width - writer.width(top, NOTE) / 2), below), NOTE, MUTED)
    return strip
