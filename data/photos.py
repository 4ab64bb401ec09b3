"""Photos and what their captions tell, parsed in one stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..core.spans import parse_all
from ..models.vocabulary import split_words
from .entities import Box, Sentence, read_entities
from .grammar import Thing, Told, told
from .questions import Broken


@dataclass(frozen=True)
class Photo:
    """`told[i]`: what caption `i` of the photo `image` tells; `sentences[i]`: where its phrases are, if that is known."""

    image: str
    told: tuple[Told, ...]
    sentences: tuple[Sentence, ...] = ()

    def boxes(self, number: int, *things: Thing) -> tuple[Box, ...]:
        """The boxes of the phrases of caption `number` that hold `things`."""
        phrases = self.sentences[number].phrases if self.sentences else ()
        found = (phrase.boxes for thing in things for phrase in phrases if phrase.start <= thing.at < phrase.stop)
        return tuple(dict.fromkeys(box for boxes in found for box in boxes))

    @cached_property
    def words(self) -> frozenset[str]:
        """All words of its captions."""
        return frozenset(word for caption in self.told for word in split_words(caption.text))


class Tally:
    """What was left out: `found[reason]` is how often, and what was said of the first."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}

    def of(self, reason: str) -> Broken:
        """Takes what is said of each thing that is left out for `reason`."""

        def count(said: str) -> None:
            times, first = self.found.get(reason, (0, said))
            self.found[reason] = times + 1, first

        return count


def read_photos(
    names: Iterable[str], captions: Mapping[str, Sequence[str]], entities: Path | None, tally: Tally
) -> Iterator[Photo]:
    """The photos `names` in order; those without captions, or with `entities` without sound annotation, are told to `tally`."""
    found: list[Told] = []
    for doc, (name, texts, sentences, words) in parse_all(_to_parse(names, captions, entities, tally)):
        found.append(told(doc, words, texts[len(found)]))
        if len(found) == len(texts):
            yield Photo(name, tuple(found), sentences)
            found = []


_Source = tuple[str, Sequence[str], tuple[Sentence, ...], list[int]]


def _to_parse(
    names: Iterable[str], captions: Mapping[str, Sequence[str]], entities: Path | None, tally: Tally
) -> Iterator[tuple[list[str], _Source]]:
    """The tokens of every caption, with its photo, all captions of that, their phrases and which word each token belongs to."""
    for name in names:
        try:
            texts, sentences = _captions_of(name, captions, entities)
        except FileNotFoundError as error:
            tally.of("photos without annotation")(str(error))
        except (ValueError, OSError) as error:
            tally.of("photos with a broken annotation")(str(error))
        else:
            if not texts:
                tally.of("photos without captions")(name)
            for text in texts:
                tokens, words = tokenise(text)
                yield tokens, (name, texts, sentences, words)


def _captions_of(
    name: str, captions: Mapping[str, Sequence[str]], entities: Path | None
) -> tuple[Sequence[str], tuple[Sentence, ...]]:
    """The captions of a photo; with `entities` those of the annotation, as `captions` write them (with commas) where they do."""
    texts = captions.get(name, [])
    if entities is None:
        return [text for text in texts if split_words(text)], ()
    sentences = tuple(sentence for sentence in read_entities(entities, name) if sentence.words)
    written = {tuple(split_words(text)): text for text in texts}
    return [written.get(sentence.words, sentence.text) for sentence in sentences], sentences


def tokenise(text: str) -> tuple[list[str], list[int]]:
    """The tokens of a caption for the parser (words in lower case, commas, 's, a full stop), and to which of `split_words`' words
    each belongs, a comma to the one before."""
    tokens: list[str] = []
    words: list[int] = []
    number = -1
    for piece in text.replace(";", ",").replace(",", " , ").split():
        for word in [","] if piece == "," else split_words(piece):
            number += word != ","
            parts = [word.removesuffix("'s"), "'s"] if word.endswith("'s") else [word]
            tokens += parts
            words += [max(number, 0)] * len(parts)
    return [*tokens, "."], [*words, max(number, 0)]
