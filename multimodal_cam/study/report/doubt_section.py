"""Report on doubt: which of a captioner's own numbers tell hallucinated nouns from others, and whether its probabilities hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...metrics.calibration import (
    auroc_interval,
    auroc_within_interval,
    expected_calibration_error,
    reliability_curve,
)
from ...metrics.logistic import LogisticFit, fit_logistic
from ..measure.word_doubt import BIN_WIDTH, BINS, ON_OTHERS, NounTable, TokenTable
from ..runner.doubt_run import DoubtStudy
from .document import Block, DataTable, Heading, Paragraph, Picture, html, markdown, value_cell
from .plots import COLOURS

Floats = NDArray[np.float64]
TITLE = "Which words does the model doubt?"
SINGLE = {  # number: sign with which it speaks for a hallucination, and what it is
    "position": (1, "position alone: how many words come before"),
    "log_prob": (-1, "log-probability"),
    "reliance": (-1, "reliance: against no photo"),
    ON_OTHERS: (-1, "reliance against 32 other photos"),
    "confidence": (-1, "internal confidence: the largest probability of the word over cells"),
}
ABOUT = (
    "Nouns of the model's own captions. Hallucinated: no human caption of the photo names it, in whatever number or by a synonym "
    "of a small table. AUROC: how often a hallucinated noun gets the higher number than another one; within position bins "
    f"({BIN_WIDTH} words each, the last bin takes the rest) only nouns that stand equally late are compared. Intervals: 95 %, "
    "bootstrap over photos. The logistic regression is balanced (both kinds weigh half) and fitted on training photos only."
)
TOKENS = (
    "Words of each photo's first human caption, teacher-forced, unknown ones left out: the probability of the likeliest word "
    "against how often it is the word that stands there. ECE: the mean distance of the two, over 15 bins of equal width (Guo et "
    "al., ICML 2017)."
)


def write_doubt_report(folder: Path, study: DoubtStudy, seed: int) -> Path:
    """Write `doubt.md` and `doubt.html` with plots into `folder`; returns the page's path."""
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    blocks = [Heading(1, TITLE), *_blocks(folder, study, seed)]
    (folder / "doubt.md").write_text(markdown(blocks, folder), encoding="utf-8")
    page = folder / "doubt.html"
    page.write_text(html(blocks, TITLE), encoding="utf-8")
    return page


def _blocks(folder: Path, study: DoubtStudy, seed: int) -> Iterator[Block]:
    train, dev = study.train.nouns, study.dev.nouns
    yield Paragraph(ABOUT)
    yield DataTable(["photos", "nouns", "hallucinated"], [_counts("fitted on", train), _counts("measured on", dev)])
    yield Heading(2, "Hallucinated nouns")
    yield DataTable(["number", "AUROC", "within position bins"], list(_rows(study, seed)))
    yield DataTable(["the logistic's signal, standardised", "weight"], [*zip(study.fit.names, _weights(study.fit), strict=True)])
    yield Heading(3, "By position")
    yield DataTable(["words", "nouns", "hallucinated", "AUROC of the logistic"], list(_by_position(dev, study.fit, seed)))
    common = Counter(noun.lemma for noun in dev.nouns if noun.hallucinated).most_common(20)
    yield Paragraph("Most often hallucinated: " + ", ".join(f"{lemma} ({count})" for lemma, count in common) + ".")
    yield Heading(2, "Are the probabilities right?")
    yield Paragraph(TOKENS)
    tokens = study.dev.tokens
    error = expected_calibration_error(tokens.probabilities, tokens.right)
    means = f"mean probability {tokens.probabilities.mean():.3f}, right {tokens.right.mean():.3f}"
    yield Paragraph(f"{len(tokens.right)} words: ECE {error:.3f}; {means}.")
    yield Picture(
        _curve(tokens, folder / "plots" / "calibration.png"), "Share of right words by the probability that they got", wide=True
    )


def _counts(what: str, table: NounTable) -> list[str]:
    photos = len(set(table.images.tolist()))
    return [f"{what} {photos}", str(len(table.nouns)), f"{table.hallucinated.mean():.3f}"]


def _rows(study: DoubtStudy, seed: int) -> Iterator[list[str]]:
    train, dev = study.train.nouns, study.dev.nouns
    for name, (sign, text) in SINGLE.items():
        yield [text, *_areas(dev, sign * dev.numbers[name], seed)]
    for names in ((*study.fit.names[:-1], ON_OTHERS, study.fit.names[-1]), study.fit.names):
        fit = fit_logistic(train.columns(names), train.hallucinated, names)
        yield [f"logistic of {', '.join(names)}", *_areas(dev, fit.log_odds(dev.columns(names)), seed)]


def _areas(table: NounTable, scores: Floats, seed: int) -> tuple[str, str]:
    own = scores, table.hallucinated
    overall = auroc_interval(*own, table.images, seed=seed)
    return value_cell(overall), value_cell(auroc_within_interval(*own, table.position_bins, table.images, seed=seed))


def _weights(fit: LogisticFit) -> list[str]:
    return [f"{weight:+.2f}" for weight in fit.coefficients]


def _by_position(table: NounTable, fit: LogisticFit, seed: int) -> Iterator[list[str]]:
    scores, bins = fit.log_odds(table.columns(fit.names)), table.position_bins
    for i in range(BINS):
        own = bins == i
        true = table.hallucinated[own]
        if own.any():
            last = f"{i * BIN_WIDTH + 1} to {(i + 1) * BIN_WIDTH}" if i < BINS - 1 else f"{i * BIN_WIDTH + 1} and on"
            both = true.any() and not true.all()
            area = value_cell(auroc_interval(scores[own], true, table.images[own], seed=seed)) if both else "-"
            yield [last, str(len(true)), f"{true.mean():.3f}", area]


def _curve(tokens: TokenTable, path: Path) -> Path:
    """Draw the reliability curve of the likeliest words, in bins of equal size, beside the diagonal."""
    bins = reliability_curve(tokens.probabilities, tokens.right, 15)
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="#a8a29c", linewidth=1)
    axis.plot([b.score for b in bins], [b.rate for b in bins], "o-", color=COLOURS[0], markersize=4)
    axis.set(xlabel="probability of the likeliest word", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path, dpi=110)
    return path
