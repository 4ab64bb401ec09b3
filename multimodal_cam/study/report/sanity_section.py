"""Report on the randomisation checks: similarity of maps by randomised stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ...core.parquet import pq
from ...metrics.intervals import Interval, nan_interval
from ..runner.randomization_run import CAPTION, FILE, MEASURES
from .document import Block, DataTable, Heading, Paragraph, Picture, html, markdown, value_cell
from .plots import COLOURS


def write_sanity(folder: Path, seed: int) -> Path:
    """Write `sanity.md` and `sanity.html` beside `sanity.parquet`; returns the page's path."""
    blocks = [Heading(1, "Sanity checks"), *sanity_blocks(folder, seed)]
    (folder / "sanity.md").write_text(markdown(blocks, folder), encoding="utf-8")
    page = folder / "sanity.html"
    page.write_text(html(blocks, "Sanity checks"), encoding="utf-8")
    return page


def sanity_blocks(folder: Path, seed: int) -> Iterator[Block]:
    """Yield a plot for each model, method and score, and a table; nothing without `sanity.parquet`."""
    if not (folder / FILE).is_file():
        return
    table = pq.read_table(folder / FILE)
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    stages = list(dict.fromkeys(columns["stage"].tolist()))
    yield Heading(2, "Sanity: do the maps change when the network forgets?")
    yield Paragraph(
        "Cascading randomisation (Adebayo et al., 2018): the head forgets first, then the encoder from its top, each stage on "
        f"top of those before; {CAPTION}: the trained network, asked about another photo's words. Similarity with the map of the "
        "trained network, mean and 95 % interval over photos; 1 is the same map, and speaks against the method."
    )
    runs = dict.fromkeys(zip(*(columns[name].tolist() for name in ("model", "method", "score")), strict=True))
    lines = []
    for number, run in enumerate(runs):
        own = np.logical_and.reduce([columns[n] == part for n, part in zip(("model", "method", "score"), run, strict=True)])
        found: dict[str, dict[str, Interval]] = {}
        for stage in stages:
            rows = own & (columns["stage"] == stage)
            if rows.any():
                found[stage] = {m: nan_interval(columns[m][rows], columns["image"][rows], seed) for m in MEASURES}
                lines.append([*run, stage, *(value_cell(i) for i in found[stage].values())])
        yield Picture(_plot(found, " ".join(run), folder / "plots" / f"sanity-{number}.png"), " ".join(run), wide=True)
    yield DataTable(["model", "method", "score", "forgotten", *MEASURES.values()], lines)


def _plot(found: dict[str, dict[str, Interval]], title: str, path: Path) -> Path:
    """Plot similarities by stage with intervals; the random caption stands apart at the left."""
    path.parent.mkdir(exist_ok=True)
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    panel = figure.subplots()
    for colour, (measure, label) in zip(COLOURS, MEASURES.items(), strict=False):
        for apart in (True, False):
            places = [i for i, stage in enumerate(found) if (stage == CAPTION) is apart]
            chosen = [list(found.values())[i][measure] for i in places]
            y, low, high = (np.array([getattr(i, end) for i in chosen]) for end in ("value", "low", "high"))
            bars = np.maximum([y - low, high - y], 0)
            panel.errorbar(places, y, bars, color=colour, marker="o", markersize=4, elinewidth=1, label=None if apart else label)
    panel.set_xticks(range(len(found)), list(found), rotation=40, ha="right", fontsize=8)
    panel.axhline(0, color="#a8a29c", linewidth=0.8)
    panel.set_title(title, fontsize=10)
    panel.set_ylabel("similarity to the trained network's map", fontsize=8)
    panel.legend(fontsize=8, frameon=False)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return path
