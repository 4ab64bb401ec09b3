"""Training of the bundled captioners: `nic`, and its twin with attention, `sat`.

Recipe: maximum likelihood over all captions (AdamW, warm-up, cosine schedule), dropout, horizontal flips (except where a caption
says left or right), crops of the cached grid, and an exponential moving average of the weights (Polyak and Juditsky, 1992) as
the result. The cells of `nic` are trained before (`cell_training`) and stay; those of `sat` learn along, with an auxiliary loss
that predicts the words of all captions of a photo from a mixture over its cells (`cell_loss`), through a linear layer that is
discarded after training.

Frozen parts run once and their outputs are cached: the encoder's trunk, or the whole encoder if it comes from another captioner.
A tail that is not frozen is fine-tuned at a lower rate after a few epochs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.images import load_image
from ..bundle import load_model, model_folder, save_model, specs_of_task
from ..captioner import Captioner
from ..encoder import load_imagenet, to_pixels
from ..nic.network import NIC
from ..vocabulary import Vocabulary
from .caption_corpus import CaptionCorpus, batches, content_words
from .caption_losses import caption_loss, cell_loss, word_shares
from .cell_training import CellOptions, train_cells
from .familiarity_training import fit_after_training
from .feature_cache import Progress, cache_features
from .training_folder import in_training_folder
from .training_run import (
    TrainingRun,
    discard_checkpoint,
    is_finished,
    mean_cell,
    missing_photos,
    refuse_empty,
    refuse_wordless,
    round_to_half,
)

NETWORKS = specs_of_task("captioning")  # what `train captioner --network` takes
MEASURED = 500  # training photos that the mean cell is estimated from
CELLS = "cells"  # folder of the checkpoint of their training
CAPTIONS_KEPT = 32  # captions of so many dev photos, saved for tests of the weights file


@dataclass(frozen=True)
class TrainingOptions:
    epochs: int = 6
    batch_size: int = 20  # photos, each with all its captions
    learning_rate: float = 1e-3
    tail_rate: float = 1e-4  # learning rate of the encoder's tail
    tail_from: int = 2  # epochs before the tail is unfrozen
    weight_decay: float = 0.01
    dropout: float = 0.3
    cells: CellOptions = field(default_factory=CellOptions)  # of nic, before all else
    cell_weight: float = 0.5  # weight of `cell_loss`, without cells that are trained before
    average: float = 0.998  # decay of the moving average, a step
    min_count: int = 5
    width: int = 512
    train_size: int = 320  # input pixels
    train_stride: int = 32
    size: int = 448  # of the saved network, as the two that follow; the weights are the same
    stride: int = 16
    smoothing: int = 4  # of networks that read the mean cell alone
    encoder: str = "tf_efficientnet_lite0"  # name in timm, with ImageNet weights, or a captioner whose encoder is reused
    network: str = "nic"
    attention_weight: float = 1.0  # weight of the doubly stochastic penalty (Xu et al.), with attention only
    seed: int = 0


@torch.no_grad()
def dev_loss(model: Captioner, tail: nn.Module, corpus: CaptionCorpus, device: torch.device) -> float:
    """Loss in nats a token, end token included, on photos that are neither mirrored nor cropped."""
    model.eval()
    total, tokens = 0.0, 0
    for start in range(0, len(corpus.captions), 64):
        features = torch.from_numpy(corpus.features[start : start + 64, 0]).float().to(device)
        cells = model.project(tail(features))
        loss, count, _ = caption_loss(model, cells, corpus.captions[start : start + 64], rows=160)
        total, tokens = total + loss.item(), tokens + count
    return total / tokens


def train_epoch(
    run: TrainingRun,
    tail: nn.Module,
    words: tuple[nn.Linear, Tensor],
    train: CaptionCorpus,
    number: int,
    progress: Progress,
) -> float:
    """Train for one epoch; returns the mean loss in nats a token.

    Args:
        tail: The encoder behind the cached features.
        words: Layer through which cells predict words, and the mask of words that they predict; nic needs neither.
    """
    model, options = run.model, run.options
    assert isinstance(model, Captioner)
    (bag, content), aligned = words, isinstance(model, NIC)
    model.train()
    model.encoder.eval()  # ImageNet's batch statistics stay
    tuned = number >= options.tail_from and not aligned
    freeze(model, tail, tuned)
    total, tokens, steps = 0.0, 0, math.ceil(len(train.captions) / options.batch_size)
    for step, batch in enumerate(batches(train, options.batch_size, (options.seed, number))):
        captions = [train.captions[i] for i in batch.chosen]
        with torch.set_grad_enabled(tuned):
            encoded = tail(batch.features.to(content.device))
        cells = model.project(encoded)
        loss, count, penalty = caption_loss(model, cells, captions)
        objective = loss / count + options.attention_weight * penalty
        if options.cell_weight and not aligned:
            logits = bag(cells.flatten(2).transpose(1, 2))
            objective = objective + options.cell_weight * cell_loss(logits, word_shares(captions, content), content)
        run.step(objective)
        total, tokens = total + run.finite_loss(loss), tokens + count
        progress(f"epoch {number + 1}", step + 1, steps, f"train {total / tokens:.3f}")
    return total / tokens


def freeze(model: Captioner, tail: nn.Module, tuned: bool) -> None:
    """Freeze what is not trained: the encoder but for a `tuned` tail, and cells and word vectors that were trained before."""
    model.encoder.requires_grad_(False)
    tail.requires_grad_(tuned)
    if isinstance(model, NIC):
        model.project.requires_grad_(False)
        model.readout.word_vectors.requires_grad_(False)


def parameter_groups(model: Captioner, tail: nn.Module, bag: nn.Linear, options: TrainingOptions) -> list[dict[str, Any]]:
    """Optimiser groups: the head at the full learning rate, the encoder's tail at its own; the trunk stays frozen.

    Factors of words, which are near 10, move at ten times the rate of weights, which are near 0.
    """
    factors = [model.readout.scale] if isinstance(model, NIC) else []
    apart = {id(p) for p in (*model.encoder.parameters(), *factors)}
    head = [p for p in model.parameters() if id(p) not in apart]
    return [
        {"params": [*head, *bag.parameters()], "lr": options.learning_rate},
        {"params": list(tail.parameters()), "lr": options.tail_rate},
        {"params": factors, "lr": 10 * options.learning_rate, "weight_decay": 0.0},
    ]


@in_training_folder
def train_captioner(
    *,
    images: Path,
    captions: dict[str, list[str]],
    train: Sequence[str],
    dev: Sequence[str],
    out: Path,
    options: TrainingOptions,
    device: torch.device,
    progress: Progress,
) -> Path:
    """Train a captioner and write `out/model.safetensors`, `out/config.json` and `out/log.jsonl`; returns `out`.

    With 50 training photos or more, `out/familiarity.safetensors` tells photos like them from others.

    An interrupted run resumes after its last finished epoch when it is called again; a finished one is left as it is.

    Raises ValueError if a split is empty, no word is frequent enough, or the loss diverges, BlockingIOError while another process
    trains into `out`, and OSError for a disk without room.
    """
    missing_photos(images, [*train, *dev])
    refuse_empty(train=train, dev=dev)
    vocabulary = Vocabulary.from_captions((c for n in train for c in captions[n]), options.min_count)
    refuse_wordless(vocabulary, options.min_count)
    if not is_finished(out, options):
        _train(images, captions, (train, dev), out, vocabulary, options, device, progress)
    fit_after_training(out, images, train, dev, device, progress)
    discard_checkpoint(out / CELLS)
    discard_checkpoint(out)
    return out


def _train(
    images: Path,
    captions: dict[str, list[str]],
    splits: tuple[Sequence[str], Sequence[str]],
    out: Path,
    vocabulary: Vocabulary,
    options: TrainingOptions,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train and write into `out`, which this process holds; `splits` are the photos for training and dev."""
    train, dev = splits
    torch.manual_seed(options.seed)
    content = content_words(vocabulary).to(device)
    lender = load_model(model_folder(options.encoder)).network if model_folder(options.encoder).is_dir() else None
    model = new_network(options, lender, len(vocabulary)).to(device)
    config = model.config
    frozen = model.encoder.trunk if lender is None else model.encoder
    tail = model.encoder.tail if lender is None else nn.Identity()

    def corpus(names: Sequence[str], views: int) -> CaptionCorpus:
        paths, texts = [images / name for name in names], [captions[n] for n in names]
        features = cache_features(frozen, paths, out / "cache", size=config.image_size, views=views, progress=progress)
        return CaptionCorpus.build(features, texts, vocabulary, config.max_words, phrases=isinstance(model, NIC))

    train_corpus, dev_corpus = corpus(train, 2), corpus(dev, 1)
    bag = nn.Linear(options.width, len(vocabulary)).to(device)
    history: dict[str, Any] = {}
    if isinstance(model, NIC):
        history["cells_history"] = train_cells(
            model, tail, (train_corpus, dev_corpus), content, options.cells, out / CELLS, progress
        )
    steps = math.ceil(len(train) / options.batch_size)
    run = TrainingRun(model, options, steps, parameter_groups(model, tail, bag, options), {"bag": bag})
    averaged = type(model)(config).to(device)
    averaged_tail = averaged.encoder.tail if lender is None else tail

    def measure() -> dict[str, float]:
        averaged.load_state_dict(run.average)
        return {"dev": dev_loss(averaged, averaged_tail, dev_corpus, device)}

    run.train(out, lambda number: train_epoch(run, tail, (bag, content), train_corpus, number, progress), measure, progress)
    final = averaged_network(run, model, [images / name for name in train[:: math.ceil(len(train) / MEASURED)]])
    said = {name: caption(final, images / name, vocabulary) for name in dev[:CAPTIONS_KEPT]}
    (out / "captions.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
    trained = asdict(options) | history | {"history": run.history}
    save_model(final, vocabulary, out, training=trained, encoder=None if lender is None else options.encoder)


def new_network(options: TrainingOptions, lender: Captioner | None, words: int) -> Captioner:
    """Untrained network with the lender's encoder or, without a lender, the one with ImageNet weights that timm names."""
    spec = NETWORKS[options.network]
    timm_name = lender.config.encoder if lender is not None else options.encoder
    own_options = {name: getattr(options, name) for name in spec.config_options}
    config = spec.config(
        words,
        timm_name,
        options.train_stride,
        options.train_size,
        width=options.width,
        dropout=options.dropout,
        unit_cells=options.network == "nic",
        **own_options,
    )
    model = spec.network(config)
    assert isinstance(model, Captioner)
    if lender is None:
        load_imagenet(model.encoder, timm_name)
    else:
        model.encoder.load_state_dict(lender.encoder.state_dict())
    return model


def averaged_network(run: TrainingRun, model: Captioner, photos: Sequence[Path]) -> Captioner:
    """Network to save: averaged weights, stride and image size of inference, and the mean cell of `photos` as the baseline."""
    options = run.options
    smoothing = options.smoothing if model.reads_mean_cell else 0
    config = replace(model.config, output_stride=options.stride, image_size=options.size, smoothing=smoothing)
    final = type(model)(config).to(model.baseline.device).eval()
    final.load_state_dict(run.average)
    final.baseline.copy_(mean_cell(cells_of(final, photos)))
    round_to_half(final)
    return final


@torch.no_grad()
def cells_of(model: Captioner, photos: Sequence[Path]) -> Iterator[Tensor]:
    """Yield the projected cells of photos, in batches `(b, d, h, w)`."""
    for start in range(0, len(photos), 25):
        batch = [load_image(photo) for photo in photos[start : start + 25]]
        yield model.cells(to_pixels(batch, model.config.image_size).to(model.baseline))


def caption(model: Captioner, photo: Path, vocabulary: Vocabulary) -> str:
    """The network's caption of a photo."""
    with torch.no_grad():
        ids, _ = model.generate(next(cells_of(model, [photo])))
    return " ".join(vocabulary.decode(ids[0].tolist()))
