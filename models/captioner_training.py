"""Trains our captioners: `nic`, and its twin with attention, `sat`.

Recipe: maximum likelihood over all captions (AdamW, warm-up, cosine), dropout, horizontal flips (not where a caption says
left or right), crops of the cached grid, the encoder's tail fine-tuned after a few epochs at a lower rate, an exponential
moving average of the weights (Polyak and Juditsky, 1992) as the result. Auxiliary losses ask for the words of all captions of a
photo: its cells share them out, each saying one (`cell_loss`), through `merge` where the network has it; or the mean cell says
all (`bag_loss`). What cells are read with, where that is not `merge`, is thrown away after training.

What stays frozen runs once and is cached: the encoder's trunk, or the whole encoder where it is borrowed from another captioner.
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
from torch.nn import functional as F

from ..core.images import load_image
from .bundle import load_model, model_folder, save_model
from .encoder import load_imagenet, to_pixels
from .features import Progress, cache_features
from .nic import NIC, Captioner, NICConfig
from .run import Run, mean_cell, missing_photos, pad, round_to_half
from .sat import SAT, SATConfig
from .vocabulary import EOS, SPECIALS, Vocabulary, split_words

NETWORKS: dict[str, tuple[type[Any], type[Any]]] = {"nic": (NIC, NICConfig), "sat": (SAT, SATConfig)}
MEASURED = 500  # training photos from which the mean cell is taken
CAPTIONS_KEPT = 32  # of the dev photos: what the network said when it was trained, for tests of the files


@dataclass(frozen=True)
class TrainingOptions:
    epochs: int = 11
    batch_size: int = 20  # photos, each with all its captions
    learning_rate: float = 1e-3
    tail_rate: float = 1e-4  # of the encoder's tail, from `tail_from` on
    tail_from: int = 2  # epochs with a frozen tail before
    weight_decay: float = 0.01
    dropout: float = 0.3
    cell_weight: float = 0.5  # of the auxiliary loss of single cells, in nats a word
    bag_weight: float = 0.0  # of the auxiliary loss of the mean cell, in nats a word
    merge: bool = True  # whether nic's image vector also enters before the readout
    average: float = 0.998  # decay of the moving average, a step
    min_count: int = 5
    width: int = 512
    train_stride: int = 32
    stride: int = 16  # of the network that is written; same weights
    size: int = 320  # of the photos that the network that is written takes; it is trained on 224 pixels
    encoder: str = "tf_efficientnet_lite0"  # timm's name, with ImageNet's weights; or a captioner of ours that lends its own
    network: str = "nic"
    attention_weight: float = 1.0  # of Xu et al.'s doubly stochastic penalty, where there is attention
    seed: int = 0


@dataclass(frozen=True)
class Corpus:
    """Photos of one split: cached trunk features and the ids of their captions, end token included."""

    features: np.ndarray  # (photos, views, c, h, w) float16; view 1 is mirrored
    captions: list[list[list[int]]]
    mirrors: list[bool]  # whether the captions still hold for the mirrored photo

    @classmethod
    def build(cls, features: np.ndarray, texts: Sequence[list[str]], vocabulary: Vocabulary, longest: int) -> Corpus:
        words = [[split_words(text)[:longest] for text in photo] for photo in texts]
        captions = [[[*vocabulary.encode(caption), EOS] for caption in photo] for photo in words]
        mirrors = [not any({"left", "right"} & set(caption) for caption in photo) for photo in words]
        return cls(features, captions, mirrors)


def batches(corpus: Corpus, options: TrainingOptions, epoch: int) -> Iterator[tuple[Tensor, list[list[list[int]]]]]:
    """Shuffled, mirrored and cropped photos `(b, c, h, w)` with their captions; the same for the same seed and epoch."""
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


def caption_loss(model: Captioner, cells: Tensor, captions: list[list[list[int]]], rows: int = 50) -> tuple[Tensor, int, Tensor]:
    """Summed negative log-likelihood in nats, the number of tokens, and the mean attention penalty of a caption.

    Captions of like length run together.
    """
    context = model.context(cells)
    flat = sorted(((ids, i) for i, photo in enumerate(captions) for ids in photo), key=lambda pair: -len(pair[0]))
    total, tokens, penalty = cells.new_zeros(()), 0, cells.new_zeros(())
    for start in range(0, len(flat), rows):
        part = flat[start : start + rows]
        ids = pad([ids for ids, _ in part]).to(cells.device)
        real = ids >= 0
        states, attention = model.unroll(context[torch.tensor([i for _, i in part], device=cells.device)], ids.clamp(min=0))
        logits = model.readout(model.dropout(states[real]))
        total = total + F.cross_entropy(logits, ids[real], reduction="sum")
        tokens += int(real.sum())
        if attention is not None:
            penalty = penalty + doubly_stochastic(attention, real).sum()
    return total, tokens, penalty / len(flat)


def doubly_stochastic(attention: Tensor, real: Tensor) -> Tensor:
    """Xu et al., ICML 2015, eq. 14: how far a caption `(b,)` is from looking everywhere, `mean_i (1 - sum_t alpha_ti)^2`."""
    looked = (attention * real[..., None]).sum(dim=1)
    return ((1 - looked) ** 2).mean(dim=1)


def word_shares(captions: list[list[list[int]]], wanted: Tensor) -> Tensor:
    """How the `wanted` words `(v,)` of each photo's captions are shared out: `(b, v)`, rows add up to 1."""
    counts = torch.zeros(len(captions), len(wanted))
    for row, photo in zip(counts, captions, strict=True):
        for ids in photo:
            row[list(set(ids))] += 1
    counts = counts.to(wanted.device) * wanted
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)


