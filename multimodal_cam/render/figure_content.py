"""What a figure of an explanation shows, for whatever draws it: panels, heading, the question's words, legend and remarks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..metrics.overlap import BoxRule
from ..results.explanation_data import ExplanationData
from ..results.heat_scale import full_heat, positive_on_photo
from ..results.records import QuestionWord, Scale, SpanExplanation
from .colour import COOL, OPACITY, WARM, colours, cover
from .overlay import outlined, outlines, overlay
from .remarks import aim, cell_name, heading, note, percent, remarks, shortened, source

COLUMNS = 5
TITLE = 24  # characters of a panel's title
SHADED = 0.5  # a smaller share of a question's word is never a strong shade
INK, MUTED = "#1c2024", "#60666e"


@dataclass(frozen=True)
class FigurePanel:
    """A picture, its title and the line below it."""

    picture: Image.Image
    title: str
    below: str


@dataclass(frozen=True)
class FigureContent:
    """Panels and texts of a figure.

    Attributes:
        heading: The question, if there is one, and the text.
        panels: The photo, then an overlay for each word or answer.
        question_words: Words of the question with their shares.
        question_title: What their shares are.
        top: Value of the strongest colour, with its unit.
        remarks: Source of the maps, and sentences that their reader needs.
    """

    heading: str
    panels: tuple[FigurePanel, ...]
    question_words: tuple[QuestionWord, ...]
    question_title: str
    top: str
    remarks: tuple[str, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the panels: rows of nearly equal length."""
        rows = math.ceil(len(self.panels) / COLUMNS)
        return rows, math.ceil(len(self.panels) / rows)


def figure_content(explanation: ExplanationData, scale: Scale, boxes: BoxRule | None = None) -> FigureContent:
    """Content of the figure, whose panels have as many pixels as the explanation's photo; with the maps' boxes by a rule."""
    panels = [FigurePanel(explanation.image, "photo", ""), *_overlays(explanation, scale, boxes)]
    columns = FigureContent("", tuple(panels), (), "", "", ()).grid[1]
    return FigureContent(
        heading=heading(explanation, 26 * columns),
        panels=tuple(panels),
        question_words=explanation.question_words,
        question_title=f"what each word adds {aim(explanation)}",
        top=_top(explanation, scale),
        remarks=(source(explanation), *remarks(explanation)),
    )


def colour_bar(length: int) -> Tensor:
    """The colours from 0 to the strongest, as overlays show them on white: RGB `(1, length, 3)` in [0, 1]."""
    heat = torch.linspace(0, 1, length)[None]
    covered = OPACITY * cover(heat)[..., None]
    return 1 - covered + covered * colours(heat)


def strongest_share(words: Iterable[QuestionWord]) -> float:
    """The share whose shade is strongest: the largest, and at least half a unit."""
    return max([abs(word.share) for word in words if math.isfinite(word.share)] + [SHADED])


def shade(word: QuestionWord, most: float) -> tuple[str, float]:
    """Colour and opacity behind a question's word: warm where it leads to the answer, cool where it leads away."""
    strength = max(-1.0, min(word.share / most, 1.0)) if math.isfinite(word.share) else 0.0
    return WARM[6] if strength > 0 else COOL[5], 0.7 * abs(strength)


def _overlays(explanation: ExplanationData, scale: Scale, boxes: BoxRule | None) -> Iterator[FigurePanel]:
    """The panel of each answer or each word."""
    answers = explanation.answer_parts
    parts = answers or tuple(map(explanation.part, explanation.words))
    for part, heat in zip(parts, heats(explanation, parts, scale), strict=True):
        below = percent(math.exp(part.log_prob)) + (", nothing positive" if part.is_empty else "") if answers else note(part)
        picture = outlined(overlay(explanation.image, heat), explanation, part.map, boxes)
        yield FigurePanel(picture, shortened(part.text, TITLE), below)


def heats(explanation: ExplanationData, parts: Sequence[SpanExplanation], scale: Scale) -> Iterator[Tensor]:
    """Each map in [0, 1] as its overlay shows it: cells interpolated on the photo, regions as outlines of their boxes."""
    placement = explanation.placement
    drawn, of_pixels = [part.map.nan_to_num(0).clamp(min=0) for part in parts], explanation.pixel_maps is not None
    if drawn and not placement.boxes:
        drawn = list(positive_on_photo(torch.stack(drawn), placement, of_pixels=of_pixels))
    tops = [full_heat(heat, of_pixels=of_pixels) for heat in drawn]
    for heat, top in zip(drawn, tops, strict=True):
        scaled = (heat / ((max(tops) if scale == "caption" else top) or 1)).clamp(max=1)
        yield outlines(scaled, placement) if placement.boxes else scaled


def _top(explanation: ExplanationData, scale: Scale) -> str:
    answers = explanation.answer_parts
    if scale == "word" or not explanation.words:
        return f"each {'answer' if answers else 'word'}'s strongest {cell_name(explanation)}"
    maps = torch.stack([part.map for part in answers]) if answers else explanation.maps
    of_pixels = explanation.pixel_maps is not None
    top = max(full_heat(map, of_pixels=of_pixels) for map in maps.nan_to_num(0).clamp(min=0))
    return f"{top:.2g} {explanation.unit} a {cell_name(explanation)}"
