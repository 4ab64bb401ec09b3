"""Signals of the nouns that a captioner says of photos, and whether people name the things: what doubt is fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...adapters.bundled import NICAdapter
from ...core.call_scope import evaluation_mode
from ...core.images import load_image
from ...evaluation.caption_nouns import HumanNouns, JudgedNoun, judge_nouns
from ...models.vocabulary import UNK, split_words
from ...models.word_signals import SIGNALS, confidence, log_probs_on_others, own_log_probs, signals

ON_OTHERS = "reliance_on_others"
NUMBERS = (*SIGNALS, ON_OTHERS)
BIN_WIDTH = 3  # words in a position bin; the last bin takes the rest
BINS = 4
BATCH = 16

Floats = NDArray[np.float64]
Progress = Callable[[int], Any]


@dataclass(frozen=True)
class NounTable:
    """Nouns of own captions, and the `numbers` of each: the columns `NUMBERS`."""

    nouns: tuple[JudgedNoun, ...]
    numbers: Mapping[str, Floats]

    @property
    def images(self) -> NDArray[np.str_]:
        return np.array([noun.image for noun in self.nouns])

    @property
    def hallucinated(self) -> NDArray[np.bool_]:
        return np.array([noun.hallucinated for noun in self.nouns], dtype=bool)

    @property
    def position_bins(self) -> NDArray[np.intp]:
        """Bin of each noun: words 1 to 3, 4 to 6, 7 to 9, and all others."""
        positions = np.array([noun.index for noun in self.nouns], dtype=np.intp)
        return np.minimum(positions // BIN_WIDTH, BINS - 1)

    def columns(self, names: Sequence[str]) -> Floats:
        """The numbers `(n, columns)` of those names."""
        return np.stack([self.numbers[name] for name in names], axis=1)


@dataclass(frozen=True)
class TokenTable:
    """Tokens of human captions, teacher-forced: the probability of each place's likeliest word, and whether it stands there."""

    images: NDArray[np.str_]
    probabilities: Floats
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class SplitDoubt:
    """What was measured on the photos of a split; `tokens` are those of each photo's first human caption."""

    nouns: NounTable
    tokens: TokenTable


def measure_split(
    model: NICAdapter,
    images: Path,
    captions: Mapping[str, Sequence[str]],
    human: HumanNouns,
    others: Sequence[str],
    progress: Progress = lambda _: None,
) -> SplitDoubt:
    """The model's own captions of the photos of `captions`, their nouns judged by those, and its likeliest words in the first.

    `others` names the photos that stand for another photo: none of those that are measured.
    """
    said: dict[str, list[str]] = {}
    numbers: dict[str, dict[str, Floats]] = {}
    likeliest: list[tuple[str, float, bool]] = []
    with evaluation_mode(model.module), torch.no_grad():
        contexts = torch.cat([model.network.context(cells) for _, cells in _cells(model, images, others)])
        for names, cells in _cells(model, images, list(captions)):
            for name, ids, found in own_captions(model, cells, names, contexts):
                said[name], numbers[name] = model.tokens(ids), found
            likeliest += likeliest_words(model, cells, names, [_first_text(captions[name]) for name in names])
            progress(len(names))
    nouns = tuple(judge_nouns(said, human))
    table = NounTable(nouns, {n: np.array([numbers[noun.image][n][noun.index] for noun in nouns]) for n in NUMBERS})
    photos, probabilities, right = zip(*likeliest, strict=True)
    return SplitDoubt(table, TokenTable(np.array(photos), np.array(probabilities), np.array(right)))


def own_captions(
    model: NICAdapter, cells: Tensor, names: Sequence[str], contexts: Tensor
) -> Iterator[tuple[str, list[int], dict[str, Floats]]]:
    """Name, ids and `NUMBERS` of each word of the captions that the model gives the photos of these cells."""
    network = model.network
    ids, _ = network.generate(cells)
    blank = network.baseline.view(1, -1, 1, 1).expand_as(cells)
    log_probs = own_log_probs(network, network.context(cells), ids)
    reliance = log_probs - own_log_probs(network, network.context(blank), ids)
    confident = confidence(network, cells, ids)
    if confident is None:
        raise ValueError(f"{model.name}: its cells give no distribution over words (merge is off): it has no internal confidence")
    on_others = log_probs - log_probs_on_others(network, contexts, ids)
    table = torch.cat([signals(log_probs, reliance, confident), on_others[..., None]], dim=-1).double().cpu().numpy()
    for name, row, own in zip(names, ids.tolist(), table, strict=True):
        yield name, [i for i in row if i >= 0], {number: own[:, k] for k, number in enumerate(NUMBERS)}


def likeliest_words(
    model: NICAdapter, cells: Tensor, names: Sequence[str], texts: Sequence[str]
) -> Iterator[tuple[str, float, bool]]:
    """Name, probability of the likeliest word and whether it is right, for each word of the texts that the model knows."""
    ids = model.tokenize(texts, "unk")
    best = model.network.decode(cells, ids.clamp(min=0)).softmax(dim=-1).max(dim=-1)
    for name, row, probabilities, words in zip(names, ids.tolist(), best.values.tolist(), best.indices.tolist(), strict=True):
        yield from ((name, p, word == i) for i, p, word in zip(row, probabilities, words, strict=True) if i >= 0 and i != UNK)


def _first_text(captions: Sequence[str]) -> str:
    """The first caption that has a word."""
    return next((text for text in captions if split_words(text)), captions[0])


def _cells(model: NICAdapter, images: Path, names: Sequence[str]) -> Iterator[tuple[Sequence[str], Tensor]]:
    """Cells `(b, d, h, w)` of the photos, batch by batch."""
    for start in range(0, len(names), BATCH):
        part = names[start : start + BATCH]
        yield part, model.layer_activations(model.image_inputs([load_image(images / name) for name in part]))
