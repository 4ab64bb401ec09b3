"""Measurement of a shard of photos: rows for every model, method and score, with every control."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...adapters.contract import TaskAdapter, group_by_batch_key
from ...adapters.load import load
from ...core.call_scope import unchanged_state
from ...core.publication import FULL
from ...core.spans import Span, join, sentence
from ...extras import MissingPackageError
from ...metrics.localization import others
from ..config import Settings
from ..measure.controls import blind_maps
from ..measure.metric_spec import MetricColumn
from ..measure.perturbation import MapKey, measure_faithfulness
from ..measure.placement import METRICS, measure_maps
from ..measure.row_maps import RowMaps, TextRows, iterate_row_maps, random_twin, supports_method
from ..measure.text_batch import TextBatch, prepare
from ..schema import RowFacts, TargetFacts, result_row
from ..sources.photo_list import StudyPhoto, chunked
from ..sources.targets import LeftOut, OpenedPhoto, open_photo

Row = dict[str, Any]
ALTERNATIVES = 2  # the answer itself is among them, so one other remains


@dataclass
class ShardTables:
    """Results of a shard: rows of targets, nouns of own captions, failed photos, and counts of phrases that are no targets."""

    results: list[Row] = field(default_factory=list)
    nouns: list[Row] = field(default_factory=list)
    errors: list[Row] = field(default_factory=list)
    left_out: list[Row] = field(default_factory=list)


class ShardWorker:
    """Worker that loads the models once and measures shard after shard."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models = {name: load(name, device=settings.device) for name in settings.models}
        self.twins: dict[str, TaskAdapter | None] = {}

    def __call__(self, items: Sequence[StudyPhoto], progress: Callable[[int], None] = lambda _: None) -> ShardTables:
        shard = ShardTables()
        for batch in chunked(items, self.settings.batch_size):
            photos = [photo for item in batch if (photo := _open(item, self.settings, shard))]
            for name in self.models:
                with unchanged_state(self.models[name].module):
                    for group in group_by_batch_key(self.models[name], [(photo.image, None) for photo in photos]):
                        self._model(name, [photos[i] for i in group], shard)
            progress(len(batch))
        return shard

    def _model(self, name: str, photos: Sequence[OpenedPhoto], shard: ShardTables) -> None:
        """Measure a batch. If it fails, photos that also fail alone are dropped and the others run again together."""
        try:
            self._measure(name, photos, shard)
            return
        except Exception as error:
            if _of_the_machine(error):
                raise
            if len(photos) == 1:
                shard.errors.append(_error(photos[0].item.image, name, error))
                return
        sound = []
        for photo in photos:
            tried = ShardTables()
            self._model(name, [photo], tried)
            shard.errors += tried.errors
            sound += [] if tried.errors else [photo]
        if len(sound) == len(photos):
            raise RuntimeError(
                f"{name} fails on {len(photos)} photos together and on none of them alone: try a smaller --batch-size"
            )
        if sound:
            self._measure(name, sound, shard)

    def _measure(self, name: str, photos: Sequence[OpenedPhoto], shard: ShardTables) -> None:
        if not photos:
            return
        left_out: LeftOut = Counter()
        batch = prepare(self.models[name], photos, self.settings, left_out)
        if batch:
            results: list[Row] = []  # discarded if the batch fails
            runs = self._runs(name, batch)
            faithful = self._probed(name, batch, runs)
            for scope in batch.scopes():
                results += [row for row in _scope(scope, batch, runs, faithful, self.settings, name)]
            shard.results += results
            shard.nouns += [row | {"model": name} for row in _noun_rows(batch, runs)]
        shard.left_out += [
            {"image": image, "model": name, "why": why, "count": count} for (image, why), count in left_out.items() if count
        ]

    def _runs(self, name: str, batch: TextBatch) -> list[MethodRun]:
        settings, model = self.settings, self.models[name]
        if name not in self.twins and "random_weights" in settings.controls:
            self.twins[name] = random_twin(model, batch.rows, settings.seed)
        return [
            MethodRun(method, score, _maps(model, self.twins.get(name), batch, method, score, settings))
            for method in settings.methods
            if supports_method(model, method)
            for score in settings.scores
            if settings.wanted(name, method, score)
        ]

    def _probed(self, name: str, batch: TextBatch, runs: Sequence[MethodRun]) -> dict[MapKey, dict[str, float]]:
        settings = self.settings
        spans = [maps.spans for _, _, maps in runs]
        return measure_faithfulness(self.models[name], batch, spans, settings.metrics, settings.controls, settings.canvas)


# ---- maps -----------------------------------------------------------------------------------------------------------------


@dataclass
class MethodMaps:
    """Maps of one method: for each target and kind of span its own map (key None), its controls and its numbers; and the
    numbers of each noun."""

    spans: dict[tuple[int, str], dict[str | None, Tensor]] = field(default_factory=dict)
    numbers: dict[tuple[int, str], Row] = field(default_factory=dict)
    nouns: dict[int, Row] = field(default_factory=dict)


class MethodRun(NamedTuple):
    """Maps of a method and a score."""

    method: str
    score: str
    maps: MethodMaps


