"""report.md and report.html of a study, made from its tables; the gallery also reads the photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.parquet import pq
from ..config import RUN
from ..measure.controls import CONTROLS
from ..measure.metric_spec import MetricColumn
from ..measure.run_agreement import measure_agreement
from ..runner.result_store import read_run
from ..schema import METRIC_SPECS
from .ablation_section import ablation_blocks
from .agreement_section import agreement_blocks
from .document import Block, DataTable, Heading, Paragraph, Picture, difference_cell, html, markdown, value_cell
from .gallery import cases, pictures
from .plots import bars
from .reliance_section import reliance_blocks
from .result_table import ResultTable, paired, read_table, splits
from .sanity_section import sanity_blocks

RunKey = tuple[str, ...]
PERTURBED = {
    "pixels": "Faithfulness: pixels are removed by the photo's mean colour; insertion begins with the blurred photo (11 pixels, "
    "sigma 5, of the size that the network takes). log p of the word under the fixed prefix, in nats.",
    "layer": "Faithfulness: cells of the tapped layer are removed by what it holds without a photo; insertion begins with that. "
    "log p of the word under the fixed prefix, in nats.",
}
TITLE = "Do the maps lie on what the words name?"


def write_report(folder: Path) -> Path:
    """Write `report.md`, `report.html`, `plots/` and `gallery/` into a study's folder; returns the page's path.

    Raises FileNotFoundError for a folder without a study, ValueError for a study that is not done or found nothing.
    """
    run = read_run(folder)
    if not run.get("finished"):
        raise ValueError(f"the study in {str(folder)!r} is not done: give its command again, it goes on where it stopped")
    table = read_table(folder, run["settings"]["metrics"], run["seed"], right_only=run["settings"]["task"] == "vqa")
    if not table.runs:
        raise ValueError(f"the study in {str(folder)!r} has no targets: see errors.parquet and left_out.parquet there")
    blocks = list(_blocks(folder, run, table))
    (folder / "report.md").write_text(markdown(blocks, folder), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(html(blocks, TITLE), encoding="utf-8")
    return page


def _blocks(folder: Path, run: dict[str, Any], table: ResultTable) -> Iterator[Block]:
    metrics, controls = run["settings"]["metrics"], run["settings"]["controls"]
    yield Heading(1, TITLE)
    yield from _what(folder, run, table)
    yield from _plots(folder, table, metrics[0], controls)
    yield Heading(2, "Maps and controls")
    yield Paragraph(
        "Mean over all words (median for in_out), with the 95 % interval of a bootstrap over photos. A control in the place of a "
        "method's map is measured on the same targets."
    )
    for head, runs in _by(table, ("model", "score", "span")):
        yield Heading(3, head)
        yield _main(table, runs, metrics, controls)
    yield Heading(2, "How much more than the controls")
    yield Paragraph("Map minus control on the same target, mean and 95 % interval; n.s. where the interval holds 0.")
    for metric in _means(metrics):
        yield Heading(3, metric)
        own, minus = MetricColumn(metric), [MetricColumn(metric, control) for control in controls]
        minus = [column for column in minus if any(_has(table, rows, column) for rows in table.runs.values())]
        lines = [
            [*key, *(difference_cell(table.interval(own, rows, column)) for column in minus)] for key, rows in table.runs.items()
        ]
        yield DataTable([*RUN, *(str(column.control) for column in minus)], lines)
    if run["settings"].get("one_at_a_time"):
        yield from ablation_blocks(table, run["settings"])
        return
    yield from _versus(table, metrics)
    yield from _splits(table, metrics[0], controls)
    agreement = measure_agreement(folder, right_only=run["settings"]["task"] == "vqa")
    yield from agreement_blocks(agreement, table.seed)
    placed = [m for m in _means(metrics) if not METRIC_SPECS[m].perturbs]
    if placed:
        yield from reliance_blocks(folder, table, placed[0])
    yield from sanity_blocks(folder, table.seed)
    yield from _gallery(folder, run, table, metrics)


# ---- sections -------------------------------------------------------------------------------------------------------------


def _what(folder: Path, run: dict[str, Any], table: ResultTable) -> Iterator[Block]:
    settings = run["settings"]
    errors, left_out = (pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("errors", "left_out"))
    words = sum(len(rows) for key, rows in table.runs.items() if key == next(iter(table.runs)))
    kind = (
        "answers to questions, answered right"
        if settings["task"] == "vqa"
        else ("the models' own captions" if settings["own_captions"] else "human captions, teacher-forced")
    )
    photos = len({int(p) for rows in table.runs.values() for p in table["image"][rows]})
    yield Paragraph(
        f"{run['photos']} photos, {photos} of them with targets; {words} targets in the first row of the tables ({kind}). "
        f"{len(errors)} photos failed (errors.parquet). Seed {run['seed']}; command: {' '.join(run['command'])}"
    )
    reasons: Counter[tuple[str, str]] = Counter()
    for row in left_out:
        reasons[row["model"], row["why"]] += row["count"]
    if reasons:
        yield DataTable(
            ["model", "not a target, because", "phrases"], [[m, why, str(n)] for (m, why), n in sorted(reasons.items())]
        )
    for model in settings["models"]:
        lacking = set(settings["methods"]) - {key[1] for key in table.runs if key[0] == model}
        if any(key[0] == model for key in table.runs) and lacking:
            yield Paragraph(f"{model} has no {', '.join(sorted(lacking))}: skipped.")
    faithful = [name for name in settings["metrics"] if METRIC_SPECS[name].perturbs]
    if faithful:
        yield Paragraph(PERTURBED[settings["canvas"]])
        yield DataTable(["faithfulness", "what it is"], [[name, METRIC_SPECS[name].text] for name in faithful])
    yield DataTable(["control", "what it is"], [[name, CONTROLS[name].text] for name in settings["controls"]])


def _plots(folder: Path, table: ResultTable, metric: str, controls: Sequence[str]) -> Iterator[Block]:
    (folder / "plots").mkdir(exist_ok=True)
    for number, (head, runs) in enumerate(_by(table, ("model", "score", "span"))):
        groups = {}
        for part in ("all", "off centre"):
            chosen = {key: dict(splits(table, table.runs[key]))[part] for key in runs}
            groups[part] = {
                label: found
                for label, key, column in _lines(runs, metric, controls)
                if (found := table.interval(column, chosen[key])).rows
            }
        path = bars(groups, metric, {key[1] for key in runs}, folder / "plots" / f"{metric}-{number}.png")
        yield Picture(path, f"{metric} of {head}, with 95 % intervals over photos", wide=True)


def _main(table: ResultTable, runs: Sequence[RunKey], metrics: Sequence[str], controls: Sequence[str]) -> DataTable:
    rows = []
    for label, key, first in _lines(runs, metrics[0], controls):
        columns = [MetricColumn(metric, first.control) for metric in metrics]
        if any(_has(table, table.runs[key], column) for column in columns):
            rows.append([label, *(value_cell(table.interval(column, table.runs[key])) for column in columns)])
    return DataTable(["", *metrics], rows)


def _lines(runs: Sequence[RunKey], metric: str, controls: Sequence[str]) -> Iterator[tuple[str, RunKey, MetricColumn]]:
    """Label, run and column of each line: methods with their own controls, then the controls that need no method."""
    for key in runs:
        yield key[1], key, MetricColumn(metric)
        yield from ((f"{key[1]}: {c}", key, MetricColumn(metric, c)) for c in controls if CONTROLS[c].by_method)
    yield from ((c, runs[0], MetricColumn(metric, c)) for c in controls if not CONTROLS[c].by_method)


def _versus(table: ResultTable, metrics: Sequence[str]) -> Iterator[Block]:
    """Pairs of runs that differ in one thing."""
    pairs = [
        (one, other)
        for i, one in enumerate(table.runs)
        for other in list(table.runs)[i + 1 :]
        if sum(a != b for a, b in zip(one, other, strict=True)) == 1
    ]
    if not pairs:
        return
    names = _means(metrics)
    yield Heading(2, "Methods, models, scores and spans against each other")
    yield Paragraph("First minus second, on the targets that both have.")
    yield DataTable(
        ["first", "second", *names],
        [
            [" ".join(one), " ".join(other), *(difference_cell(paired(table, one, other, m)) for m in names)]
            for one, other in pairs
        ],
    )


def _splits(table: ResultTable, metric: str, controls: Sequence[str]) -> Iterator[Block]:
    yield Heading(2, f"For which words: {metric}")
    shown = [c for c in ("other_word", "other_answer", "centre") if c in controls]
    own, of_controls = MetricColumn(metric), [MetricColumn(metric, c) for c in shown]
    for key, rows in table.runs.items():
        yield Heading(3, " ".join(key))
        lines = []
        for name, part in splits(table, rows):
            if len(part):
                values = [table.interval(column, part) for column in (own, *of_controls)]
                above = [table.interval(own, part, column) for column in of_controls]
                lines.append([name, str(len(part)), *map(value_cell, values), *map(difference_cell, above)])
        yield DataTable(["", "words", "map", *shown, *(f"above {c}" for c in shown)], lines)


def _gallery(folder: Path, run: dict[str, Any], table: ResultTable, metrics: Sequence[str]) -> Iterator[Block]:
    metric = "energy" if "energy" in metrics else metrics[0]
    yield Heading(2, f"Best, median and worst by {metric}")
    yield Paragraph(
        "Ranked by what they have above a uniform map, where that is a control. White: the boxes. Drawn from the photos, which "
        "are nobody's to hand on: keep this folder to yourself."
    )
    for number, key in enumerate(table.runs):
        if key[3] == "phrase" or not any(other[3] == "phrase" for other in table.runs):
            for name, rows in cases(table, key, metric).items():
                found = list(pictures(folder, Path(run["settings"]["images"]), rows, metric, table[metric], f"{number}-{name}"))
                if found:
                    yield Heading(3, f"{' '.join(key)}: {name}")
                    yield from found


# ---- shared by the sections -----------------------------------------------------------------------------------------------


def _by(table: ResultTable, names: Sequence[str]) -> Iterator[tuple[str, list[RunKey]]]:
    groups: dict[RunKey, list[RunKey]] = {}
    for key in table.runs:
        groups.setdefault(tuple(key[RUN.index(name)] for name in names), []).append(key)
    return ((" ".join(head), runs) for head, runs in groups.items())


def _has(table: ResultTable, rows: Any, column: MetricColumn) -> bool:
    return bool((~np.isnan(table[column.name][rows])).any())


def _means(metrics: Sequence[str]) -> list[str]:
    """Metrics that are reported as means, so that differences have means as well."""
    return [name for name in metrics if not METRIC_SPECS[name].median]
