"""A matplotlib figure of an explanation: the photo, then one overlay per word."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure

from ..explanation import Explanation, Scale
from .colour import OPACITY, colours, cover
from .overlay import overlay, shrink
from .text import note, source

COLUMNS = 5
SIDE = 480  # pixels: sharp at the size of a panel, small in a file
INK, MUTED = "#1c2024", "#60666e"


def figure(explanation: Explanation, *, scale: Scale = "caption") -> Figure:
    """The photo and one overlay per word, in rows; under each word the nats that the photo added to it.

    `scale` as in `Explanation.heatmap`: one for the whole caption, or each word its own. Belongs to no pyplot
    state: save it with `savefig`.
    """
    small = shrink(explanation, SIDE)
    count = len(small.words) + 1
    rows = math.ceil(count / COLUMNS)
    columns = math.ceil(count / rows)  # rows as even as they get
    height = min(4.0, max(0.5, 2.2 * small.image.height / small.image.width))
    canvas = Figure(figsize=(2.2 * columns + 0.3, (height + 0.75) * rows + 1.0), layout="constrained", dpi=120)
    [panels], [bar] = canvas.subfigures(2, 1, squeeze=False, height_ratios=[(height + 0.75) * rows + 0.4, 0.6])
    # a caption may hold a dollar sign
    panels.suptitle(_shortened(small.text, 26 * columns), fontsize=13, color=INK, parse_math=False)
    axes = panels.subplots(rows, columns, squeeze=False).flat
    _panel(axes[0], small.image, "photo", "")
    for i, axis in enumerate(axes[1:]):
        if i < len(small.words):
            part = small.part(small.words[i])
            _panel(axis, overlay(small.image, small.heatmap(part.span, scale)), part.text, note(part))
        else:
            axis.set_axis_off()
    _legend(bar, small, scale)
    return canvas


def _panel(axis: Any, picture: Any, title: str, below: str) -> None:
    axis.imshow(picture)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_title(_shortened(title, 24), fontsize=12, color=INK, parse_math=False)
    axis.set_xlabel(below, fontsize=8.5, color=MUTED, parse_math=False)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _legend(bar: Any, explanation: Explanation, scale: Scale) -> None:
    """What the colours mean, and where the maps come from."""
    heat = torch.linspace(0, 1, 256)[None]
    covered = OPACITY * cover(heat)[..., None]
    axis = bar.subplots()
    axis.imshow((1 - covered + covered * colours(heat)).numpy(), aspect="auto", extent=(0, 1, 0, 1))
    axis.set(yticks=[], xticks=[0, 1], xticklabels=["0", _top(explanation, scale)], box_aspect=0.03)
    axis.tick_params(length=0, labelsize=8.5, labelcolor=MUTED)
    axis.spines[:].set_visible(False)
    axis.set_xlabel(source(explanation), fontsize=8.5, color=MUTED, parse_math=False)


def _top(explanation: Explanation, scale: Scale) -> str:
    if scale == "word" or not explanation.words:
        return "each word's strongest cell"
    return f"{float(explanation.maps.nan_to_num(0).clamp(min=0).max()):.2g} {explanation.unit} a cell"
