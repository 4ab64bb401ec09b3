"""What is explained: functions `(logits (b, t, v), ids (b, t)) -> (b, t)`, one differentiable number per token.

A token's score may depend on the logits of its own position only: the engine takes one product through the vocabulary layer
for all tokens and relies on it. Padding (`id -1`) may get any finite number; the engine masks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

ScoreFn = Callable[[Tensor, Tensor], Tensor]


def log_prob(logits: Tensor, ids: Tensor) -> Tensor:
    """`log p(token | image, prefix)` in nats: what the paper back-propagates for captions."""
    return _take(logits, ids) - logits.logsumexp(dim=-1)


def logit(logits: Tensor, ids: Tensor) -> Tensor:
    """The token's logit, before the softmax: what the paper back-propagates for classes and answers."""
    return _take(logits, ids)


def contrast_with(contrast_ids: Tensor) -> ScoreFn:
    """Score that says by how much a token beats `rivals` `(b, t)`: `log p(token) - log p(rival)`, in nats.

    The normaliser cancels, so this is the difference of the two logits. Rows may be repeats of the `b` rows of `rivals`.
    """

    def contrast(logits: Tensor, ids: Tensor) -> Tensor:
        others = contrast_ids.repeat(len(ids) // len(contrast_ids), 1)
        return _take(logits, ids) - _take(logits, others)

    return contrast


def reversed_sign(score: ScoreFn) -> ScoreFn:
    """What speaks against a token: the paper's counterfactual explanation, the gradient's sign reversed (IJCV 2020, sec. 3.3)."""

    def counterfactual(logits: Tensor, ids: Tensor) -> Tensor:
        return -score(logits, ids)

    return counterfactual


def most_likely_others(logits: Tensor, ids: Tensor) -> Tensor:
    """Ids `(b, t)` of the likeliest other token at each position."""
    masked = logits.detach().scatter(-1, ids.clamp(min=0)[..., None], -torch.inf)
    return masked.argmax(dim=-1)


# name -> (the unit, a function that looks at the logits at the photo and returns the score); rivals stay what they were there
SCORES: Mapping[str, tuple[str, Callable[[Tensor, Tensor], ScoreFn]]] = {
    "contrast": ("nats", lambda logits, ids: contrast_with(most_likely_others(logits, ids))),
    "log_prob": ("nats", lambda *_: log_prob),
    "logit": ("logit", lambda *_: logit),
}


def refuse_mixing(score: ScoreFn, logits: Tensor, ids: Tensor) -> None:
    """Raises ValueError when `score` at a position depends on the logits of another: the engine could not tell them apart."""
    leaf = logits.detach().requires_grad_()
    with torch.enable_grad():
        scores = score(leaf, ids)
        if scores.shape != ids.shape or not scores.requires_grad:
            raise ValueError(
                f"score: expected one differentiable number a token, shape {tuple(ids.shape)}, got shape {tuple(scores.shape)}"
            )
        weights = torch.arange(1.0, 1 + ids.shape[1], device=logits.device, dtype=scores.dtype)
        (plain,) = torch.autograd.grad(scores.sum(), leaf, retain_graph=True)
        (weighted,) = torch.autograd.grad((scores * weights).sum(), leaf)
    if not torch.allclose(weighted, plain * weights[:, None], rtol=1e-3, atol=1e-6 * float(weighted.abs().max())):
        raise ValueError("score: a token's score may depend on the logits of its own position only")


def _take(logits: Tensor, ids: Tensor) -> Tensor:
    return logits.gather(-1, ids.clamp(min=0)[..., None])[..., 0]
