"""Self-critical training: the captioner says several captions of a photo and learns from the better ones.

Rennie et al., CVPR 2017, with the mean of a photo's other samples as the baseline (Luo, arXiv 2003.09971):

    gradient = - (CIDEr-D(sample) - mean of the others) * d log p(sample)

The end token counts as a word on both sides, or captions would learn to stop in the middle of a phrase. Only the language half
is trained; cells, and so the maps' activations, stay what maximum likelihood made them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from .nic import NIC
from .vocabulary import BOS, EOS, UNK

SIGMA = 6.0  # of CIDEr-D's penalty for another length
Vector = tuple[list[dict[tuple[int, ...], float]], list[float], int]  # n-gram weights and norms for n = 1 to 4, length


class CiderD:
    """CIDEr-D (Vedantam, Zitnick, Parikh, CVPR 2015, eq. 4) of ids against the captions of a training photo, 0 to 10."""

    def __init__(self, captions: Sequence[Sequence[Sequence[int]]]) -> None:
        grams = [[_grams(ids) for ids in photo] for photo in captions]
        self.photos = math.log(len(grams))
        self.frequency = Counter(gram for photo in grams for gram in set().union(*photo))
        self.references = [[self._vector(*pair) for pair in zip(a, b, strict=True)] for a, b in zip(grams, captions, strict=True)]

    def __call__(self, photo: int, ids: Sequence[int]) -> float:
        said, references = self._vector(_grams(ids), ids), self.references[photo]
        return 10 * sum(_similarity(said, reference) for reference in references) / len(references)

    def _vector(self, grams: Counter[tuple[int, ...]], ids: Sequence[int]) -> Vector:
        weights: list[dict[tuple[int, ...], float]] = [{}, {}, {}, {}]
        for gram, count in grams.items():
            weights[len(gram) - 1][gram] = count * (self.photos - math.log(max(1, self.frequency[gram])))
        return weights, [math.sqrt(sum(w * w for w in own.values())) for own in weights], len(ids)


def _grams(ids: Sequence[int]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(ids[i : i + n]) for n in range(1, 5) for i in range(len(ids) - n + 1))


def _similarity(said: Vector, reference: Vector) -> float:
    total = 0.0
    for own, other, norm, other_norm in zip(said[0], reference[0], said[1], reference[1], strict=True):
        if norm and other_norm:
            overlap = sum(min(w, other[gram]) * other[gram] for gram, w in own.items() if gram in other)
            total += overlap / (norm * other_norm)
    return total / 4 * math.exp(-((said[2] - reference[2]) ** 2) / (2 * SIGMA**2))


@torch.no_grad()
def sample(model: NIC, image: Tensor) -> Tensor:
    """One caption drawn for each image vector `(b, d)`: ids `(b, t)`, end token included, right-padded with -1."""
    state = model.step(model.input_gates(image), None)
    last = torch.full((len(image),), BOS, device=image.device)
    alive, said = torch.ones_like(last, dtype=torch.bool), []
    for _ in range(model.config.max_words + 1):
        state = model.step(model.input_gates(model.embedding(last) * model.config.width**0.5), state)
        logits = model.readout(state[0])
        logits[:, [BOS, UNK]] = -torch.inf
        last = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        said.append(torch.where(alive, last, -1))
        alive = alive & (last != EOS)
        if not alive.any():
            break
    return torch.stack(said, dim=1)


def self_critical_loss(model: NIC, pooled: Tensor, photos: Sequence[int], reward: CiderD, samples: int) -> tuple[Tensor, float]:
    """The loss for mean cells `(b, d)` of the training `photos`, and the mean reward of what was drawn."""
    image = model.image_norm(pooled).repeat_interleave(samples, dim=0)
    ids = sample(model, image)
    real = ids >= 0
    rewards = torch.tensor(
        [reward(photos[row // samples], [i for i in own if i >= 0]) for row, own in enumerate(ids.tolist())], device=ids.device
    ).view(-1, samples)
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (samples - 1)
    advantage = (rewards - others).view(-1, 1)
    logits = model.readout(model.states(image, ids.clamp(min=0)))
    log_probs = logits.log_softmax(-1).gather(-1, ids.clamp(min=0)[..., None])[..., 0]
    return -(advantage * log_probs * real).sum() / real.sum(), float(rewards.mean())
