"""Reader for Flickr30k Entities (Plummer et al., ICCV 2015): the boxes of the phrases of captions.

Layout of the dataset: `Sentences/<id>.txt` holds a photo's captions, one a line, phrases marked
`[/EN#<chain>/<type> words]`; `Annotations/<id>.xml` the boxes of each chain. `<id>` is the part of the
photo's name before `_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.json_object import read_utf8
from ...models.vocabulary import split_words
from .voc_annotation import Box, read_objects

_PHRASE = re.compile(r"\[/EN#(?P<chain>\d+)(?P<types>(?:/\w+)+)\s(?P<words>[^\[\]]*)\]")


@dataclass(frozen=True)
class Phrase:
    """The words `start` to `stop` (exclusive) of a sentence, and their boxes on the photo.

    Phrases of one `chain` refer to the same things in all captions of the photo. `boxes` are `(x0, y0, x1, y1)` in fractions of
    the photo's width and height (pixels in the XML, divided by its `<size>`); empty for phrases without a place (a scene, chain
    0 "not visual") and for things that nobody annotated.
    """

    start: int
    stop: int
    chain: str
    types: tuple[str, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Sentence:
    """One caption: its `words` as the bundled captioners split them, and its phrases in order."""

    words: tuple[str, ...]
    phrases: tuple[Phrase, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read_entities(folder: Path, image: str) -> tuple[Sentence, ...]:
    """Captions of the photo `image` with their phrases and boxes, in the order of the dataset.

    Raises FileNotFoundError when the photo has no annotation in `folder`, ValueError with the
    file and the line (or the missing element) when the annotation is malformed.
    """
    photo = Path(image).stem.split("_", 1)[0]
    sentences, annotations = folder / "Sentences" / f"{photo}.txt", folder / "Annotations" / f"{photo}.xml"
    for path in (sentences, annotations):
        if not path.is_file():
            raise FileNotFoundError(f"no Flickr30k Entities annotation for {image}: {path} is missing")
    boxes = _read_boxes(annotations)
    lines = read_utf8(sentences).splitlines()
    return tuple(
        _read_sentence(line, boxes, f"{sentences}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()
    )


def _read_sentence(line: str, boxes: dict[str, tuple[Box, ...]], where: str) -> Sentence:
    words: list[str] = []
    phrases: list[Phrase] = []
    for plain, phrase in _pieces(line):
        if "[/EN#" in plain:
            raise ValueError(f"{where}: expected phrases as '[/EN#<chain>/<type> words]', got {plain.strip()!r}")
        words += split_words(plain)
        if phrase is None or not split_words(phrase["words"]):
            continue
        start, chain = len(words), phrase["chain"]
        words += split_words(phrase["words"])
        types = tuple(phrase["types"].strip("/").split("/"))
        phrases.append(Phrase(start, len(words), chain, types, boxes.get(chain, ())))
    return Sentence(tuple(words), tuple(phrases))


def _pieces(line: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield the text before each marked phrase together with that phrase, then the remaining text with None."""
    end = 0
    for phrase in _PHRASE.finditer(line):
        yield line[end : phrase.start()], phrase
        end = phrase.end()
    yield line[end:], None


def _read_boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    boxes: dict[str, list[Box]] = {}
    for chains, drawn in read_objects(path):
        for chain in chains:
            boxes.setdefault(chain, []).extend(drawn)
    return {chain: tuple(drawn) for chain, drawn in boxes.items()}
