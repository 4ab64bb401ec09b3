"""Training of the bundled captioners: `nic`, and its twin with attention, `sat`.

Recipe: maximum likelihood over all captions (AdamW, warm-up, cosine schedule), dropout, horizontal flips (except where a caption
says left or right), crops of the cached grid, fine-tuning of the encoder's tail at a lower rate after a few epochs, and an
exponential moving average of the weights (Polyak and Juditsky, 1992) as the result. Auxiliary losses predict the words of all
captions of a photo, from a mixture over its cells (`cell_loss`) or from the mean cell (`bag_loss`). They read cells through
`merge` where the network has it, else through a linear layer that is discarded after training.

Frozen parts run once and their outputs are cached: the encoder's trunk, or the whole encoder if it comes from another captioner.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.images import load_image
from ...extras import needed_by
from ..bundle import load_model, model_folder, save_model, specs_of_task
from ..captioner import Captioner
from ..encoder import load_imagenet, to_pixels
from ..vocabulary import EOS, SPECIALS, Vocabulary, split_words
from .caption_losses import bag_loss, caption_loss, cell_loss, word_shares
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
CAPTIONS_KEPT = 32  # captions of so many dev photos, saved for tests of the weights file


@dataclass(frozen=True)
class TrainingOptions:
    epochs: int = 11
    batch_size: int = 20  # photos, each with all its captions
    learning_rate: float = 1e-3
    tail_rate: float = 1e-4  # learning rate of the encoder's tail
    tail_from: int = 2  # epochs before the tail is unfrozen
    weight_decay: float = 0.01
    dropout: float = 0.3
    cell_weight: float = 0.5  # weight of `cell_loss`
    bag_weight: float = 0.0  # weight of `bag_loss`
    merge: bool = True  # whether nic's image vector also enters before the readout
    average: float = 0.998  # decay of the moving average, a step
    min_count: int = 5
    width: int = 512
    train_stride: int = 32
    stride: int = 16  # of the saved network; the weights are the same
    size: int = 320  # input pixels of the saved network; training uses 224
    encoder: str = "tf_efficientnet_lite0"  # name in timm, with ImageNet weights, or a captioner whose encoder is reused
    network: str = "nic"
    attention_weight: float = 1.0  # weight of the doubly stochastic penalty (Xu et al.), with attention only
    seed: int = 0


@dataclass(frozen=True)
class CaptionCorpus:
    """Cached trunk features of the photos of one split, and the ids of their captions with the end token."""

    features: np.ndarray  # (photos, views, c, h, w) float16; view 1 is mirrored
    captions: list[list[list[int]]]
    mirrors: list[bool]  # whether the captions still hold for the mirrored photo

    @classmethod
    def build(cls, features: np.ndarray, texts: Sequence[list[str]], vocabulary: Vocabulary, longest: int) -> CaptionCorpus:
        words = [[split_words(text)[:longest] for text in photo] for photo in texts]
        captions = [[[*vocabulary.encode(caption), EOS] for caption in photo] for photo in words]
        mirrors = [not any({"left", "right"} & set(caption) for caption in photo) for photo in words]
        return cls(features, captions, mirrors)


def batches(corpus: CaptionCorpus, options: TrainingOptions, epoch: int) -> Iterator[tuple[Tensor, list[list[list[int]]]]]:
    """Yield shuffled, mirrored and cropped features `(b, c, h, w)` with captions; deterministic for a seed and an epoch."""
    rng = np.random.default_rng((options.seed, epoch))
    order = rng.permutation(len(corpus.captions))
    for start in range(0, len(order), options.batch_size):
        chosen = order[start : start + options.batch_size]
        views = [int(corpus.mirrors[i] and rng.random() < 0.5) for i in chosen]
        features = torch.from_numpy(np.stack([corpus.features[i, v] for i, v in zip(chosen, views, strict=True)]))
        side = features.shape[-1]
        window = side if rng.random() < 0.5 else int(rng.integers(round(0.75 * side), side + 1))
        top, left = rng.integers(side - window + 1, size=2)
        yield features[..., top : top + window, left : left + window].float(), [corpus.captions[i] for i in chosen]


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
    bag: nn.Linear,
    content: Tensor,
    train: CaptionCorpus,
    number: int,
    device: torch.device,
    progress: Progress,
) -> float:
    """Train for one epoch; returns the mean loss in nats a token. `tail`: the encoder behind the cached features."""
    model, options = run.model, run.options
    assert isinstance(model, Captioner)
    model.train()
    model.encoder.eval()  # ImageNet's batch statistics stay
    tuned = number >= options.tail_from
    model.encoder.requires_grad_(False)
    tail.requires_grad_(tuned)
    total, tokens, steps = 0.0, 0, math.ceil(len(train.captions) / options.batch_size)
    for step, (features, captions) in enumerate(batches(train, options, number)):
        with torch.set_grad_enabled(tuned):
            encoded = tail(features.to(device))
        cells = model.project(encoded)
        loss, count, penalty = caption_loss(model, cells, captions)
        objective = loss / count + options.attention_weight * penalty
        if options.bag_weight:
            words = torch.arange(len(content), device=device) >= len(SPECIALS)
            objective = objective + options.bag_weight * bag_loss(bag(cells.mean(dim=(2, 3))), word_shares(captions, words))
        if options.cell_weight:
            logits = model.cell_words(cells)
            if logits is None:
                logits = bag(cells.flatten(2).transpose(1, 2))
            objective = objective + options.cell_weight * cell_loss(logits, word_shares(captions, content), content)
        run.step(objective)
        total, tokens = total + run.finite_loss(loss), tokens + count
        progress(f"epoch {number + 1}", step + 1, steps, f"train {total / tokens:.3f}")
    return total / tokens


def parameter_groups(model: Captioner, tail: nn.Module, bag: nn.Linear, options: TrainingOptions) -> list[dict[str, Any]]:
    """Optimiser groups: the head at the full learning rate, the encoder's tail at its own; the trunk stays frozen."""
    encoder = {id(p) for p in model.encoder.parameters()}
    head = [p for p in model.parameters() if id(p) not in encoder]
    return [
        {"params": [*head, *bag.parameters()], "lr": options.learning_rate},
        {"params": list(tail.parameters()), "lr": options.tail_rate},
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
        paths = [images / name for name in names]
        features = cache_features(frozen, paths, out / "cache", size=config.image_size, views=views, progress=progress)
        return CaptionCorpus.build(features, [captions[n] for n in names], vocabulary, config.max_words)

    train_corpus, dev_corpus = corpus(train, 2), corpus(dev, 1)
    bag = nn.Linear(options.width, len(vocabulary)).to(device)
    steps = math.ceil(len(train) / options.batch_size)
    run = TrainingRun(model, options, steps, parameter_groups(model, tail, bag, options), {"bag": bag})
    averaged = type(model)(config).to(device)
    averaged_tail = averaged.encoder.tail if lender is None else tail

    def measure() -> dict[str, float]:
        averaged.load_state_dict(run.average)
        return {"dev": dev_loss(averaged, averaged_tail, dev_corpus, device)}

    run.train(out, lambda number: train_epoch(run, tail, bag, content, train_corpus, number, device, progress), measure, progress)
    final = averaged_network(run, model, [images / name for name in train[:: math.ceil(len(train) / MEASURED)]])
    said = {name: caption(final, images / name, vocabulary) for name in dev[:CAPTIONS_KEPT]}
    (out / "captions.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
    trained = asdict(options) | {"history": run.history}
    save_model(final, vocabulary, out, training=trained, encoder=None if lender is None else options.encoder)


def new_network(options: TrainingOptions, lender: Captioner | None, words: int) -> Captioner:
    """Untrained network with the lender's encoder or, without a lender, the one with ImageNet weights that timm names."""
    spec = NETWORKS[options.network]
    timm_name = lender.config.encoder if lender is not None else options.encoder
    own_options = {name: getattr(options, name) for name in spec.config_options}
    config = spec.config(words, timm_name, options.train_stride, width=options.width, dropout=options.dropout, **own_options)
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
    config = replace(model.config, output_stride=options.stride, image_size=options.size)
    final = type(model)(config).to(model.baseline.device).eval()
    final.load_state_dict(run.average)
    final.baseline.copy_(mean_cell(cells_of(final, photos)))
    round_to_half(final)
    return final


def content_words(vocabulary: Vocabulary) -> Tensor:
    """Mask `(v,)` of the words that may name something on a photo: all but spaCy's stop words."""
    with needed_by("training a captioner", "spacy", extra="train"):
        import spacy

    silent = {*SPECIALS, *spacy.blank("en").Defaults.stop_words}
    return torch.tensor([word not in silent for word in vocabulary.words])


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
