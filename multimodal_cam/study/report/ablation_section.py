"""Section of the report on ablations: each run beside the run that it varies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..config import RUN
from ..measure.metric_spec import MetricColumn
from ..schema import METRIC_SPECS
from .document import Block, DataTable, Heading, Paragraph, difference_cell, value_cell
from .result_table import ResultTable, paired


def ablation_blocks(table: ResultTable, settings: dict[str, Any]) -> Iterator[Block]:
    """Yield a table of all runs, each beside the run that it varies."""
    metrics = [name for name in settings["metrics"] if not METRIC_SPECS[name].median]
    yield Heading(2, "One thing changed")
    yield Paragraph(
        "Mean and 95 % interval, and below it what the change brings: minus the run that is changed, on the same words."
    )
    rows = []
    for key in sorted(table.runs, key=lambda key: (base_run(key, settings) is not None, key)):
        base = base_run(key, settings)
        rows.append([*key, *(value_cell(table.interval(MetricColumn(m), table.runs[key])) for m in metrics)])
        if base in table.runs and base is not None:
            rows.append(
                [f"against {' '.join(base)}", "", "", "", *(difference_cell(paired(table, key, base, m)) for m in metrics)]
            )
    yield DataTable([*RUN, *metrics], rows)


def base_run(key: tuple[str, ...], settings: dict[str, Any]) -> tuple[str, ...] | None:
    """The run that this one varies in one respect: plain method, first score, first model, or words."""
    model, method, score, span = key
    plain = method.partition(":")[0]
    if plain != method:
        return model, plain, score, span
    if score != settings["scores"][0]:
        return model, method, settings["scores"][0], span
    if model != settings["models"][0]:
        return settings["models"][0], method, score, span
    return (model, method, score, "word") if span == "phrase" else None
