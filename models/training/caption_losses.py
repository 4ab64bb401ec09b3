"""Losses of captioners: likelihood, attention penalty, and losses of the words of a photo's captions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..captioner import Captioner
from .training_run import pad


def caption_loss(model: Captioner, cells: Tensor, captions: list[list[list[int]]], rows: int = 50) -> tuple[Tensor, int, Tensor]:
    """Summed negative log-likelihood in nats, the number of tokens, and the mean attention penalty of a caption.

    Captions of similar length run together.
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
    """Attention penalty of each caption `(b,)`, `mean_i (1 - sum_t alpha_ti)^2` (Xu et al., ICML 2015, eq. 14)."""
    looked = (attention * real[..., None]).sum(dim=1)
    return ((1 - looked) ** 2).mean(dim=1)


def word_shares(captions: list[list[list[int]]], wanted: Tensor) -> Tensor:
    """Relative frequencies `(b, v)` of the `wanted` words `(v,)` in each photo's captions; rows add up to 1."""
    counts = torch.zeros(len(captions), len(wanted))
    for row, photo in zip(counts, captions, strict=True):
        for ids in photo:
            row[list(set(ids))] += 1
    counts = counts.to(wanted.device) * wanted
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)


def bag_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy, in nats a word, of the words of a photo's captions `(b, v)` under the logits of its mean cell."""
    return -(shares * logits.log_softmax(dim=1)).sum(dim=1).mean()


def cell_loss(logits: Tensor, shares: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy, in nats a word, of the words of a photo's captions `(b, v)` under a mixture over its cells.

    With `logits` `(b, n, v)`, each cell predicts one of the `wanted` words: p(w) = 1/n sum_i softmax_i(w). Probability that a
    cell gives to one word is taken from the others, so that words compete for cells.
    """
    mixture = logits[..., wanted].log_softmax(dim=2).logsumexp(dim=1) - math.log(logits.shape[1])
    return -(shares[:, wanted] * mixture).sum(dim=1).mean()