def bag_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy between the words of a photo's captions `(b, v)` and logits of its mean cell, nats a word."""
    return -(shares * logits.log_softmax(dim=1)).sum(dim=1).mean()


def cell_loss(logits: Tensor, shares: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy between the words of a photo's captions `(b, v)` and a mixture over its cells, nats a word.

    `logits` `(b, n, v)`: each cell says one of the `wanted` words, p(w) = 1/n sum_i softmax_i(w). What a cell gives to one word
    it takes from the others, so that words share the photo out among them.
    """
    mixture = logits[..., wanted].log_softmax(dim=2).logsumexp(dim=1) - math.log(logits.shape[1])
    return -(shares[:, wanted] * mixture).sum(dim=1).mean()


@torch.no_grad()
def dev_loss(model: Captioner, tail: nn.Module, corpus: Corpus, device: torch.device) -> float:
    """Nats a token (end token included) on unmirrored, uncropped photos."""
    model.eval()
    total, tokens = 0.0, 0
    for start in range(0, len(corpus.captions), 64):
        features = torch.from_numpy(corpus.features[start : start + 64, 0]).float().to(device)
        cells = model.project(tail(features))
        loss, count, _ = caption_loss(model, cells, corpus.captions[start : start + 64], rows=160)
        total, tokens = total + loss.item(), tokens + count
    return total / tokens


def train_epoch(
    run: Run,
    tail: nn.Module,
    bag: nn.Linear,
    content: Tensor,
    train: Corpus,
    number: int,
    device: torch.device,
    progress: Progress,
) -> float:
    """One pass over the photos; the mean loss in nats a token. `tail`: what comes after the cached features."""
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
            if isinstance(model, NIC) and model.merge is not None:
                logits = model.cell_words(cells)
            else:
                logits = bag(cells.flatten(2).transpose(1, 2))
            objective = objective + options.cell_weight * cell_loss(logits, word_shares(captions, content), content)
        run.step(objective)
        total, tokens = total + loss.item(), tokens + count
        progress(f"epoch {number + 1}", step + 1, steps, f"train {total / tokens:.3f}")
    return total / tokens


def parameter_groups(model: Captioner, tail: nn.Module, bag: nn.Linear, options: TrainingOptions) -> list[dict[str, Any]]:
    """The head at the full rate, the encoder's tail at its own; what runs before it stays as it is."""
    encoder = {id(p) for p in model.encoder.parameters()}
    head = [p for p in model.parameters() if id(p) not in encoder]
    return [
        {"params": [*head, *bag.parameters()], "lr": options.learning_rate},
        {"params": list(tail.parameters()), "lr": options.tail_rate},
    ]


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
    """Trains and writes `out/model.safetensors`, `out/config.json`, `out/log.jsonl`; returns `out`.

    Killed at any moment, the same call goes on after the last finished epoch.
    """
    missing_photos(images, [*train, *dev])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    vocabulary = Vocabulary.from_captions((c for n in train for c in captions[n]), options.min_count)
    network, config_of = NETWORKS[options.network]
    lender = load_model(model_folder(options.encoder)).network if model_folder(options.encoder).is_dir() else None
    timm_name = lender.config.encoder if lender is not None else options.encoder
    config = config_of(len(vocabulary), timm_name, options.train_stride, width=options.width, dropout=options.dropout)
    if isinstance(config, NICConfig):
        config = replace(config, merge=options.merge)
    model = network(config)
    if lender is None:
        load_imagenet(model.encoder, timm_name)
    else:
        model.encoder.load_state_dict(lender.encoder.state_dict())
    model.to(device)
    frozen = model.encoder.trunk if lender is None else model.encoder
    tail = model.encoder.tail if lender is None else nn.Identity()

    def corpus(names: Sequence[str], views: int) -> Corpus:
        paths = [images / name for name in names]
        features = cache_features(frozen, paths, out / "cache", size=config.image_size, views=views, progress=progress)
        return Corpus.build(features, [captions[n] for n in names], vocabulary, config.max_words)

    train_corpus, dev_corpus = corpus(train, 2), corpus(dev, 1)
    bag = nn.Linear(options.width, len(vocabulary)).to(device)
    content = content_words(vocabulary).to(device)
    steps = math.ceil(len(train) / options.batch_size)
    run = Run(model, options, steps, parameter_groups(model, tail, bag, options), {"bag": bag})
    averaged = network(config).to(device)
    averaged_tail = averaged.encoder.tail if lender is None else tail

    def measure() -> dict[str, float]:
        averaged.load_state_dict(run.average)
        return {"dev": dev_loss(averaged, averaged_tail, dev_corpus, device)}

    run.train(out, lambda number: train_epoch(run, tail, bag, content, train_corpus, number, device, progress), measure, progress)
    final = network(replace(config, output_stride=options.stride, image_size=options.size)).to(device).eval()
    final.load_state_dict(run.average)
    final.baseline.copy_(mean_cell(cells_of(final, [images / name for name in train[:: math.ceil(len(train) / MEASURED)]])))
    round_to_half(final)
    said = {name: caption(final, images / name, vocabulary) for name in dev[:CAPTIONS_KEPT]}
    (out / "captions.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
    trained = asdict(options) | {"history": run.history}
    return save_model(final, vocabulary, out, training=trained, encoder=None if lender is None else options.encoder)


def content_words(vocabulary: Vocabulary) -> Tensor:
    """Which words `(v,)` may name something on a photo: all but spaCy's stop words."""
    import spacy

    silent = {*SPECIALS, *spacy.blank("en").Defaults.stop_words}
    return torch.tensor([word not in silent for word in vocabulary.words])


@torch.no_grad()
def cells_of(model: Captioner, photos: Sequence[Path]) -> Iterator[Tensor]:
    """What the network sees of photos, in batches `(b, d, h, w)`."""
    for start in range(0, len(photos), 25):
        batch = [load_image(photo) for photo in photos[start : start + 25]]
        yield model.cells(to_pixels(batch, model.config.image_size).to(model.baseline))


def caption(model: Captioner, photo: Path, vocabulary: Vocabulary) -> str:
    """What the network says about a photo."""
    with torch.no_grad():
        ids, _ = model.generate(next(cells_of(model, [photo])))
    return " ".join(vocabulary.decode(ids[0].tolist()))
