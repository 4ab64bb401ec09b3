"""How often a word is among the names of the channels that speak most for it, beside random channels and other words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import comb, nan
from pathlib import Path
from statistics import fmean
from typing import Any

from ..._channel_request import check_names
from ..._explain import explain
from ..._explanation import Explanation
from ...adapters.contract import TaskAdapter
from ...core.channel_names import DETECTOR, ChannelNames
from ...data.readers.flickr_entities import read_entities
from ...metrics.intervals import Interval, mean_intervals
from ..sources.targets import NOUNS, parse_texts

TOP = 5


@dataclass(frozen=True)
class NameAgreement:
    """What names of channels are worth.

    Attributes:
        channels: Number of channels of the layer.
        detectors: Number of those whose name passes an intersection over union of .04.
        names: Number of different names that they have.
        nouns: Number of nouns of the captions that the model knows.
        nameable: Number of those that are the name of a detector; the three rates are over these.
        own: Share of them that are among the names of the five channels that speak most for them.
        random: The same of five channels at random: its expectation.
        other_word: The same of the channels of another noun of the same caption: the mean over those.
    """

    channels: int
    detectors: int
    names: int
    nouns: int
    nameable: int
    own: Interval
    random: Interval
    other_word: Interval

    def record(self) -> dict[str, Any]:
        """As JSON: an interval as its value and two ends."""
        said = asdict(self)
        for name in ("own", "random", "other_word"):
            said[name] = [None if x != x else round(x, 4) for x in (said[name]["value"], said[name]["low"], said[name]["high"])]
        return said


def name_agreement(
    model: TaskAdapter,
    names: ChannelNames,
    photos: Sequence[Path],
    entities: Path,
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> NameAgreement:
    """Explain the nouns of the first human caption of each photo, and compare them with the names of their channels.

    Raises ValueError if the names are of other weights, or none of the nouns has a name.
    """
    check_names(model, names)
    detectors, rows, nouns, channels = names.detectors, [], 0, 0
    for photo in photos:
        words = next((s.words for s in read_entities(entities, photo.name) if s.words), ())
        if words:
            e = explain(model, photo, text=" ".join(words), unknown="unk", channels=True)
            assert e.token_channels is not None  # asked for
            channels = e.token_channels.shape[1]
            own = _named_nouns(e, detectors)
            nouns += len(own)
            rows += [(photo.name, *rates) for rates in _rates(own, detectors, channels)]
        progress(1)
    if not rows:
        raise ValueError(f"none of the {nouns} nouns of {len(photos)} captions is the name of one of {len(detectors)} detectors")
    images, *columns = zip(*rows, strict=True)
    found = mean_intervals(dict(zip(("own", "random", "other_word"), columns, strict=True)), images, seed=seed)
    return NameAgreement(channels, len(detectors), len({*detectors.values()}), nouns, len(rows), **found)


def _named_nouns(e: Explanation, detectors: dict[int, str]) -> list[tuple[str, set[str]]]:
    """The lemma of each noun that the model knows, and the names of the channels that speak most for it."""
    (doc,) = parse_texts([[word.text for word in e.words]])
    nouns = [token for token in doc if token.pos_ in NOUNS and e.words[token.i].known]
    found = []
    for token in nouns:
        strongest = [one.channel for one in e.channels(token.i, top=TOP) if one.score > 0]
        found.append((token.lemma_.lower(), {detectors[i] for i in strongest if i in detectors}))
    return found


def _rates(nouns: Sequence[tuple[str, set[str]]], detectors: dict[int, str], channels: int) -> Iterator[tuple[float, ...]]:
    """Of each noun that is some detector's name: whether its own channels have it, random ones, those of other nouns."""
    for lemma, own in nouns:
        same = sum(name == lemma for name in detectors.values())
        if same:
            others = [float(lemma in names) for other, names in nouns if other != lemma]
            random = 1 - comb(channels - same, TOP) / comb(channels, TOP) if channels >= TOP else 1.0
            yield float(lemma in own), random, fmean(others) if others else nan


def agreement_text(found: NameAgreement) -> str:
    """The numbers in three sentences."""
    rates = {name: f"{x.value:.3f} [{x.low:.3f}, {x.high:.3f}]" for name, x in vars(found).items() if isinstance(x, Interval)}
    return (
        f"{found.detectors} of {found.channels} channels pass an IoU of {DETECTOR}, with {found.names} names. "
        f"{found.nameable} of {found.nouns} nouns are the name of one. Of these {rates['own']} are among the names of their "
        f"{TOP} strongest channels, {rates['random']} among those of {TOP} random channels, {rates['other_word']} among those of "
        "another noun's."
    )
