"""Cached features of photos with the ids of their captions and of these captions' noun phrases, in shuffled, cropped batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...core.spans import parse_all
from ...extras import needed_by
from ..vocabulary import EOS, SPECIALS, Vocabulary, split_words

Ids = list[int]
MIN_CROP = 0.75  # of the grid's side


@dataclass(frozen=True)
class CaptionCorpus:
    """Photos of one split.

    Attributes:
        features: `(photos, views, c, h, w)` float16; view 1 is mirrored.
        captions: The captions of each photo with the end token.
        mirrors: Whether a photo's captions still hold for the mirrored photo.
        phrases: The noun phrases of each caption of each photo that holds one; no entries where they are not wanted.
    """

    features: np.ndarray
    captions: list[list[Ids]]
    mirrors: list[bool]
    phrases: list[list[list[Ids]]]

    @classmethod
    def build(
        cls, features: np.ndarray, texts: Sequence[list[str]], vocabulary: Vocabulary, longest: int, *, phrases: bool
    ) -> CaptionCorpus:
        words = [[split_words(text)[:longest] for text in photo] for photo in texts]
        captions = [[[*vocabulary.encode(caption), EOS] for caption in photo] for photo in words]
        mirrors = [not any({"left", "right"} & set(caption) for caption in photo) for photo in words]
        return cls(features, captions, mirrors, noun_phrases(words, vocabulary) if phrases else [])


@dataclass(frozen=True)
class CaptionBatch:
    """Features `(b, c, h, w)` of the photos `chosen`."""

    features: Tensor
    chosen: list[int]


def batches(corpus: CaptionCorpus, size: int, seed: tuple[int, int]) -> Iterator[CaptionBatch]:
    """Yield shuffled, mirrored and cropped photos, each once; deterministic for a seed and an epoch."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(corpus.captions))
    for start in range(0, len(order), size):
        chosen = order[start : start + size].tolist()
        views = [int(corpus.mirrors[i] and rng.random() < 0.5) for i in chosen]
        features = torch.from_numpy(np.stack([corpus.features[i, v] for i, v in zip(chosen, views, strict=True)]))
        side = features.shape[-1]
        window = side if rng.random() < 0.5 else int(rng.integers(round(MIN_CROP * side), side + 1))
        top, left = rng.integers(side - window + 1, size=2)
        yield CaptionBatch(features[..., top : top + window, left : left + window].float(), chosen)


def noun_phrases(captions: Sequence[Sequence[Sequence[str]]], vocabulary: Vocabulary) -> list[list[list[Ids]]]:
    """The noun phrases of each caption that has one, photo by photo, without stop words and unknown words."""
    content = content_words(vocabulary).tolist()
    known = {word: i for i, word in enumerate(vocabulary.words) if content[i]}
    found: list[list[list[Ids]]] = [[] for _ in captions]
    for doc, photo in parse_all((words, i) for i, texts in enumerate(captions) for words in texts):
        phrases = [[known[token.text] for token in chunk if token.text in known] for chunk in doc.noun_chunks]
        if any(phrases):
            found[photo].append([phrase for phrase in phrases if phrase])
    return found


def content_words(vocabulary: Vocabulary) -> Tensor:
    """Mask `(v,)` of the words that may name something on a photo: all but spaCy's stop words."""
    with needed_by("training a captioner", "spacy", extra="train"):
        import spacy

    silent = {*SPECIALS, *spacy.blank("en").Defaults.stop_words}
    return torch.tensor([word not in silent for word in vocabulary.words])
