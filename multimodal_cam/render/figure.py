"""A matplotlib figure of an explanation: the photo, then one overlay per word, or per answer to a question."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from PIL import Image
from torch import Tensor

from ..core.geometry import place
from ..core.graphemes import text_width
from ..core.spans import join
from ..results.explanation_data import ExplanationData
from ..results.records import QuestionWord, Scale, SpanExplanation
from .colour import COOL, OPACITY, WARM, colours, cover
from .fonts import fit_fonts
from .overlay import outlines, overlay, shrink
from .remarks import aim, cell_name, heading, note, percent, remarks, shortened, signed, source

COLUMNS = 5
SIDE = 480  # pixels: sharp in print, small in a file
SCREEN_SIDE = 280  # pixels: a panel has 264 at the figure's own resolution
LINE = 20  # characters of a question under each column
SHADED = 0.5  # a smaller share is never a strong shade
INK, MUTED = "#1c2024", "#60666e"


def figure_png(explanation: ExplanationData, *, scale: Scale = "caption") -> bytes:
    """The figure as a PNG file, for a screen: its panels have no more pixels than it shows, and it is packed fast."""
    canvas = FigureCanvasAgg(figure(explanation, scale=scale, side=SCREEN_SIDE))
    canvas.draw()  # type: ignore[no-untyped-call]
    file = io.BytesIO()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]  # type: ignore[no-untyped-call]
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=3)
    return file.getvalue()


def figure(explanation: ExplanationData, *, scale: Scale = "caption", side: int = SIDE) -> Figure:
    """The photo and one overlay per word, in rows; under each word the nats that the photo added to it.

    Of a question, one overlay per answer, each over its probability, and under them what the question's words add to the score.
    `scale` as in `Explanation.heatmap`: one for the whole caption or all answers, or each its own. `side` is the longer side
    of a panel's photo in pixels. Belongs to no pyplot state: save it with `savefig`.
    """
    small = shrink(explanation, side)
    panels = [(small.image, "photo", ""), *_overlays(small, scale)]
    rows = math.ceil(len(panels) / COLUMNS)
    columns = math.ceil(len(panels) / rows)  # rows of nearly equal length
    height = min(4.0, max(0.5, 2.2 * small.image.height / small.image.width)) + 0.75
    words = _lines(small.question_words, LINE * columns)
    heights = [height * rows + 0.4, *([0.5 * len(words) + 0.3] if words else []), 0.6 + 0.18 * len(remarks(small))]
    canvas = Figure(figsize=(2.2 * columns + 0.3, sum(heights)), layout="constrained", dpi=120)
    top, *rest = canvas.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    # a caption may hold a dollar sign
    top.suptitle(heading(small, 26 * columns), fontsize=13, color=INK, parse_math=False)
    for axis, panel in zip_longest(top.subplots(rows, columns, squeeze=False).flat, panels):
        if panel:
            _panel(axis, *panel)
        else:
            axis.set_axis_off()
    if words:
        _question(rest[0], words, LINE * columns, aim(small))
    _legend(rest[-1], small, scale)
    fit_fonts(canvas)
    return canvas


def draw_on(axis: Axes, explanation: ExplanationData, word: str | int | None, scale: Scale) -> Figure:
    """Draw the overlay of a word, or of the whole text, on `axis`; returns the figure of that axis."""
    small = shrink(explanation, SIDE)
    span = join(small.words, small.text) if word is None else small.find(word)
    heat = small.heatmap(span, "word" if word is None else scale)
    _panel(axis, overlay(small.image, heat), span.text, note(small.part(span)))
    drawn = axis.get_figure(root=True)
    assert drawn is not None  # removed axes have none
    return drawn


def _overlays(explanation: ExplanationData, scale: Scale) -> Iterator[tuple[Image.Image, str, str]]:
    """Picture, title and caption below it, of each answer or each word."""
    answers = explanation.answer_parts
    parts = answers or tuple(map(explanation.part, explanation.words))
    if answers or explanation.placement.boxes:
        heats = _heats(explanation, parts, scale)
    else:
        heats = (explanation.heatmap(part.span, scale) for part in parts)
    for part, heat in zip(parts, heats, strict=True):
        below = percent(math.exp(part.log_prob)) + (", nothing positive" if part.is_empty else "") if answers else note(part)
        yield overlay(explanation.image, heat), part.text, below


def _heats(explanation: ExplanationData, parts: Sequence[SpanExplanation], scale: Scale) -> Iterator[Tensor]:
    """Each map in [0, 1] as its overlay shows it: cells interpolated on the photo, regions as outlines of their boxes."""
    placement = explanation.placement
    drawn = [part.map.nan_to_num(0).clamp(min=0) for part in parts]
    if not placement.boxes:
        drawn = [place(map[None], placement)[0] for map in drawn]
    strongest = max((float(heat.max()) for heat in drawn), default=0.0)
    for heat in drawn:
        scaled = heat / ((strongest if scale == "caption" else float(heat.max())) or 1)
        yield outlines(scaled, placement) if placement.boxes else scaled


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


def _question(row: SubFigure, lines: list[list[QuestionWord]], length: int, aim: str) -> None:
    """The words of a question, each over its share: warm where it leads to the answer, cool where it leads away."""
    axis = row.subplots()
    axis.set_axis_off()
    axis.set(xlim=(0, length), ylim=(len(lines), 0))
    most = max([abs(word.share) for line in lines for word in line if math.isfinite(word.share)] + [SHADED])
    for y, line in enumerate(lines):
        x = (length - sum(map(_width, line))) / 2
        for word in line:
            _word(axis, word, (x + _width(word) / 2, y), most)
            x += _width(word)
    axis.set_title(
        shortened(f"what each word adds {aim}", 2 * length), y=-0.35 / len(lines), fontsize=8.5, color=MUTED, parse_math=False
    )


def _word(axis: Axes, word: QuestionWord, at: tuple[float, float], most: float) -> None:
    shade = max(-1.0, min(word.share / most, 1.0)) if math.isfinite(word.share) else 0.0
    box = {"facecolor": WARM[6] if shade > 0 else COOL[5], "alpha": 0.7 * abs(shade), "edgecolor": "none", "pad": 2.5}
    below = signed(word.share) + ("" if word.known else ", unknown")
    centred = partial(axis.text, ha="center", va="center", parse_math=False)
    centred(at[0], at[1] + 0.3, word.text, fontsize=12, color=INK, bbox=box)
    centred(at[0], at[1] + 0.78, below, fontsize=8.5, color=MUTED)


def _panel(axis: Axes, picture: Image.Image, title: str, below: str) -> None:
    axis.imshow(picture)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_title(shortened(title, 24), fontsize=12, color=INK, parse_math=False)
    axis.set_xlabel(below, fontsize=8.5, color=MUTED, parse_math=False)


def _legend(bar: SubFigure, explanation: ExplanationData, scale: Scale) -> None:
    """Colour scale, source of the maps, and remarks."""
    heat = torch.linspace(0, 1, 256)[None]
    covered = OPACITY * cover(heat)[..., None]
    axis = bar.subplots()
    axis.imshow((1 - covered + covered * colours(heat)).numpy(), aspect="auto", extent=(0, 1, 0, 1))
    axis.set(yticks=[], xticks=[0, 1], xticklabels=["0", _top(explanation, scale)], box_aspect=0.03)
    axis.tick_params(length=0, labelsize=8.5, labelcolor=MUTED)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("\n".join([source(explanation), *remarks(explanation)]), fontsize=8.5, color=MUTED, parse_math=False)


def _top(explanation: ExplanationData, scale: Scale) -> str:
    answers = explanation.answer_parts
    if scale == "word" or not explanation.words:
        return f"each {'answer' if answers else 'word'}'s strongest {cell_name(explanation)}"
    maps = torch.stack([part.map for part in answers]) if answers else explanation.maps
    return f"{float(maps.nan_to_num(0).clamp(min=0).max()):.2g} {explanation.unit} a {cell_name(explanation)}"