def _maps(
    model: TaskAdapter, twin: TaskAdapter | None, batch: TextBatch, method: str, score: str, settings: Settings
) -> MethodMaps:
    """All targets' maps by a method, and the controls that the model has to compute."""
    found = MethodMaps()
    own, nouns = _by_row(batch.targets), _by_row(batch.nouns)
    questions = settings.task == "vqa"

    def explain(of: TaskAdapter, rows: TextRows = batch.rows) -> Iterator[tuple[int, RowMaps]]:
        options = {"n_steps": settings.n_steps, "n_alternatives": ALTERNATIVES if questions else 0}
        return iterate_row_maps(of, rows, batch.words, method, score, **options)

    def control(name: str, explanations: Iterator[tuple[int, RowMaps]]) -> None:
        for row, maps in explanations:
            for i in own.get(row, ()):
                for kind, span in batch.spans(i).items():
                    found.spans[i, kind][name] = maps.map(span)

    for row, maps in explain(model):
        whole = {"other_answer": maps.alternative()} if questions else {"whole": maps.map(join(batch.words[row]))}
        for i in own.get(row, ()):
            for kind, span in batch.spans(i).items():
                found.spans[i, kind] = {None: maps.map(span)} | {name: map for name, map in whole.items() if map is not None}
                found.numbers[i, kind] = _numbers(maps, span)
        for i in nouns.get(row, ()):
            found.nouns[i] = _numbers(maps, batch.words[row][batch.nouns[i][1].index])
    if twin is not None:
        control("random_weights", explain(twin))
    if "other_photo" in settings.controls and len(batch.rows.activations) > 1:
        following = (batch.rows.photo + 1) % len(batch.rows.activations)
        control("other_photo", explain(model, replace(batch.rows, photo=following)))
    return found


def _by_row(places: Sequence[tuple[int, Any]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for i, (row, _) in enumerate(places):
        found.setdefault(row, []).append(i)
    return found


def _numbers(maps: RowMaps, span: Span) -> Row:
    """Numbers that may predict whether a span's map is right."""
    positive = maps.map(span).relu()
    total = float(positive.sum())
    peak = float(positive.max()) / total if total > 0 else float("nan")
    return {"reliance": maps.reliance(span), "log_prob": maps.log_prob(span), "peak": peak}


def _blind(batch: TextBatch, i: int) -> dict[str, Tensor]:
    """Controls of target `i` that do not depend on the word."""
    row, _ = batch.targets[i]
    activation = batch.rows.mean_activation(row)
    return blind_maps((activation.shape[0], activation.shape[1]), batch.placement(row)) | {"activation": activation}


# ---- rows -----------------------------------------------------------------------------------------------------------------


def _scope(
    scope: Sequence[int],
    batch: TextBatch,
    runs: Sequence[MethodRun],
    faithful: Mapping[MapKey, Mapping[str, float]],
    settings: Settings,
    model: str,
) -> Iterator[Row]:
    """Yield the rows of targets that are each other's `other_word`; all maps of a target are measured at once."""
    rivals = others([batch.targets[i][1].group for i in scope])
    for place, i in enumerate(scope):
        numbers = _placed(batch, i, [scope[j] for j in rivals[place]], runs, settings)
        facts = TargetFacts(batch, i)
        for r, run in enumerate(runs):
            for kind in batch.spans(i):
                columns = {
                    MetricColumn(metric, key.control).name: number
                    for table in (numbers, faithful)
                    for key, metrics in table.items()
                    if (key.target, key.kind) == (i, kind) and key.run in (r, None)
                    for metric, number in metrics.items()
                }
                own = RowFacts(
                    facts, model, run.method, run.score, kind, run.maps.spans[i, kind][None], run.maps.numbers[i, kind]
                )
                yield result_row(own) | columns


def _placed(
    batch: TextBatch, i: int, rivals: Sequence[int], runs: Sequence[MethodRun], settings: Settings
) -> dict[MapKey, dict[str, float]]:
    """All placement metrics of target `i`'s maps and controls; several maps of other words are averaged."""
    row, target = batch.targets[i]
    entries: list[tuple[MapKey, Tensor]] = []
    for kind in batch.spans(i):
        entries += [(MapKey(i, kind, None, name), map) for name, map in _blind(batch, i).items()]
        for r, run in enumerate(runs):
            entries += [(MapKey(i, kind, r, control), map) for control, map in run.maps.spans[i, kind].items()]
            entries += [(MapKey(i, kind, r, "other_word"), run.maps.spans[j, kind][None]) for j in rivals]
    entries = [(key, map) for key, map in entries if key.control is None or key.control in settings.controls]
    metrics = [name for name in settings.metrics if name in METRICS]
    table = measure_maps([map for _, map in entries], target.boxes, batch.placement(row), metrics)
    places: dict[MapKey, list[int]] = {}
    for n, (key, _) in enumerate(entries):
        places.setdefault(key, []).append(n)
    return {key: {name: fmean(values[n] for n in own) for name, values in table.items()} for key, own in places.items()}


def _noun_rows(batch: TextBatch, runs: Sequence[MethodRun]) -> Iterator[Row]:
    """Yield rows for all nouns of own captions, with or without a box."""
    for i, (row, noun) in enumerate(batch.nouns):
        text, words = batch.texts[row], batch.words[row]
        about = {"image": batch.photos[text.photo].item.image, "caption": sentence(words)}
        said = {"word": words[noun.index].text, "head": noun.index, "in_human_caption": noun.said}
        for method, score, maps in runs:
            yield about | said | {"method": method, "score": score} | maps.nouns[i]


# ---- errors ---------------------------------------------------------------------------------------------------------------


def _open(item: StudyPhoto, settings: Settings, shard: ShardTables) -> OpenedPhoto | None:
    try:
        return open_photo(item, settings)
    except Exception as error:
        if _of_the_machine(error):
            raise
        shard.errors.append(_error(item.image, "", error))
        return None


def _of_the_machine(error: Exception) -> bool:
    """Whether other photos would fail in the same way: no memory, no disk space, a package that is not installed."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError, MissingPackageError)) or getattr(error, "errno", None) in FULL


def _error(image: str, model: str, error: Exception) -> Row:
    from ...core.errors import message

    return {"image": image, "model": model, "kind": type(error).__name__, "message": message(error)}
