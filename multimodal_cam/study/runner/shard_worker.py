"""A shard of photos -> its rows of the table: every model, method and score, beside every control."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ..._explain import group_by_batch_key
from ...adapters.contract import TaskAdapter
from ...adapters.load import load
from ...core.files import FULL
from ...core.hooks import evaluating
from ...core.spans import Span, join, sentence
from ...metrics.localization import WHOLE, coverage, off_centre, others
from ...metrics.vqa_accuracy import exact_accuracy
from ..config import Settings
from ..measure.perturbation import MapKey, measure_faithfulness
from ..measure.placement import METRICS, blind_maps, measure_maps
from ..measure.row_maps import RowMaps, TextRows, iterate_row_maps, random_twin, supports_method
from ..measure.text_batch import TextBatch, prepare
from ..sources.photo_list import StudyPhoto, chunked
from ..sources.targets import LeftOut, OpenedPhoto, open_photo

Row = dict[str, Any]
ALTERNATIVES = 2  # the answer itself is the likeliest one, so that one other remains


@dataclass
class ShardTables:
    """What a shard gave: rows of the table, of own captions' nouns, photos that failed, and how many phrases are no targets."""

    results: list[Row] = field(default_factory=list)
    nouns: list[Row] = field(default_factory=list)
    errors: list[Row] = field(default_factory=list)
    left_out: list[Row] = field(default_factory=list)


class ShardWorker:
    """Loads the models once, then measures shard after shard."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models = {name: load(name, device=settings.device) for name in settings.models}
        self.twins: dict[str, TaskAdapter | None] = {}

    def __call__(self, items: Sequence[StudyPhoto], progress: Callable[[int], None] = lambda _: None) -> ShardTables:
        shard = ShardTables()
        for batch in chunked(items, self.settings.batch_size):
            photos = [photo for item in batch if (photo := _open(item, self.settings, shard))]
            for name in self.models:
                with _untouched(self.models[name]):
                    for group in group_by_batch_key(self.models[name], [(photo.image, None) for photo in photos]):
                        self._model(name, [photos[i] for i in group], shard)
            progress(len(batch))
        return shard

    def _model(self, name: str, photos: Sequence[OpenedPhoto], shard: ShardTables) -> None:
        """A batch; when it fails, the photos that fail alone are left out and the others run again together."""
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
            results: list[Row] = []  # none is kept of a batch that fails on the way
            runs = self._runs(name, batch)
            faithful = self._probed(name, batch, runs)
            for scope in batch.scopes():
                results += [row | {"model": name} for row in _scope(scope, batch, runs, faithful, self.settings)]
            shard.results += results
            shard.nouns += [row | {"model": name} for row in _noun_rows(batch, runs)]
        shard.left_out += [
            {"image": image, "model": name, "why": why, "count": count} for (image, why), count in left_out.items() if count
        ]

    def _runs(self, name: str, batch: TextBatch) -> list[Run]:
        settings, model = self.settings, self.models[name]
        if name not in self.twins and "random_weights" in settings.controls:
            self.twins[name] = random_twin(model, batch.rows, settings.seed)
        return [
            (method, score, _maps(model, self.twins.get(name), batch, method, score, settings))
            for method in settings.methods
            if supports_method(model, method)
            for score in settings.scores
            if settings.wanted(name, method, score)
        ]

    def _probed(self, name: str, batch: TextBatch, runs: Sequence[Run]) -> dict[MapKey, dict[str, float]]:
        settings = self.settings
        spans = [maps.spans for _, _, maps in runs]
        return measure_faithfulness(self.models[name], batch, spans, settings.metrics, settings.controls, settings.canvas)


# ---- maps -----------------------------------------------------------------------------------------------------------------


@dataclass
class MethodMaps:
    """Of one method: for each target and kind of span, its map (by the name "") and controls, and numbers of the span; and
    the numbers of each noun."""

    spans: dict[tuple[int, str], dict[str, Tensor]] = field(default_factory=dict)
    numbers: dict[tuple[int, str], Row] = field(default_factory=dict)
    nouns: dict[int, Row] = field(default_factory=dict)


Run = tuple[str, str, MethodMaps]  # method, score, maps


def _maps(
    model: TaskAdapter, twin: TaskAdapter | None, batch: TextBatch, method: str, score: str, settings: Settings
) -> MethodMaps:
    """Every target's map by a method, and its controls that the model has to make."""
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
                found.spans[i, kind] = {"": maps.map(span)} | {name: map for name, map in whole.items() if map is not None}
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
    """What may tell whether to trust a span's map."""
    positive = maps.map(span).relu()
    total = float(positive.sum())
    peak = float(positive.max()) / total if total > 0 else float("nan")
    return {"reliance": maps.reliance(span), "log_prob": maps.log_prob(span), "peak": peak}


def _blind(batch: TextBatch, i: int) -> dict[str, Tensor]:
    """The maps that know no word, for target `i`."""
    row, _ = batch.targets[i]
    activation = batch.rows.mean_activation(row)
    return blind_maps((activation.shape[0], activation.shape[1]), batch.placement(row)) | {"activation": activation}


# ---- rows -----------------------------------------------------------------------------------------------------------------


