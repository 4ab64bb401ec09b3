"""How good a captioner is on photos with human captions: what it says (BLEU, CIDEr) and where its words' maps
peak (pointing).

Both take any model that `explain` takes, go through the photos in batches, and report how far they are to
`progress(done, of)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import torch
from torch import Tensor

from .._explain import explain
from ..adapters.contract import TaskAdapter
from ..adapters.inputs import PAD
from ..core.cut_model import tap_layer
from ..core.hooks import evaluating
from ..core.images import load_image
from ..core.spans import Span, join, parse, sentence
from ..data.entities import Box, Phrase, Sentence, read_entities
from ..metrics.caption_scores import caption_scores
from ..metrics.localization import off_centre, others, points_at, points_at_centre
from ..models.vocabulary import split_words
from ..results.explanation import Explanation

Progress = Callable[[int, int], None]
Thing = TypeVar("Thing")
NOUNS = ("NOUN", "PROPN")


def silent(done: int, total: int) -> None:
    """No progress shown."""


# ---- what it says ------------------------------------------------------------------------------------------


def evaluate_captions(
    model: TaskAdapter,
    images: Path,
    references: Mapping[str, Sequence[str]],
    *,
    batch_size: int = 32,
    progress: Progress = silent,
    **generation: int | float,
) -> dict[str, float]:
    """`BLEU-1` to `BLEU-4` and `CIDEr` of the model's captions for the photos `references` names in the
    folder `images`.

    Both sides are split by our tokeniser (lower case, no punctuation). `generation` goes to the decoder
    (`beam=3`).
    """
    said = say(model, images, list(references), batch_size=batch_size, progress=progress, **generation)
    wanted = {name: [_tokenised(text) for text in texts] for name, texts in references.items()}
    return caption_scores({name: _tokenised(text) for name, text in said.items()}, wanted)


@torch.no_grad()
def say(
    model: TaskAdapter,
    images: Path,
    names: Sequence[str],
    *,
    batch_size: int = 32,
    progress: Progress = silent,
    **generation: int | float,
) -> dict[str, str]:
    """Photo name -> the caption that the model generates; no maps are made."""
    said: dict[str, str] = {}
    with evaluating(model.module):
        for batch in batches(names, batch_size):
            inputs = model.preprocess([load_image(images / name) for name in batch])
            rows = model.generate(inputs, **generation).tolist()
            for name, row in zip(batch, rows, strict=True):
                said[name] = sentence(model.spans([i for i in row if i != PAD]))
            progress(len(said), len(names))
    return said


def _tokenised(text: str) -> str:
    return " ".join(split_words(text))


# ---- where its words' maps peak ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Localisation:
    """The pointing game over `k` targets: `hits[row]` `(k,)` is 1 for a hit, 0 for a miss, between for a mean
    over maps.

    NaN stands where a control has no map. `off` `(k,)` marks targets whose boxes miss the image's centre;
    `left_out` counts those that are no targets, by reason; `kinds`, where there are some, say what each target is.
    """

    hits: Mapping[str, Tensor]
    off: Tensor
    left_out: Mapping[str, int]
    kinds: tuple[str, ...] = ()

    def pointing(self, row: str, *, off_centre: bool = False, kind: str | None = None) -> float:
        """The share of hits of `row`; over the targets that miss the centre only, with `off_centre`, or of one `kind`."""
        return float(self.hits[row][self.chosen(off_centre, kind)].nanmean())

    def above(self, row: str, control: str, *, off_centre: bool = False, kind: str | None = None) -> float:
        """By how much `row` hits more often than `control`, on the targets that have both."""
        return float((self.hits[row] - self.hits[control])[self.chosen(off_centre, kind)].nanmean())

    def chosen(self, off_centre: bool = False, kind: str | None = None) -> Tensor:
        """Which targets `(k,)`, bool."""
        of_kind = torch.tensor([kind in (None, own) for own in self.kinds]) if self.kinds else torch.ones_like(self.off)
        return (self.off & of_kind) if off_centre else of_kind


@dataclass(frozen=True)
class Target:
    """A phrase with boxes: words `start` to `stop` of its caption, the noun at `head`."""

    start: int
    stop: int
    head: int
    chain: str
    boxes: tuple[Box, ...]


def evaluate_localisation(
    model: TaskAdapter,
    images: Path,
    entities: Path,
    names: Sequence[str],
    *,
    methods: Sequence[str] = ("grad_cam", "evidence"),
    max_words: int = 20,
    batch_size: int = 32,
    progress: Progress = silent,
) -> Localisation:
    """The pointing game on the first human caption of each photo, boxes from Flickr30k Entities in the folder
    `entities`.

    Targets are the phrases with boxes whose head is a noun that the model knows; head: spaCy's root of the
    phrase, or its last noun when the root is none. Captions are cut after `max_words`. Rows, for each of
    `methods` (linear ones): `<method> word`, the map of the head; `<method> phrase`, of the whole phrase,
    where words that the model does not know add nothing; `<method> other word` and `other phrase`, the mean
    over the caption's other targets' maps, those of the same chain left out; then `mean activation` and
    `image centre`, which know no word.
    """
    hits: dict[str, list[float]] = {}
    left_out: Counter[str] = Counter()
    off: list[bool] = []
    for done, batch in enumerate(batches(names, batch_size)):
        paths = [images / name for name in batch]
        sentences = [_cut(read_entities(entities, name)[0], max_words, left_out) for name in batch]
        texts = [sentence.text for sentence in sentences]
        ids = model.tokenize(texts, "unk")
        words = [_words(model, row, s) for row, s in zip(ids.tolist(), sentences, strict=True)]
        targets = [list(_targets(s.phrases, w, left_out)) for s, w in zip(sentences, words, strict=True)]
        off += [off_centre(target.boxes) for own in targets for target in own]
        for method in methods:
            found = explain(model, paths, text=texts, method=method, unknown="unk", batch_size=batch_size)
            for e, own in zip(found, targets, strict=True):
                extend(hits, _word_hits(e, own, method))
        extend(hits, _control_hits(model, paths, ids, targets))
        progress(min(len(names), (done + 1) * batch_size), len(names))
    return Localisation({row: torch.tensor(found) for row, found in hits.items()}, torch.tensor(off), left_out)


def _cut(sentence: Sentence, length: int, left_out: Counter[str]) -> Sentence:
    kept = tuple(phrase for phrase in sentence.phrases if phrase.stop <= length)
    left_out["after the last word that fits"] += len(sentence.phrases) - len(kept)
    return Sentence(sentence.words[:length], kept)


def _words(model: TaskAdapter, row: Sequence[int], sentence: Sentence) -> list[Span]:
    words = model.spans([i for i in row if i != PAD], sentence.text)
    if len(words) != len(sentence.words):
        raise ValueError(f"{model.name} splits {sentence.text!r} into {len(words)} words, the boxes need its own")
    return words


def _targets(phrases: Sequence[Phrase], words: Sequence[Span], left_out: Counter[str]) -> Iterator[Target]:
    doc = parse(words)
    for phrase in phrases:
        part = doc[phrase.start : phrase.stop]
        nouns = [token.i for token in part if token.pos_ in NOUNS]
        if not phrase.boxes:
            left_out["no box"] += 1
        elif not nouns:
            left_out["no noun"] += 1
        else:
            head = part.root.i if part.root.i in nouns else nouns[-1]
            if words[head].known:
                yield Target(phrase.start, phrase.stop, head, phrase.chain, phrase.boxes)
            else:
                left_out["head not in the vocabulary"] += 1


def _word_hits(e: Explanation, targets: Sequence[Target], method: str) -> dict[str, list[float]]:
    frame, rivals = e.placement.frame, others([target.chain for target in targets])
    hits: dict[str, list[float]] = {}
    spans = {
        "word": [e.words[target.head] for target in targets],
        "phrase": [join(e.words[target.start : target.stop]) for target in targets],
    }
    for kind, own in spans.items():
        maps = [e.map(span) for span in own]
        table = [[float(points_at(map, target.boxes, frame)) for map in maps] for target in targets]
        hits[f"{method} {kind}"] = [row[i] for i, row in enumerate(table)]
        hits[f"{method} other {kind}"] = [_mean([row[j] for j in js]) for row, js in zip(table, rivals, strict=True)]
    return hits


def _control_hits(
    model: TaskAdapter, paths: Sequence[Path], ids: Tensor, targets: Sequence[Sequence[Target]]
) -> dict[str, list[float]]:
    inputs = model.preprocess([load_image(path) for path in paths])
    with torch.no_grad(), evaluating(model.module), tap_layer(model, inputs) as tap:
        model.logits(inputs, ids)
    maps = tap.activations.float().mean(dim=1).cpu()
    framed = zip(maps, inputs.placements, targets, strict=True)
    return {
        "mean activation": [float(points_at(map, t.boxes, place.frame)) for map, place, own in framed for t in own],
        "image centre": [float(points_at_centre(target.boxes)) for own in targets for target in own],
    }


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else float("nan")


def extend(hits: dict[str, list[float]], more: Mapping[str, list[float]]) -> None:
    for row, values in more.items():
        hits.setdefault(row, []).extend(values)


def batches(things: Sequence[Thing], size: int) -> Iterator[Sequence[Thing]]:
    return (things[start : start + size] for start in range(0, len(things), size))
