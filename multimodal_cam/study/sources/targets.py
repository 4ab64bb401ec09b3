"""Targets of a study: words with boxes, in captions of photos or in answers to questions about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Image

from ...adapters.contract import TaskAdapter
from ...adapters.inputs import PAD
from ...core.images import load_image
from ...core.spans import Span, parse_all, regroup
from ...data.readers.coco import CocoObject
from ...data.readers.flickr_entities import Phrase, Sentence, read_entities
from ...data.readers.question_record import Question
from ...data.readers.voc_annotation import Box
from ...models.vocabulary import split_words
from ..config import Settings
from .photo_list import StudyPhoto

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token
    from spacy.tokens import Span as DocSpan

NOUNS = ("NOUN", "PROPN")
LeftOut = Counter[tuple[str, str]]  # number of phrases that are no targets, by (image, reason)


@dataclass(frozen=True)
class OpenedPhoto:
    """An opened photo, with its captions, things and questions."""

    item: StudyPhoto
    image: Image
    sentences: tuple[Sentence, ...]
    things: tuple[CocoObject, ...]

    @property
    def said(self) -> set[str]:
        """All words of the photo's human captions."""
        words = {word for text in self.item.captions for word in split_words(text)}
        return words.union(*(sentence.words for sentence in self.sentences))


@dataclass(frozen=True)
class PhotoText:
    """Text of a row: caption or question `number` of photo `photo` in the batch."""

    photo: int
    number: int
    words: tuple[str, ...] = ()
    question: Question | None = None


@dataclass(frozen=True)
class WordTarget:
    """Words `start` to `stop` of a text, their noun at `head` and its boxes; targets of one `group` name the same thing."""

    start: int
    stop: int
    head: int
    group: str
    type: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class CaptionNoun:
    """Word `index` of a model's own caption, and whether a human caption contains it (None without human captions)."""

    index: int
    said: bool | None


def open_photo(item: StudyPhoto, settings: Settings) -> OpenedPhoto:
    """Open a photo and read its annotation. Raises ValueError or OSError if one is damaged or missing."""
    image = load_image(Path(settings.images) / item.image, raw=True)  # some of the models may read stored values
    if settings.entities:
        sentences = tuple(s for s in read_entities(Path(settings.entities), item.image) if s.words)
        return OpenedPhoto(item, image, sentences, _things(sentences) if settings.own_captions else ())
    texts = (tuple(split_words(text)) for text in item.captions)
    return OpenedPhoto(item, image, tuple(Sentence(words, ()) for words in texts if words), item.things)


def human_texts(photos: Sequence[OpenedPhoto], settings: Settings) -> list[PhotoText]:
    """The first `per_photo` human captions of each photo, cut after `max_words`."""
    return [
        PhotoText(i, number, sentence.words[: settings.max_words])
        for i, photo in enumerate(photos)
        for number, sentence in enumerate(photo.sentences[: settings.per_photo])
    ]


def parse_texts(texts: Sequence[Sequence[str]]) -> list[Doc]:
    """spaCy's parse of each text, in one stream."""
    return [doc for doc, _ in parse_all((words, None) for words in texts)]


def targets_of(
    photo: OpenedPhoto, text: PhotoText, words: Sequence[Span], doc: Doc, settings: Settings, left_out: LeftOut
) -> list[WordTarget]:
    """Phrases of a caption with boxes and a noun that the model knows; `left_out` counts the others by reason."""
    if photo.sentences and settings.entities and not settings.own_captions:
        found = _marked(photo.sentences[text.number].phrases, text, doc, photo.item.image, left_out)
    else:
        found = _aligned(photo.things, doc, photo.item.image, left_out)
    known = [target for target in found if words[target.head].known]
    left_out[photo.item.image, "head not in the vocabulary"] += len(found) - len(known)
    return known


def _marked(phrases: Sequence[Phrase], text: PhotoText, doc: Doc, image: str, left_out: LeftOut) -> list[WordTarget]:
    """Annotated phrases with their head nouns."""
    found = []
    for phrase in phrases:
        part = doc[phrase.start : phrase.stop]
        head = head_noun(part)
        if phrase.stop > len(text.words):
            left_out[image, "after the last word that fits"] += 1
        elif not phrase.boxes:
            left_out[image, "no box"] += 1
        elif head is None:
            left_out[image, "no noun"] += 1
        else:
            found.append(WordTarget(phrase.start, phrase.stop, head.i, phrase.chain, phrase.types[0], phrase.boxes))
    return found


