"""Section of the report on the agreement of maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..config import RUN
from ..measure.run_agreement import RunAgreement, RunKey
from .document import Block, DataTable, Heading, Paragraph, difference_cell, value_cell

PROTOCOL = (
    "Spearman's rank correlation of signed maps of the same word, mean and 95 % interval over photos; 1 is the same order of "
    "cells, 0 is none. Beside it: with the map of another word of the same text, which says how much of the agreement is the "
    "word's and how much the photo's."
)


def agreement_blocks(agreement: RunAgreement, seed: int) -> Iterator[Block]:
    """Yield tables of correlations: with attention, between methods and scores, between models, between words."""
    yield Heading(2, "Do the maps agree?")
    yield Paragraph(PROTOCOL)
    pairs = list(agreement.same)
    attention = [pair for pair in pairs if "attention" in (pair[0][1], pair[1][1]) and pair[0][1] != pair[1][1]]
    models = [pair for pair in pairs if pair[0][0] != pair[1][0]]
    rest = [pair for pair in pairs if pair not in attention and pair not in models]
    yield from _table("With the model's own attention", agreement, attention, seed)
    yield from _table("Between methods and scores of a model", agreement, rest, seed)
    yield from _table("Between models", agreement, models, seed)
    yield Heading(3, "Between words: do the maps differ at all?")
    yield Paragraph(
        "Of pairs of words that name different things: in one caption, or in the answers to questions about one photo. 1: the "
        "words have the same map. The mean over a text's pairs, then over texts."
    )
    rows = [
        [*run, value_cell(found.interval(seed)), str(len(found.numbers))]
        for run, found in agreement.words.items()
        if found.numbers
    ]
    yield DataTable([*RUN, "between words", "texts"], rows)


def _table(title: str, agreement: RunAgreement, pairs: Sequence[tuple[RunKey, RunKey]], seed: int) -> Iterator[Block]:
    rows = []
    for pair in pairs:
        same, other = agreement.same[pair], agreement.other[pair]
        if same.numbers:
            cells = (
                value_cell(same.interval(seed)),
                value_cell(other.interval(seed)),
                difference_cell(same.interval(seed, minus=other)),
            )
            rows.append([*map(" ".join, pair), *cells, str(len(same.numbers))])
    if rows:
        yield Heading(3, title)
        yield DataTable(["", "", "same word", "another word", "difference", "words"], rows)
