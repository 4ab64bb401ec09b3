"""Markdown tables of metrics and controls for the documentation, made from their specs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..measure.controls import CONTROLS
from ..schema import METRIC_SPECS


def metric_table() -> str:
    """Table of metrics: description, unit, better direction, when measured, paper."""
    rows = [
        [
            f"`{name}`",
            spec.text,
            spec.unit,
            spec.better,
            "median" if spec.median else "mean",
            _measured(spec.perturbs, spec.default),
        ]
        + [spec.paper]
        for name, spec in METRIC_SPECS.items()
    ]
    return _markdown(["metric", "what it is", "unit", "better", "reported", "measured", "from"], rows)


def control_table() -> str:
    """Table of controls: description, and whether each method has its own."""
    rows = [[f"`{name}`", spec.text, "a method" if spec.by_method else "none"] for name, spec in CONTROLS.items()]
    return _markdown(["control", "what it is", "made by"], rows)


def _measured(perturbs: bool, default: bool) -> str:
    return "with `--faithfulness`" if perturbs else "by default" if default else "if asked for"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
