"""How much to doubt a word that a captioner says: a logistic regression of its signals, fitted on training photos.

    doubt = sigmoid(bias + sum over signals of coefficient * (signal - mean) / deviation)

It is the probability that no human caption of the photo would name the thing, were such nouns as common as the others (balanced
classes). `doubt.json` lies beside the weights and names their hash: it belongs to no others.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.json_object import read_object
from .word_signals import SIGNALS

DOUBT = "doubt.json"
FORMAT = 1
ADVICE = "fit again with `multimodal-cam study doubt --save`, or delete the file: nothing is then said of doubtful words"
log = logging.getLogger("multimodal_cam")


@dataclass(frozen=True)
class DoubtFit:
    """Means, deviations and coefficients of `SIGNALS`, the bias, and the vocabulary's `nouns`, which alone can be doubted."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    coefficients: tuple[float, ...]
    bias: float
    nouns: tuple[str, ...]

    def doubt(self, signals: Tensor) -> Tensor:
        """Doubt `(b, t)`, in 0..1, of signals `(b, t, 4)`, whether or not they are a noun's."""
        means, deviations, coefficients = (signals.new_tensor(x) for x in (self.means, self.deviations, self.coefficients))
        return torch.sigmoid(((signals - means) / deviations * coefficients).sum(dim=-1) + self.bias)


def write_doubt(folder: Path, fit: DoubtFit, weights: str, photos: int) -> Path:
    """Write `folder/doubt.json`: the fit, the sha256 of the weights, and on how many photos it was fitted."""
    path = folder / DOUBT
    entry = {"format": FORMAT, "weights": weights, "photos": photos, "signals": SIGNALS, **asdict(fit)}
    path.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
    return path


def read_doubt(folder: Path, weights: str) -> DoubtFit | None:
    """The fit in a model's folder, None without one. A fit of weights with another hash than `weights` is left out, and logged.

    Raises BrokenFile for a file that is no such fit.
    """
    path = folder / DOUBT
    if not path.is_file():
        return None
    entry = read_object(path, ADVICE)
    if entry.integer("format") != FORMAT:
        raise entry.broken("format", f"the format {FORMAT}")
    if entry.texts("signals") != SIGNALS:
        raise entry.broken("signals", f"the list {', '.join(SIGNALS)}")
    if entry.text("weights") != weights:
        log.warning("%s belongs to other weights, so that no word is called doubtful: %s", path, ADVICE)
        return None
    means, deviations, coefficients = (entry.numbers(name, len(SIGNALS)) for name in ("means", "deviations", "coefficients"))
    if min(deviations) <= 0:
        raise entry.broken("deviations", f"{len(SIGNALS)} numbers above 0")
    return DoubtFit(means, deviations, coefficients, entry.number("bias"), entry.texts("nouns"))
