"""Which photos are like those that a model was trained on: a Gaussian of their mean cells, beside the weights.

    x = sqrt(mean cell) / |sqrt(mean cell)|        d(x) = |(x - mean) W|,  W W' = inverse of the shrunk covariance

d is the Mahalanobis distance (Lee et al., NeurIPS 2018) with a single class; the covariance is shrunk as Ledoit and Wolf (JMVA
2004) do. The square root tames channels that are large in few photos; unit length leaves out how strong a photo is as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import BrokenFile
from ..core.familiarity import Familiarity
from ..core.tensor_file import read_tensors
from .model_config import ModelConfig

FAMILIARITY = "familiarity.safetensors"
FEWEST = 50  # photos that a fit needs
PERCENTILE = 97.5  # of the held-out photos' distances: the threshold
SMALLEST_VARIANCE = 1e-8  # where all photos are the same; its inverse root still fits float16
ADVICE = "fit again with `multimodal-cam train familiarity`, or delete the file: nothing is then said of unfamiliar photos"


@dataclass(frozen=True)
class FamiliarityFit:
    """Mean `(d,)` and whitening matrix `(d, d)` of the training photos' features, and the `threshold` of familiar photos."""

    mean: Tensor
    whitening: Tensor
    threshold: float

    def distances(self, features: Tensor) -> Tensor:
        """Mahalanobis distances `(b,)` of features `(b, d)`."""
        distances: Tensor = torch.linalg.vector_norm((features - self.mean) @ self.whitening, dim=1)
        return distances

    def of_cells(self, cells: Tensor) -> list[Familiarity]:
        """Familiarity of each photo, from activations of the last spatial layer `(b, d, h, w)`."""
        return [Familiarity(distance, self.threshold) for distance in self.distances(photo_features(cells)).tolist()]


def photo_features(cells: Tensor) -> Tensor:
    """Features `(b, d)`, float32 on the CPU, of activations `(b, d, h, w)`: the root of the mean cell, scaled to unit length."""
    mean = cells.detach().float().mean(dim=(2, 3)).cpu()
    return torch.nn.functional.normalize(mean.sign() * mean.abs().sqrt(), dim=1)


def fit_familiarity(features: Tensor, held_out: Tensor) -> FamiliarityFit:
    """Fit mean and covariance to `features` `(n, d)`, and the threshold to photos `(m, d)` that were kept out of training.

    Raises ValueError for too few photos.
    """
    if len(features) < FEWEST or not len(held_out):
        expected = f"at least {FEWEST} photos to fit and one held out"
        raise ValueError(f"familiarity: expected {expected}, got {len(features)} and {len(held_out)}: give more photos")
    values = features.double()
    precision = torch.linalg.inv(shrunk_covariance(values))
    # in float16, as it is stored, so that the threshold is one of the distances that users get
    whitening = torch.linalg.cholesky(precision).half().float().contiguous()
    fit = FamiliarityFit(values.mean(dim=0).float(), whitening, 0.0)
    threshold = float(torch.quantile(fit.distances(held_out.float()), PERCENTILE / 100))
    return FamiliarityFit(fit.mean, whitening, threshold)


def shrunk_covariance(values: Tensor) -> Tensor:
    """Covariance `(d, d)` of `values` `(n, d)`, drawn towards a multiple of the identity (Ledoit and Wolf, JMVA 2004)."""
    n, d = values.shape
    centred = values - values.mean(dim=0)
    sample = centred.T @ centred / n
    identity = torch.eye(d, dtype=values.dtype)
    target = float(sample.trace()) / d * identity
    spread = float((sample - target).square().sum())
    # mean over photos of |x x' - S|^2, which is mean |x|^4 - |S|^2, for one photo of the n
    noise = float(centred.square().sum(dim=1).square().mean() - sample.square().sum()) / n
    share = min(noise, spread) / spread if spread > 0 else 1.0
    return (1 - share) * sample + share * target + SMALLEST_VARIANCE * identity


# ---- beside the weights ------------------------------------------------------------------------------------------


def features_sha256(config: ModelConfig) -> str:
    """Hash of what a photo's features depend on: weights, lent encoder, its stride, and the photo's size."""
    sizes = config.sizes
    parts = [config.sha256, config.lender and config.lender[1], sizes.encoder, sizes.output_stride, sizes.image_size]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def save_fit(fit: FamiliarityFit, folder: Path, config: ModelConfig) -> Path:
    """Write the fit beside the weights that `config` describes: the file appears whole. Returns its path."""
    from safetensors.torch import save_file

    stored = {"mean": fit.mean, "whitening": fit.whitening.half(), "threshold": torch.tensor([fit.threshold])}
    partial = folder / "familiarity.partial"
    save_file(stored, partial, {"features_sha256": features_sha256(config), "values_sha256": _values_sha256(stored)})
    partial.chmod(0o644)
    os.replace(partial, folder / FAMILIARITY)
    return folder / FAMILIARITY


def read_fit(folder: Path, config: ModelConfig) -> FamiliarityFit | None:
    """The fit beside the weights that `config` describes; None where there is none.

    Raises BrokenFile for a damaged file, and for the fit of other weights.
    """
    path = folder / FAMILIARITY
    if not path.is_file():
        return None
    tensors = read_tensors(path, ADVICE)
    said = _metadata(path)
    if said.get("values_sha256") != _values_sha256(tensors):
        raise BrokenFile(path, "numbers with the hash that the file says", "others: it was damaged or edited", ADVICE)
    if (found := said.get("features_sha256")) != (wanted := features_sha256(config)):
        raise BrokenFile(
            path, f"the fit of the weights beside it, for {wanted[:16]}", f"that of others, {str(found)[:16]}", ADVICE
        )
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    if shapes != {"mean": (d := shapes.get("mean", (0,))[:1]), "whitening": d * 2, "threshold": (1,)}:
        raise BrokenFile(path, "mean (d,), whitening (d, d) and threshold (1,)", str(shapes), ADVICE)
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise BrokenFile(path, "finite numbers", "NaN or infinity", ADVICE)
    return FamiliarityFit(tensors["mean"].float(), tensors["whitening"].float(), float(tensors["threshold"]))


def _metadata(path: Path) -> Mapping[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _values_sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
