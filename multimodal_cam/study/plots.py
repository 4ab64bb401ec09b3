"""The report's plots (matplotlib, no display needed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..metrics.calibration import curve
from ..metrics.intervals import Interval

GREYS = {True: "#6a2a9c", False: "#a8a29c"}  # what is measured, and its controls


def bars(groups: Mapping[str, Mapping[str, Interval]], metric: str, path: Path) -> Path:
    """One panel a group of targets, one dot with its interval for each method and control; writes and returns `path`."""
    longest = max(map(len, groups.values()))
    figure = Figure(figsize=(5.2 * len(groups), 0.9 + 0.27 * longest), layout="constrained")
    panels: Sequence[Any] = figure.subplots(1, len(groups), squeeze=False)[0]
    for panel, (name, found) in zip(panels, groups.items(), strict=True):
        for place, (label, interval) in enumerate(reversed(list(found.items()))):
            own = ":" not in label and label not in ("centre", "uniform", "activation")
            panel.plot([interval.low, interval.high], [place, place], color=GREYS[own], linewidth=2)
            panel.plot(interval.value, place, "o", color=GREYS[own], markersize=5)
        panel.set_yticks(range(len(found)), list(found)[::-1], fontsize=8)
        panel.set_title(name, fontsize=10)
        panel.set_xlabel(metric, fontsize=9)
        panel.grid(axis="x", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return path


def reliance_curve(curves: Mapping[str, tuple[Any, Any]], metric: str, path: Path) -> Path:
    """How often maps hit, by the reliance of their words in ten bins of one size; writes and returns `path`."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    panel = figure.subplots()
    for label, (reliance, hit) in curves.items():
        bins = curve(reliance, hit >= 0.5)
        panel.plot([b.score for b in bins], [b.rate for b in bins], marker="o", markersize=3, label=label)
    panel.set_xlabel("reliance, nats")
    panel.set_ylabel(metric)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7, frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return path
