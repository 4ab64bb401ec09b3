"""Photos with the facts of their captions, parsed in one stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...core.spans import parse_all
from ...models.vocabulary import split_words
from ..readers.flickr_entities import Sentence, read_entities
from ..readers.question_record import OnSkip
from ..readers.voc_annotation import Box
from .caption_grammar import CaptionFacts, Thing, caption_facts


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo with the facts of its captions.

    Attributes:
        image: File name of the photo.
        facts: Facts of each caption.
        sentences: Phrases of each caption with their boxes; empty where no boxes are known.
    """

    image: str
    facts: tuple[CaptionFacts, ...]
    sentences: tuple[Sentence, ...] = ()

    def boxes(self, number: int, *things: Thing) -> tuple[Box, ...]:
        """Boxes of those phrases of caption `number` that contain `things`."""
        phrases = self.sentences[number].phrases if self.sentences else ()
        found = (phrase.boxes for thing in things for phrase in phrases if phrase.start <= thing.at < phrase.stop)
        return tuple(dict.fromkeys(box for boxes in found for box in boxes))

    @cached_property
    def words(self) -> frozenset[str]:
        """All words of the captions."""
        return frozenset(word for caption in self.facts for word in split_words(caption.text))


class SkipCounter:
    """Number of records skipped, by reason: `found[reason]` is that number and the message about the first."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}

    def of(self, reason: str) -> OnSkip:
        """Callback that counts one record skipped for `reason`."""

        def count(said: str) -> None:
            times, first = self.found.get(reason, (0, said))
            self.found[reason] = times + 1, first

        return count


def read_photos(
    names: Iterable[str], captions: Mapping[str, Sequence[str]], entities: Path | None, tally: SkipCounter
) -> Iterator[CaptionedPhoto]:
    """Yield the photos `names` in order; `tally` counts those skipped for want of captions or of a well-formed annotation."""
    found: list[CaptionFacts] = []
    for doc, (name, texts, sentences, words) in parse_all(_to_parse(names, captions, entities, tally)):
        found.append(caption_facts(doc, words, texts[len(found)]))
        if len(found) == len(texts):
            yield CaptionedPhoto(name, tuple(found), sentences)
            found = []


_Source = tuple[str, Sequence[str], tuple[Sentence, ...], list[int]]


def _to_parse(
    names: Iterable[str], captions: Mapping[str, Sequence[str]], entities: Path | None, tally: SkipCounter
) -> Iterator[tuple[list[str], _Source]]:
    """Yield the tokens of every caption with their source: photo, its captions, their phrases, and the word of each token."""
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
    """Captions of a photo; with `entities` those of the annotation, spelled as in `captions` (with commas) where both agree."""
    texts = captions.get(name, [])
    if entities is None:
        return [text for text in texts if split_words(text)], ()
    sentences = tuple(sentence for sentence in read_entities(entities, name) if sentence.words)
    written = {tuple(split_words(text)): text for text in texts}
    return [written.get(sentence.words, sentence.text) for sentence in sentences], sentences


def tokenise(text: str) -> tuple[list[str], list[int]]:
    """Tokens of a caption for the parser (lower-case words, commas, 's, a full stop), and for each the index of its word in
    `split_words`; a comma belongs to the word before it."""
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
