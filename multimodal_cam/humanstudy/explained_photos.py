"""Explanations that a study shows, by photo and condition: read from saved folders, or made by models at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..batch.record_log import RecordLog
from ..core.files import MANIFEST
from ..core.json_object import read_object
from ..core.spans import WordError
from ..render.overlay import shrink
from ..results.explanation_data import ExplanationData
from ..results.io import read_explanation
from ..results.manifest import ADVICE
from ..results.photo_copy import ORIGINAL, fingerprint
from ..results.records import SpanExplanation

if TYPE_CHECKING:
    from ..adapters.contract import TaskAdapter

SIDE = 640  # pixels of a picture's longer side: two of them stand beside each other on a screen
LABELS = ("model", "method", "layer", "score")  # what tells conditions of one folder apart, the first that do
DETERMINERS = re.compile(r"^(an?|the|some|two|three|four|five|several|many|his|her|its|their)\s+")


@dataclass(frozen=True, eq=False)
class SourcedExplanation:
    """An explanation with its photo at display size.

    Attributes:
        photo: Fingerprint of the photo's pixels: equal for one photo under all conditions.
        names: What files may call it: the photo's name, the folder's name.
        condition: None where conditions are told apart by model and method.
    """

    explanation: ExplanationData
    photo: str
    names: frozenset[str]
    condition: str | None = None


@dataclass(frozen=True, eq=False)
class ExplainedThing:
    """A word, phrase or answer with its map, and the explanation that it is part of."""

    explanation: ExplanationData
    part: SpanExplanation


@dataclass(frozen=True, eq=False)
class ExplainedPhoto:
    """A photo, and what was explained of it under each condition."""

    photo: str
    names: frozenset[str]
    explanations: Mapping[str, tuple[ExplanationData, ...]]

    def said(self, condition: str) -> dict[str, ExplainedThing]:
        """Answers that were explained, and noun phrases of captions, by `bare` text; ambiguous and unknown ones are left out."""
        things = [ExplainedThing(e, part) for e in self.explanations[condition] for part in _said(e)]
        return _unique(things)

    def answers(self, condition: str) -> dict[str, ExplainedThing]:
        """The likeliest answers, the explained ones and others, by `bare` text."""
        return _unique([ExplainedThing(e, part) for e in self.explanations[condition] for part in e.answer_parts])

    def find(self, condition: str, name: str) -> ExplainedThing | None:
        """The answer, word or phrase called `name`; None where there is none with a map, or more than one."""
        for e in self.explanations[condition]:
            if not e.answers:
                try:
                    return ExplainedThing(e, e.part(e.find(name)))
                except WordError:
                    continue
        return self.answers(condition).get(bare(name))


def bare(text: str) -> str:
    """A phrase in lower case without its determiner: by this, phrases of several captions are the same."""
    return DETERMINERS.sub("", " ".join(text.lower().split()))


def saved_explanations(folders: Sequence[Path]) -> Iterator[SourcedExplanation]:
    """Yield all explanations below the folders. Each of several folders is a condition, named after it.

    Raises:
        ValueError: A folder holds none, or two have one name.
        BrokenFile: One of them is damaged.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise ValueError(f"two folders of one name ({', '.join(names)}): the names are the conditions, so rename one")
    for folder, name in zip(folders, names, strict=True):
        found = [p.parent for p in sorted(folder.rglob(MANIFEST)) if not _is_hidden(p.relative_to(folder))]
        if not found:
            raise ValueError(
                f"{folder} holds no explanations: expected folders that `caption`, `vqa`, `classify` or e.save(folder) wrote"
            )
        images = _image_names(found)
        for place in found:
            e = ExplanationData(**read_explanation(place))
            original = read_object(place / MANIFEST, ADVICE).values.get(ORIGINAL)
            photo = str(original["sha256"]) if original else fingerprint(e.image)
            known = frozenset({place.name, *images.get(place, ())})
            yield SourcedExplanation(shrink(e, SIDE), photo, known, name if len(folders) > 1 else None)


