"""`study sanity`: randomisation checks of the network's weights and of the text (Adebayo et al., NeurIPS 2018).

Weights are randomised in a cascade from the head through the encoder's stages to the photo, and stay so. A further stage, `random
caption`, gives the trained network another photo's text. All stages explain the same positions of the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...adapters.contract import TaskAdapter
from ...adapters.inputs import PAD
from ...adapters.load import load
from ...batch.malloc import keep_freed_memory
from ...core.call_scope import unchanged_state
from ...core.parquet import pa, pq
from ...core.randomization import cascade
from ...metrics.map_similarity import WINDOW, random_others, similarities
from ..config import Settings
from ..measure.row_maps import TextRows, encode, iterate_row_maps, supports_method
from ..measure.spatial_stages import head_parts, spatial_stages
from ..measure.text_batch import TextBatch, prepare
from ..sources.photo_list import StudyPhoto, chunked
from ..sources.targets import open_photo

FILE = "sanity.parquet"
CAPTION = "random caption"
HEAD = "head"
MEASURES = {"ssim": "SSIM", "rank": "rank correlation", "rank_abs": "rank correlation of magnitudes"}


def measure_sanity(settings: Settings, items: Sequence[StudyPhoto], out: Path, *, progress: Any = lambda _: None) -> Path:
    """Write `sanity.parquet` to `out`, a row for each photo, word, model, method, score and stage; returns its path.

    Photos that fail are not skipped: their errors propagate. Raises ValueError for maps under 5 x 5 cells, which SSIM needs.
    """
    keep_freed_memory()
    rows: list[dict[str, Any]] = []
    for name in settings.models:
        model = load(name, device=settings.device)
        for part in chunked(items, settings.batch_size):
            photos = [open_photo(item, settings) for item in part]
            batch = prepare(model, photos, settings, Counter())
            if batch is not None:
                with unchanged_state(model.module):
                    rows += [row | {"model": name} for row in _batch(model, batch, settings)]
            progress(len(part))
    if not rows:
        raise ValueError("no photo has a target: nothing to compare")
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), out / f".{FILE}.partial")
    (out / f".{FILE}.partial").replace(out / FILE)
    return out / FILE


def _batch(model: TaskAdapter, batch: TextBatch, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a record for each target's word, run and stage."""
    runs = [(method, score) for method in settings.methods if supports_method(model, method) for score in settings.scores]
    before = {run: _maps(model, batch, batch.rows, run, settings) for run in runs}
    smallest = min(side for maps in before.values() for side in maps.shape[1:])
    if smallest < WINDOW:
        raise ValueError(f"sanity: SSIM needs maps of {WINDOW} x {WINDOW} cells or more, {model.name} has {smallest}")
    images = [batch.photos[batch.texts[row].photo].item.image for row, _ in batch.targets]
    others = _others(batch, settings.seed)
    lengths = (batch.rows.ids[others] >= 0).sum(dim=1).tolist() if others else []
    reached = [bool(others) and batch.spans(i)["word"].stop <= lengths[row] for i, (row, _) in enumerate(batch.targets)]
    for stage, rows in _stages(model, batch, others, settings):
        for run, maps in before.items():
            after = _maps(model, batch, rows, run, settings)
            for found in similarities(maps, [(stage, after)]):
                if stage != CAPTION or reached[found.item]:
                    yield asdict(found) | {"image": images[found.item], "method": run[0], "score": run[1]}


def _stages(model: TaskAdapter, batch: TextBatch, others: list[int], settings: Settings) -> Iterator[tuple[str, TextRows]]:
    """Yield each stage's name and the rows that the network then reads; its weights are randomised up to the stage meanwhile."""
    if others:
        yield CAPTION, _swapped(batch.rows, others)
    stages = spatial_stages(model)
    head = head_parts(model, stages)
    last = {parts[-1]: name for name, parts in [(HEAD, head), *((s.name, s.parts[::-1]) for s in stages[::-1])] if parts}
    order = [*head, *(part for stage in stages[::-1] for part in stage.parts[::-1])]
    with cascade(model.module, order, settings.seed) as forgotten:
        for part in forgotten:
            if part in last:
                yield last[part], _encoded(model, batch.rows) if last[part] != HEAD else batch.rows


def _encoded(model: TaskAdapter, rows: TextRows) -> TextRows:
    """The rows, encoded by the network in its present state."""
    return replace(rows, activations=encode(model, rows.inputs, rows.ids))


def _others(batch: TextBatch, seed: int) -> list[int]:
    """For each text a random text of another photo; empty with a single photo."""
    photos = [text.photo for text in batch.texts]
    return random_others(photos, seed) if len(set(photos)) > 1 else []


def _swapped(rows: TextRows, others: list[int]) -> TextRows:
    """The same photos, each with another photo's text (for answers: question and answer), extended by the end of its own text,
    because positions of the text are explained. Positions beyond the other text's end are dropped afterwards."""
    other = torch.tensor(others)
    ids = rows.ids[other]
    filled = torch.where((ids == PAD) & (rows.ids != PAD), rows.ids, ids)
    inputs = rows.inputs if rows.inputs.question_ids is None else rows.inputs.with_questions(rows.inputs.question_ids[other])
    return replace(rows, inputs=inputs, ids=filled)


def _maps(model: TaskAdapter, batch: TextBatch, rows: TextRows, run: tuple[str, str], settings: Settings) -> Tensor:
    """Maps of all targets' words, `(k, h, w)`."""
    found: list[Tensor] = [torch.empty(0)] * len(batch.targets)
    for row, maps in iterate_row_maps(model, rows, batch.words, *run, n_steps=settings.n_steps):
        for i, (own, _) in enumerate(batch.targets):
            if own == row:
                found[i] = maps.map(batch.spans(i)["word"])
    return torch.stack(found)
