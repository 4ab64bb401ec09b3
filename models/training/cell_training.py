"""First stage of training `nic`: its cells and word vectors learn from each other what is where; the LSTM comes afterwards."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..nic.network import NIC
from .caption_corpus import CaptionCorpus, batches
from .caption_losses import bag_loss, word_shares
from .feature_cache import Progress
from .set_loss import Phrases, PhraseWeights, set_loss
from .training_run import TrainingRun


@dataclass(frozen=True)
class CellOptions:
    """Recipe of the cells; the encoder in front of them stays as it is."""

    epochs: int = 7
    batch_size: int = 128  # photos, each with one of its captions: the others of a batch are what it is told apart from
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    bag_weight: float = 0.3  # of the words of all captions of a photo, read from its mean cell
    average: float = 0.98  # decay of the moving average, a step
    seed: int = 0


class CellLosses(nn.Module):
    """Parts that are thrown away after training."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.weights = PhraseWeights(words)
        self.bias = nn.Parameter(torch.zeros(words))  # how frequent words are, whatever is on the photo


def train_cells(
    model: NIC,
    tail: nn.Module,
    corpora: tuple[CaptionCorpus, CaptionCorpus],
    content: Tensor,
    options: CellOptions,
    out: Path,
    progress: Progress,
) -> list[dict[str, float]]:
    """Train `model.project` and the word vectors of its readout; all else stays as it is. Returns the history.

    An interrupted run resumes from `out`, after its last finished epoch.

    Args:
        tail: The encoder behind the cached features.
        corpora: Photos to train on, and those that the loss is monitored on.
        content: Mask `(v,)` of the words that name things.

    Raises:
        ValueError: If no training caption holds a noun phrase of known words.
    """
    train, dev = corpora
    if not any(train.phrases):
        raise ValueError("no training caption holds a noun phrase of known words: lower --min-count, or check the captions")
    out.mkdir(exist_ok=True)
    losses = CellLosses(len(content)).to(content.device)
    trained = [*model.project.parameters(), model.readout.word_vectors, model.readout.scale, *losses.parameters()]
    steps = max(1, len(train.captions) // options.batch_size)
    run = TrainingRun(model, options, steps, [{"params": trained, "lr": options.learning_rate}], {"losses": losses})

    def epoch(number: int) -> float:
        model.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        total = 0.0
        for step, (features, captions, chosen) in enumerate(_captioned(train, options, number)):
            with torch.no_grad():
                encoded = tail(features.to(content.device))
            cells = model.project(encoded)
            loss = set_loss(cells, captions, model.readout.word_vectors, losses.weights)
            words = model.readout.from_image(cells.mean(dim=(2, 3))) + losses.bias
            shares = word_shares([train.captions[i] for i in chosen], content)
            run.step(loss + options.bag_weight * bag_loss(words, shares))
            total += run.finite_loss(loss)
            progress(f"cells, epoch {number + 1}", step + 1, steps, f"train {total / (step + 1):.3f}")
        return total / (step + 1)

    def measure() -> dict[str, float]:
        averaged = copy.deepcopy(model)
        averaged.load_state_dict(run.average)
        return {"dev": _dev_loss(averaged, tail, dev, losses, options.batch_size)}

    run.train(out, epoch, measure, lambda stage, *rest: progress(f"cells, {stage}", *rest))
    model.load_state_dict(run.average)
    model.readout.scale.data.masked_fill_(~content, 0.0)  # of words without a phrase of their own, vectors are what they began as
    model.requires_grad_(True)
    return run.history


def _captioned(corpus: CaptionCorpus, options: CellOptions, epoch: int) -> Iterator[tuple[Tensor, Sequence[Phrases], list[int]]]:
    """Features of a full batch of photos, the phrases of one caption of each, and which photos these are."""
    rng = np.random.default_rng((options.seed, epoch, 1))
    for batch in batches(corpus, options.batch_size, (options.seed, epoch)):
        kept = [k for k, i in enumerate(batch.chosen) if corpus.phrases[i]]
        if len(batch.chosen) < min(options.batch_size, len(corpus.captions)) or not kept:
            continue
        chosen = [batch.chosen[k] for k in kept]
        captions = [corpus.phrases[i][int(rng.integers(len(corpus.phrases[i])))] for i in chosen]
        yield batch.features[kept], captions, chosen


@torch.no_grad()
def _dev_loss(model: NIC, tail: nn.Module, corpus: CaptionCorpus, losses: CellLosses, size: int) -> float:
    """Mean loss of whole photos with their first caption, in batches as in training."""
    model.eval()
    device, found = model.baseline.device, []
    for start in range(0, len(corpus.captions), size):
        chosen = [i for i in range(start, min(start + size, len(corpus.captions))) if corpus.phrases[i]]
        if chosen:
            cells = model.project(tail(torch.from_numpy(corpus.features[chosen, 0]).float().to(device)))
            captions = [corpus.phrases[i][0] for i in chosen]
            found.append(float(set_loss(cells, captions, model.readout.word_vectors, losses.weights)))
    return sum(found) / len(found) if found else 0.0
