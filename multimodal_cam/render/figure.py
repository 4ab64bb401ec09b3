"""A matplotlib figure of an explanation: the photo, then one overlay per word, or per answer to a question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ..core.graphemes import text_width
from ..core.spans import join
from ..metrics.overlap import BoxRule
from ..results.explanation_data import ExplanationData
from ..results.records import QuestionWord, Scale
from .figure_content import (
    INK,
    MUTED,
    TITLE,
    FigureContent,
    FigurePanel,
    colour_bar,
    figure_content,
    shade,
    strongest_share,
)
from .fonts import fit_fonts
from .overlay import outlined, overlay, shrink
from .remarks import note, share_note, shortened

SIDE = 480  # pixels: sharp in print, small in a file
LINE = 20  # characters of a question under each column


def figure(explanation: ExplanationData, *, scale: Scale = "caption", boxes: BoxRule | None = None) -> Figure:
    """The photo and one overlay per word, in rows; under each word the nats that the photo added to it.

    Of a question, one overlay per answer, each over its probability, and under them what the question's words add to the score.
    `scale` as in `Explanation.heatmap`: one for the whole caption or all answers, or each its own. `boxes` draws, by this rule,
    the box of each map. Belongs to no pyplot state:
    save it with `savefig`.
    """
    small = shrink(explanation, SIDE)
    content = figure_content(small, scale, boxes)
    rows, columns = content.grid
    height = min(4.0, max(0.5, 2.2 * small.image.height / small.image.width)) + 0.75
    words = _lines(content.question_words, LINE * columns)
    heights = [height * rows + 0.4, *([0.5 * len(words) + 0.3] if words else []), 0.42 + 0.18 * len(content.remarks)]
    canvas = Figure(figsize=(2.2 * columns + 0.3, sum(heights)), layout="constrained", dpi=120)
    top, *rest = canvas.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    top.suptitle(content.heading, fontsize=13, color=INK, parse_math=False)  # a caption may hold a dollar sign
    for axis, panel in zip_longest(top.subplots(rows, columns, squeeze=False).flat, content.panels):
        if panel:
            _panel(axis, panel)
        else:
            axis.set_axis_off()
    if words:
        _question(rest[0], words, LINE * columns, content.question_title)
    _legend(rest[-1], content)
    fit_fonts(canvas)
    return canvas


def draw_on(
    axis: Axes, explanation: ExplanationData, word: str | int | None, scale: Scale, boxes: BoxRule | None = None
) -> Figure:
    """Draw the overlay of a word, or of the whole text, on `axis`; returns the figure of that axis."""
    small = shrink(explanation, SIDE)
    span = join(small.words, small.text) if word is None else small.find(word)
    heat = small.heatmap(span, "word" if word is None else scale)
    picture = outlined(overlay(small.image, heat), small, small.map(span), boxes)
    _panel(axis, FigurePanel(picture, shortened(span.text, TITLE), note(small.part(span))))
    drawn = axis.get_figure(root=True)
    assert drawn is not None  # removed axes have none
    return drawn


def _lines(words: Sequence[QuestionWord], length: int) -> list[list[QuestionWord]]:
    """The words in lines of about `length` characters."""
    lines: list[list[QuestionWord]] = []
    for word in words:
        if lines and sum(_width(other) for other in [*lines[-1], word]) <= length:
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def _width(word: QuestionWord) -> int:
    return max(text_width(word.text), 5 if word.known else 12) + 2


def _question(row: SubFigure, lines: list[list[QuestionWord]], length: int, title: str) -> None:
    """The words of a question, each over its share: warm where it leads to the answer, cool where it leads away."""
    axis = row.subplots()
    axis.set_axis_off()
    axis.set(xlim=(0, length), ylim=(len(lines), 0))
    most = strongest_share(word for line in lines for word in line)
    for y, line in enumerate(lines):
        x = (length - sum(map(_width, line))) / 2
        for word in line:
            _word(axis, word, (x + _width(word) / 2, y), most)
            x += _width(word)
    axis.set_title(shortened(title, 2 * length), y=-0.35 / len(lines), fontsize=8.5, color=MUTED, parse_math=False)


def _word(axis: Axes, word: QuestionWord, at: tuple[float, float], most: float) -> None:
    colour, opacity = shade(word, most)
    box = {"facecolor": colour, "alpha": opacity, "edgecolor": "none", "pad": 2.5}
    centred = partial(axis.text, ha="center", va="center", parse_math=False)
    centred(at[0], at[1] + 0.3, word.text, fontsize=12, color=INK, bbox=box)
    centred(at[0], at[1] + 0.78, share_note(word), fontsize=8.5, color=MUTED)


def _panel(axis: Axes, panel: FigurePanel) -> None:
    axis.imshow(panel.picture)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_title(panel.title, fontsize=12, color=INK, parse_math=False)
    axis.set_xlabel(panel.below, fontsize=8.5, color=MUTED, parse_math=False)


def _legend(bar: SubFigure, content: FigureContent) -> None:
    """Colour scale, source of the maps, and remarks."""
    axis = bar.subplots()
    axis.imshow(colour_bar(256).numpy(), aspect="auto", extent=(0, 1, 0, 1))
    axis.set(yticks=[], xticks=[0, 1], xticklabels=["0", content.top], box_aspect=0.03)
    axis.tick_params(length=0, labelsize=8.5, labelcolor=MUTED)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("\n".join(content.remarks), fontsize=8.5, color=MUTED, parse_math=False)