def made_explanations(
    models: Sequence[TaskAdapter], methods: Sequence[str | None], photos: Sequence[str], question: str | None
) -> Iterator[SourcedExplanation]:
    """Yield explanations of the photos by each model and method, all of the text that the first model says.

    A photo of which one of them fails is left out.
    """
    from .._explain import explain

    left: list[str] = list(photos)
    texts: list[str] | None = None
    for model in models:
        for method in methods:
            results = explain(model, left, text=texts, question=question, method=method, on_error="skip")
            good = [(path, e) for path, e in zip(left, results, strict=True) if isinstance(e, ExplanationData)]
            if not good:
                raise ValueError(f"none of the {len(left)} photos could be explained; the first: {results[0]!r}")
            left, texts = [path for path, _ in good], [e.text for _, e in good]
            for path, e in good:
                yield SourcedExplanation(shrink(e, SIDE), fingerprint(e.image), frozenset({Path(path).name}))


def by_photo(found: Iterable[SourcedExplanation]) -> tuple[tuple[str, ...], list[ExplainedPhoto]]:
    """Conditions, and the photos that were explained under every one of them; photos in the order of `found`.

    Raises ValueError where there are fewer than two conditions, or no photo that all of them have.
    """
    sources = list(found)
    labels = _labels([source.explanation for source in sources])
    photos: dict[str, dict[str, list[ExplanationData]]] = {}
    names: dict[str, set[str]] = {}
    for source, label in zip(sources, labels, strict=True):
        condition = source.condition or label
        photos.setdefault(source.photo, {}).setdefault(condition, []).append(source.explanation)
        names.setdefault(source.photo, set()).update(source.names)
    conditions = tuple(dict.fromkeys(source.condition or label for source, label in zip(sources, labels, strict=True)))
    if len(conditions) < 2:
        raise ValueError(
            f"expected explanations of two or more models or methods, got those of {', '.join(conditions) or 'none'} only"
        )
    whole = [
        ExplainedPhoto(photo, frozenset(names[photo]), {name: tuple(there[name]) for name in conditions})
        for photo, there in photos.items()
        if len(there) == len(conditions)
    ]
    if not whole:
        raise ValueError(f"no photo was explained under all of {', '.join(conditions)}: explain the same photos under each")
    return conditions, whole


def _labels(explanations: Sequence[ExplanationData]) -> list[str]:
    """A name for each explanation: as few of `LABELS` as tell all of them apart."""
    rows = [tuple(str(getattr(e, name)) for name in LABELS) for e in explanations]
    columns = [i for i in range(len(LABELS)) if len({row[i] for row in rows}) > 1]
    distinct = len(set(rows))
    chosen: list[int] = []
    for i in columns:
        if len({tuple(row[j] for j in chosen) for row in rows}) < distinct:
            chosen.append(i)
    return [" ".join(row[i] for i in chosen or (0, 1)) for row in rows]


def _said(e: ExplanationData) -> Iterator[SpanExplanation]:
    if e.answers:
        yield e.part(e.words[0])
        return
    for span in e.phrase_spans:
        try:
            yield e.part(span)
        except WordError:  # a method whose words do not add up, and phrases that were not asked for
            continue


def _unique(things: Sequence[ExplainedThing]) -> dict[str, ExplainedThing]:
    found: dict[str, list[ExplainedThing]] = {}
    for thing in things:
        if thing.part.known:
            found.setdefault(bare(thing.part.text), []).append(thing)
    return {name: same[0] for name, same in found.items() if len(same) == 1 or same[0].explanation.answers}


def _image_names(places: Sequence[Path]) -> dict[Path, set[str]]:
    """Names of the photos of explanations that a batch wrote, as its records say."""
    names: dict[Path, set[str]] = {}
    for parent in {place.parent for place in places}:
        log = RecordLog(parent)
        for record in log.records(log.done()):
            if "folder" in record:
                names.setdefault(parent / record["folder"], set()).add(Path(record["image"]).name)
    return names


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