def head_noun(phrase: DocSpan) -> Token | None:
    """spaCy's root of a phrase, or its last noun if the root is none; None for a phrase without nouns, such as an empty one."""
    nouns = [token for token in phrase if token.pos_ in NOUNS]
    if not nouns:
        return None
    return phrase.root if phrase.root.pos_ in NOUNS else nouns[-1]


def _aligned(things: Sequence[CocoObject], doc: Doc, image: str, left_out: LeftOut) -> list[WordTarget]:
    """Noun phrases whose head noun names a thing on the photo."""
    found = []
    for chunk in doc.noun_chunks:
        if chunk.root.pos_ not in NOUNS:
            continue
        own = [thing for thing in things if thing.names & _names(doc, chunk.root)]
        if own:
            boxes = tuple(dict.fromkeys(box for thing in own for box in thing.boxes))
            group = "+".join(sorted(thing.group for thing in own))
            found.append(WordTarget(chunk.start, chunk.end, chunk.root.i, group, own[0].type, boxes))
        else:
            left_out[image, "head noun names nothing with a box"] += 1
    return found


def _names(doc: Doc, head: Token) -> set[str]:
    """Names that a dataset may have for the head: the word, its lemma, and both after the preceding word (`traffic light`)."""
    single = {head.text.lower(), head.lemma_.lower()}
    before = doc[head.i - 1].text.lower() if head.i else ""
    return single | {f"{before} {name}" for name in single if before}


def nouns_of(photo: OpenedPhoto, words: Sequence[Span], doc: Doc) -> list[CaptionNoun]:
    """All nouns of a model's own caption that it knows. One that no human caption has, in whatever number (dog, dogs), may be a
    hallucination; another word for the same thing counts as one, too (CHAIR, Rohrbach et al., EMNLP 2018, has synonyms)."""
    human = [text for text in (*map(split_words, photo.item.captions), *(s.words for s in photo.sentences)) if text]
    said = {name for own in parse_texts(human) for token in own for name in (token.text.lower(), token.lemma_.lower())}
    nouns = [token for token in doc if token.pos_ in NOUNS and words[token.i].known]
    return [CaptionNoun(token.i, bool({token.text.lower(), token.lemma_.lower()} & said) if said else None) for token in nouns]


def _things(sentences: Sequence[Sentence]) -> tuple[CocoObject, ...]:
    """Things that the phrases of all captions of a photo name, with their boxes, by the lemma of the last noun."""
    chains: dict[str, tuple[set[str], Phrase]] = {}
    for doc, sentence in zip(parse_texts([s.words for s in sentences]), sentences, strict=True):
        for phrase in sentence.phrases:
            heads = [token for token in doc[phrase.start : phrase.stop] if token.pos_ in NOUNS]
            if phrase.boxes and heads:
                names, _ = chains.setdefault(phrase.chain, (set(), phrase))
                names.update({heads[-1].text.lower(), heads[-1].lemma_.lower()})
    return tuple(CocoObject(frozenset(names), p.boxes, p.types[0], chain) for chain, (names, p) in chains.items())


def questions_of(photos: Sequence[OpenedPhoto]) -> list[PhotoText]:
    """Questions about the photos of a batch."""
    return [
        PhotoText(i, n, question=question) for i, photo in enumerate(photos) for n, question in enumerate(photo.item.questions)
    ]


def answer_target(question: Question) -> WordTarget:
    """Target of an answer, one word long; questions with the same boxes form a group."""
    return WordTarget(0, 1, 0, repr(sorted(question.boxes)), question.type, question.boxes)


def without_padding(ids: Sequence[int]) -> list[int]:
    """Ids of a row without padding."""
    return [i for i in ids if i != PAD]


def words_of(model: TaskAdapter, ids: Sequence[Sequence[int]], texts: Sequence[PhotoText]) -> Iterator[list[Span]]:
    """Words of each row, for human captions split as in the annotation. Raises ValueError if the model reads other words."""
    for row, text in zip(ids, texts, strict=True):
        words = model.spans(without_padding(row), " ".join(text.words) or None)
        if text.words and len(words) != len(text.words):
            try:
                words = regroup(words, text.words)
            except ValueError as error:
                raise ValueError(f"{model.name} reads other words than the boxes have: {error}") from None
        yield words
