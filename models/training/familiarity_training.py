"""Fit of the photos that a trained network knows, beside its weights: the last step of training, and a command of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ...core.images import load_image
from ..bundle import load_config, load_model, model_folder
from ..captioner import Captioner
from ..encoder import to_pixels
from ..familiarity_fit import FEWEST, FamiliarityFit, fit_familiarity, photo_features, read_fit, save_fit
from ..vqa_network import VQANetwork
from .feature_cache import Progress
from .training_run import missing_photos

MOST = 2000  # photos of each split that are looked at: more change little
BATCH = 25


def train_familiarity(
    *, model: str | Path, images: Path, train: Sequence[str], dev: Sequence[str], device: torch.device, progress: Progress
) -> FamiliarityFit:
    """Fit the mean cells of training photos and write `familiarity.safetensors` into the model's folder, over an earlier fit.

    Args:
        model: A bundled name, or the folder of a trained network.
        images: Folder with the photos.
        train: Names of the photos that the network was trained on; of many, evenly spaced ones are taken.
        dev: Names of photos of the same kind that it was not trained on: 97.5 % of them stay below the threshold.

    Raises ValueError for too few photos, FileNotFoundError for photos or a network that are missing.
    """
    folder = model_folder(model)
    known, held_out = _some(train), _some(dev)
    missing_photos(images, [*known, *held_out])
    network = load_model(folder, with_familiarity=False).network.to(device)
    said = partial(progress, "familiarity")
    features = []
    for done, part in _features(network, [images / name for name in (*known, *held_out)]):
        features.append(part)
        said(done, len(known) + len(held_out), "")
    both = torch.cat(features) if features else torch.zeros(0, 1)
    fit = fit_familiarity(both[: len(known)], both[len(known) :])
    save_fit(fit, folder, load_config(folder))
    return fit


def fit_after_training(
    out: Path, images: Path, train: Sequence[str], dev: Sequence[str], device: torch.device, progress: Progress
) -> None:
    """Fit the network that was just written to `out`, unless that is done already, or there are too few photos to fit."""
    if len(train) >= FEWEST and read_fit(out, load_config(out)) is None:
        train_familiarity(model=out, images=images, train=train, dev=dev, device=device, progress=progress)


def photo_count(train: Sequence[str], dev: Sequence[str]) -> int:
    """How many photos a fit looks at."""
    return len(_some(train)) + len(_some(dev))


@torch.no_grad()
def _features(network: Captioner | VQANetwork, photos: Sequence[Path]) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of photos that are done and the features `(b, d)` of the last ones."""
    for start in range(0, len(photos), BATCH):
        loaded = [load_image(photo) for photo in photos[start : start + BATCH]]
        pixels = to_pixels(loaded, network.config.image_size).to(network.baseline)
        yield start + len(loaded), photo_features(network.cells(pixels))


def _some(names: Sequence[str]) -> list[str]:
    """At most `MOST` of the names, evenly spaced, each once."""
    distinct = list(dict.fromkeys(names))
    return distinct[:: math.ceil(len(distinct) / MOST) or 1]
