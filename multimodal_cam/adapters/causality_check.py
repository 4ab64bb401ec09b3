"""Does a position see the token that it scores, or tokens behind it? Tried by changing the last token of a text."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .relative_gap import relative_gap

FINER = 0.01  # what is not read moves nothing but the last digits: finer than what else is to be the same


def check_causality(logits: Callable[[Tensor], Tensor], ids: Tensor, same: float) -> tuple[bool, str]:
    """Whether the logits `(1, t, v)` of ids `(1, t)` stay what they are when the last token becomes another.

    Position `i` scores `ids[:, i]` and may depend on `ids[:, :i]` only: no position may depend on the last token.
    """
    before = logits(ids)
    other = ids.clone()
    other[:, -1] = _another(before[:, -1], ids)
    after = logits(other)
    gaps = torch.tensor([relative_gap(after[:, i], before[:, i]) for i in range(ids.shape[1])])
    found = f"they change by {float(gaps.max()):.2g} of their spread when the last token does"
    same *= FINER
    if bool((gaps <= same).all()):
        return True, found
    if bool((gaps[:-1] <= same).all()):
        return False, (
            f"{found}: the decoder sees the token that it scores, its inputs are not shifted: feed it the start token and "
            "ids[:, :-1], so that position i reads ids[:, :i]"
        )
    return False, (
        f"{found}, those of positions before it, too: the decoder sees tokens that come later: give it a causal mask "
        "(is_causal, tgt_mask), or an RNN that reads forwards only"
    )


def _another(logits: Tensor, ids: Tensor) -> Tensor:
    """The likeliest token `(1,)` that is not the last one of `ids`."""
    return logits.scatter(-1, ids[:, -1:], -torch.inf).argmax(dim=-1)
