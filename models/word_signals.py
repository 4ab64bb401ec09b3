"""Numbers that a captioner itself has about each word that it says, to tell words that nothing in the photo bears out.

log_prob            log p(word | photo, words before it)
reliance            log_prob minus log p(word | no photo, words before it)
confidence          the largest log-probability that a cell gives the word: max over cells of log softmax(cell_words(cell))
position            how many words come before it: captions are right at their beginning and made up towards their end
reliance_on_others  log_prob minus log p(word | other photos, words before it), p averaged over photos
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .captioner import Captioner

SIGNALS = ("log_prob", "reliance", "confidence", "position")  # of these `doubt` is made
SIDE = 10  # cells a side from which confidence is read: finer ones are averaged, which costs a fourth and changes little


@torch.no_grad()
def confidence(network: Captioner, cells: Tensor, ids: Tensor) -> Tensor | None:
    """Confidence `(b, t)` in nats of ids `(b, t)`, from cells `(b, d, h, w)`; None where no cell says words."""
    step = math.ceil(max(cells.shape[-2:]) / SIDE)
    rows = []
    for own, words in zip(F.avg_pool2d(cells, step, ceil_mode=True) if step > 1 else cells, ids.clamp(min=0), strict=True):
        logits = network.cell_words(own[None])
        if logits is None:
            return None
        rows.append((logits[0][:, words] - logits[0].logsumexp(dim=-1, keepdim=True)).max(dim=0).values)
    return torch.stack(rows)


@torch.no_grad()
def own_log_probs(network: Captioner, context: Tensor, ids: Tensor) -> Tensor:
    """Log-probabilities `(b, t)` of ids `(b, t)` from contexts `(b, ...)`."""
    ids = ids.clamp(min=0)
    states, _ = network.unroll(context, ids)
    logits: Tensor = network.readout(states)
    return logits.log_softmax(dim=-1).gather(-1, ids[..., None])[..., 0]


@torch.no_grad()
def log_probs_on_others(network: Captioner, contexts: Tensor, ids: Tensor) -> Tensor:
    """Log of the mean probability `(b, t)` of ids `(b, t)` after the same words on other photos, of contexts `(k, ...)`."""
    found = [own_log_probs(network, contexts, row.expand(len(contexts), -1)).logsumexp(dim=0) for row in ids]
    return torch.stack(found) - math.log(len(contexts))


def signals(log_probs: Tensor, reliance: Tensor, confidence: Tensor) -> Tensor:
    """`SIGNALS` of each word, `(b, t, 4)`, from three of them `(b, t)`."""
    position = torch.arange(log_probs.shape[1], dtype=log_probs.dtype, device=log_probs.device).expand_as(log_probs)
    return torch.stack([log_probs, reliance, confidence.to(log_probs), position], dim=-1)
