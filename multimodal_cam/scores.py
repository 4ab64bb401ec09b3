"""What is explained: functions `(logits (b, t, v), ids (b, t)) -> (b, t)`, one differentiable number per token.

A token's score may depend on the logits of its own position only: the engine takes one product through the vocabulary layer
for all tokens and relies on it. Padding (`id -1`) may get any finite number; the engine masks it.

Importing the table loads no torch: `--help` lists the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ScoreFn = Callable[["Tensor", "Tensor"], "Tensor"]


def log_prob(logits: Tensor, ids: Tensor) -> Tensor:
    """`log p(token | image, prefix)` in nats: what the paper back-propagates for captions."""
    return logit(logits, ids) - logits.logsumexp(dim=-1)


def logit(logits: Tensor, ids: Tensor) -> Tensor:
    """The token's logit, before the softmax: what the paper back-propagates for classes and answers."""
    return logits.gather(-1, ids.clamp(min=0)[..., None])[..., 0]


def contrast_with(contrast_ids: Tensor) -> ScoreFn:
    """Score that says by how much a token beats `rivals` `(b, t)`: `log p(token) - log p(rival)`, in nats.

    The normaliser cancels, so this is the difference of the two logits. Rows may be repeats of the `b` rows of `rivals`.
    """

    def contrast(logits: Tensor, ids: Tensor) -> Tensor:
        others = contrast_ids.repeat(len(ids) // len(contrast_ids), 1)
        return logit(logits, ids) - logit(logits, others)

    return contrast


def reversed_sign(score: ScoreFn) -> ScoreFn:
    """What speaks against a token: the paper's counterfactual explanation, the gradient's sign reversed (IJCV 2020, sec. 3.3)."""

    def counterfactual(logits: Tensor, ids: Tensor) -> Tensor:
        return -score(logits, ids)

    return counterfactual


def most_likely_others(logits: Tensor, ids: Tensor) -> Tensor:
    """Ids `(b, t)` of the likeliest other token at each position."""
    masked = logits.detach().scatter(-1, ids.clamp(min=0)[..., None], -math.inf)
    return masked.argmax(dim=-1)


@dataclass(frozen=True)
class ScoreSpec:
    """A score that can be explained.

    Attributes:
        name: What `explain(score=)` and `--score` take.
        unit: Unit of the score and of `evidence` maps of it.
        resolve: From the logits `(b, t, v)` at the photo and the explained ids `(b, t)` to the score; what a score is contrasted
            with is chosen there once and for all.
        description: One line for a table.
    """

    name: str
    unit: str
    resolve: Callable[[Tensor, Tensor], ScoreFn]
    description: str


SCORES: Mapping[str, ScoreSpec] = {
    spec.name: spec
    for spec in (
        ScoreSpec(
            "contrast",
            "nats",
            lambda logits, ids: contrast_with(most_likely_others(logits, ids)),
            "log-probability of the token minus that of its likeliest rival, or of the one that `instead_of` names",
        ),
        ScoreSpec("log_prob", "nats", lambda *_: log_prob, "log-probability of the token: the paper's choice for captions"),
        ScoreSpec("logit", "logit", lambda *_: logit, "logit of the token: the paper's choice for classes and answers"),
    )
}


def find_score(score: str | ScoreFn) -> ScoreSpec:
    """The score's entry; a function of the user's gets one of its own, which checks the function when it is resolved.

    Raises ValueError, with the choices, for a name that is not in the table.
    """
    if isinstance(score, str):
        if score not in SCORES:
            raise ValueError(f"unknown score {score!r}; choose from {', '.join(sorted(SCORES))}")
        return SCORES[score]

    def resolve(logits: Tensor, ids: Tensor) -> ScoreFn:
        import torch

        refuse_mixing(score, logits.to(torch.promote_types(logits.dtype, torch.float32)), ids)
        return score

    return ScoreSpec(score_name(score), "score", resolve, "a function of the user's")


def score_name(score: ScoreFn) -> str:
    """The name of a score function, or of its type."""
    return getattr(score, "__name__", type(score).__name__)


def refuse_mixing(score: ScoreFn, logits: Tensor, ids: Tensor) -> None:
    """Raises ValueError when `score` at a position depends on the logits of another: the engine could not tell them apart."""
    import torch

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