def _scope(
    scope: Sequence[int],
    batch: TextBatch,
    runs: Sequence[Run],
    faithful: Mapping[MapKey, Mapping[str, float]],
    settings: Settings,
) -> Iterator[Row]:
    """The rows of targets that are each other's `other_word`; a target's maps are measured all at once."""
    metrics = [name for name in settings.metrics if name in METRICS]
    rivals = others([batch.targets[i][1].group for i in scope])
    for place, i in enumerate(scope):
        row, target = batch.targets[i]
        about, blind, kinds = _about(batch, i), _blind(batch, i), list(batch.spans(i))
        named: list[tuple[Any, Tensor]] = list(blind.items())
        for r, (_, _, maps) in enumerate(runs):
            for kind in kinds:
                named += [((r, kind, control), map) for control, map in maps.spans[i, kind].items()]
                named += [((r, kind, "other_word"), maps.spans[scope[j], kind][""]) for j in rivals[place]]
        named = [(key, map) for key, map in named if (key if key in blind else key[2]) in ("", *settings.controls)]
        table = measure_maps([map for _, map in named], target.boxes, batch.placement(row), metrics)
        found: dict[Any, list[int]] = {}
        for n, (key, _) in enumerate(named):
            found.setdefault(key, []).append(n)
        for r, (method, score, maps) in enumerate(runs):
            for kind in kinds:
                own = {key: at for key, at in found.items() if key in blind} | {
                    key[2]: at for key, at in found.items() if key[:2] == (r, kind)
                }
                columns = {
                    f"{metric}__{control}" if control else metric: fmean(values[n] for n in at)
                    for control, at in own.items()
                    for metric, values in table.items()
                }
                for control, numbers in _of(faithful, i, kind, r):
                    columns |= {f"{metric}__{control}" if control else metric: number for metric, number in numbers.items()}
                run = {"method": method, "score": score, "span": kind}
                yield about | run | maps.numbers[i, kind] | _drawn(maps.spans[i, kind][""]) | columns


def _of(faithful: Mapping[MapKey, Mapping[str, float]], i: int, kind: str, run: int) -> Iterator[tuple[str, Mapping[str, float]]]:
    """What was probed of a target's map by a run, and of the controls that no method makes: by the control's name."""
    for which, control in ((run, ""), (run, "other_word"), (None, "centre"), (None, "random")):
        if (numbers := faithful.get((i, kind, which, control))) is not None:
            yield control, numbers


def _noun_rows(batch: TextBatch, runs: Sequence[Run]) -> Iterator[Row]:
    """All nouns of own captions, with and without a box."""
    for i, (row, noun) in enumerate(batch.nouns):
        text, words = batch.texts[row], batch.words[row]
        about = {"image": batch.photos[text.photo].item.image, "caption": sentence(words)}
        said = {"word": words[noun.index].text, "head": noun.index, "in_human_caption": noun.said}
        for method, score, maps in runs:
            yield about | said | {"method": method, "score": score} | maps.nouns[i]


def _about(batch: TextBatch, i: int) -> Row:
    """What a target is, and which splits it belongs to."""
    row, target = batch.targets[i]
    text, words = batch.texts[row], batch.words[row]
    photo = batch.photos[text.photo]
    area = float(coverage(target.boxes, (1, 1), WHOLE))
    head = words[target.head].text
    said = photo.said
    return {
        "image": photo.item.image,
        "text": text.number,
        "caption": sentence(words),
        "question": text.question.question if text.question else None,
        "truth": text.question.answer if text.question else None,
        "right": bool(exact_accuracy(head, text.question.answer)) if text.question else None,
        "word": head,
        "phrase": sentence(words[target.start : target.stop]),
        "head": target.head,
        "start": target.start,
        "stop": target.stop,
        "thing": target.group,
        "type": target.type,
        "boxes": [list(box) for box in target.boxes],
        "area": area,
        "size": "< 5 %" if area < 0.05 else "< 15 %" if area < 0.15 else "more",
        "off_centre": off_centre(target.boxes),
        "in_human_caption": (head in said) if said else None,
        "frame": list(batch.placement(row).frame),
    }


def _drawn(map: Tensor) -> Row:
    """The map itself, divided by its largest magnitude: what the gallery draws."""
    top = float(map.abs().max())
    scaled = map / top if top > 0 else map
    return {"map": scaled.flatten().half().numpy(), "grid": list(map.shape), "empty": not bool((map > 0).any())}


# ---- what goes wrong ------------------------------------------------------------------------------------------------------


def _open(item: StudyPhoto, settings: Settings, shard: ShardTables) -> OpenedPhoto | None:
    try:
        return open_photo(item, settings)
    except Exception as error:
        if _of_the_machine(error):
            raise
        shard.errors.append(_error(item.image, "", error))
        return None


def _of_the_machine(error: Exception) -> bool:
    """Whether the next photo would fail alike: no memory, no disk."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or getattr(error, "errno", None) in FULL


def _error(image: str, model: str, error: Exception) -> Row:
    from ...results.report_folder import message

    return {"image": image, "model": model, "kind": type(error).__name__, "message": message(error)}


@contextmanager
def _untouched(model: TaskAdapter) -> Iterator[None]:
    """Nothing random inside, and the model's modes are afterwards what they were."""
    with torch.random.fork_rng(devices=[]), evaluating(model.module):
        yield
