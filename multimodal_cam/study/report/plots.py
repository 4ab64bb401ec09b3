"""Plots of the report (matplotlib, without a display)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...metrics.calibration import reliability_curve, reliability_intervals
from ...metrics.intervals import Interval

COLOURS = ("#6a2a9c", "#0f7d6b", "#c4621a", "#2f6fb5", "#a8325e", "#5b6470")
GREYS = {True: "#6a2a9c", False: "#a8a29c"}  # methods, controls


def bars(groups: Mapping[str, Mapping[str, Interval]], metric: str, methods: Collection[str], path: Path) -> Path:
    """Draw a panel for each group of targets, with a dot and an interval for each method and control; `methods` stand out.

    Writes and returns `path`.
    """
    longest = max(map(len, groups.values()))
    figure = Figure(figsize=(5.2 * len(groups), 0.9 + 0.27 * longest), layout="constrained")
    panels: Sequence[Any] = figure.subplots(1, len(groups), squeeze=False)[0]
    for panel, (name, found) in zip(panels, groups.items(), strict=True):
        for place, (label, interval) in enumerate(reversed(list(found.items()))):
            own = label in methods
            panel.plot([interval.low, interval.high], [place, place], color=GREYS[own], linewidth=2)
            panel.plot(interval.value, place, "o", color=GREYS[own], markersize=5)
        panel.set_yticks(range(len(found)), list(found)[::-1], fontsize=8)
        panel.set_title(name, fontsize=10)
        panel.set_xlabel(metric, fontsize=9)
        panel.grid(axis="x", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return path


def reliability(runs: Mapping[tuple[str, ...], Mapping[str, Any]], what: str, path: Path, seed: int) -> Path:
    """Draw reliability curves of `label` by `reliance`, up to 8 bins of equal size with intervals over photos; returns `path`.

    A panel for each model and whatever follows the method, a line for each method.
    """
    panels: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for key, columns in runs.items():
        panels.setdefault((key[0], *key[2:]), {})[key[1]] = columns
    figure = Figure(figsize=(1 + 4.2 * len(panels), 3.6), layout="constrained")
    axes: Sequence[Any] = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (name, methods) in zip(axes, panels.items(), strict=True):
        for number, (method, columns) in enumerate(methods.items()):
            reliance = columns["reliance"].astype(float)
            known = ~np.isnan(reliance)
            if known.any():
                bins = max(1, min(8, int(known.sum()) // 20))
                given = reliance[known], columns["label"][known]
                found = reliability_intervals(*given, columns["image"][known], bins, seed)
                x = np.array([b.score for b in reliability_curve(*given, bins)])
                y, low, high = np.array([[i.value, i.low, i.high] for i in found]).T
                x = x * 1.04**number  # side by side
                axis.errorbar(
                    x,
                    y,
                    np.maximum([y - low, high - y], 0),
                    color=COLOURS[number % len(COLOURS)],
                    marker="o",
                    markersize=3,
                    label=method,
                )
        axis.set_title(" ".join(name), fontsize=10)
        axis.set_xlabel("reliance, nats", fontsize=9)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(what)
    figure.savefig(path, dpi=110)
    return path
