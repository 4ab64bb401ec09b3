"""`study doubt`: which nouns of a captioner's own captions are hallucinated, and how well its own numbers tell.

The fit is made on training photos alone; what is reported is measured on photos that the network has not seen.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...adapters.bundled import NICAdapter
from ...adapters.load import load
from ...evaluation.caption_nouns import human_nouns
from ...metrics.logistic import LogisticFit, fit_logistic
from ...models.bundle import model_folder
from ...models.doubt_fit import DoubtFit, write_doubt
from ...models.word_signals import SIGNALS
from ..measure.word_doubt import NounTable, Progress, SplitDoubt, measure_split

OTHERS = 32  # photos that stand for "another photo"


@dataclass(frozen=True)
class DoubtSource:
    """Photos of `doubt_study`: their folder, their captions by name, and the names to fit on and to measure on."""

    images: Path
    captions: Mapping[str, Sequence[str]]
    train: Sequence[str]
    dev: Sequence[str]
    seed: int = 0


@dataclass(frozen=True)
class DoubtStudy:
    """What was found: both splits, the fit on the first, and what `load` takes of it."""

    model: str
    train: SplitDoubt
    dev: SplitDoubt
    fit: LogisticFit
    doubt: DoubtFit


def doubt_study(name: str, source: DoubtSource, *, device: str = "auto", progress: Progress = lambda _: None) -> DoubtStudy:
    """Measure both splits and fit doubt on `train`.

    Raises ValueError for a model without internal confidence, too few photos, and a photo in both splits.
    """
    model = load(name, device=device)
    if not isinstance(model, NICAdapter):
        raise ValueError(
            f"{name}: doubt is read from cells that give a distribution over words, which nic and networks like it have"
        )
    if set(source.train) & set(source.dev):
        raise ValueError("a photo is in both splits: fit on photos that are not measured")
    order = random.Random(source.seed).sample(list(source.train), len(source.train))
    others, train = order[:OTHERS], order[OTHERS:]
    if not train:
        raise ValueError(
            f"expected more than {OTHERS} photos to fit on, got {len(order)}: the first {OTHERS} stand for other photos"
        )
    splits = []
    for names in (train, source.dev):
        captions = {photo: source.captions[photo] for photo in names}
        human = human_nouns(captions)
        splits.append((measure_split(model, source.images, captions, human, others, progress), human))
    (fitted_on, human), (dev, _) = splits
    fit = fit_table(fitted_on.nouns)
    nouns = tuple(word for word in model.vocabulary.words if word in human.usual)
    return DoubtStudy(name, fitted_on, dev, fit, DoubtFit(fit.means, fit.deviations, fit.coefficients, fit.bias, nouns))


def fit_table(table: NounTable) -> LogisticFit:
    """Fit hallucinated nouns by `SIGNALS`."""
    return fit_logistic(table.columns(SIGNALS), table.hallucinated, SIGNALS)


def save_doubt(study: DoubtStudy) -> Path:
    """Write the fit beside the model's weights, as `doubt.json`, where `load` finds it; returns its path."""
    model = load(study.model, device="cpu")
    photos = len(set(study.train.nouns.images.tolist()))
    return write_doubt(model_folder(study.model), study.doubt, model.provenance["weights"], photos)
