"""Beam search over the words of a captioner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.decoding_options import check_decoding
from .vocabulary import BOS, EOS, UNK

State = tuple[Tensor, ...]  # whatever a decoder remembers: tensors of one row a beam
Step = Callable[[Tensor, State], tuple[Tensor, State]]  # words (rows,), state before -> log-probabilities (rows, v), state after


@dataclass(frozen=True)
class SearchLimits:
    """How long a caption may be, and of which words.

    Attributes:
        max_words: Longest caption in words.
        bos: Id that the first step is given as the word before.
        eos: Id of the end token.
        unsayable: Ids that are never said.
        must_end: Whether a caption of `max_words` words must end by itself, too, which takes a step more; otherwise it is cut off
            there, and competes as it stands.
    """

    max_words: int
    bos: int = BOS
    eos: int = EOS
    unsayable: tuple[int, ...] = (BOS, UNK)
    must_end: bool = True


class _BestCaptions:
    """The best finished caption of each image so far: ids, log-probability, and that by which captions compete."""

    def __init__(self, log_probs: Tensor, max_words: int, length_penalty: float) -> None:
        b = len(log_probs)
        self.length_penalty = length_penalty
        self.fair = log_probs.new_full((b,), -torch.inf)
        self.log_probs = log_probs.new_zeros(b)
        self.ids = torch.full((b, max_words), -1, device=log_probs.device)

    def add(self, ids: Tensor, log_probs: Tensor, tokens: int) -> None:
        """Let a caption `(b, words)` of each image compete, of so many tokens, the end token included."""
        fair = self.compared(log_probs, tokens)
        better = fair > self.fair
        self.fair = torch.where(better, fair, self.fair)
        self.log_probs = torch.where(better, log_probs, self.log_probs)
        self.ids[better, : ids.shape[1]] = ids[better]
        self.ids[better, ids.shape[1] :] = -1

    def compared(self, log_probs: Tensor, tokens: int) -> Tensor:
        """Log-probabilities as captions of different lengths compare."""
        shared: Tensor = log_probs / tokens**self.length_penalty
        return shared


@torch.no_grad()
def beam_search(
    step: Step, state: State, limits: SearchLimits, *, beam: int = 3, length_penalty: float = 0.7
) -> tuple[Tensor, Tensor]:
    """The best captions found (`beam=1`: greedy), from the state `(b, ...)` before the first word.

    Returns ids `(b, t)` without the end token, right-padded with -1, and the sum of their log-probabilities `(b,)`, end token
    included. Finished beams compete by `log p / length ** length_penalty` (Wu et al., 2016), `length` in tokens, end token
    included. A caption has at least one word.
    """
    check_decoding({"beam": beam, "length_penalty": length_penalty})
    b, device, never = len(state[0]), state[0].device, list(limits.unsayable)
    rows = torch.arange(b, device=device)[:, None] * beam  # where each image's beams start
    state = tuple(part.repeat_interleave(beam, dim=0) for part in state)
    last = torch.full((b * beam,), limits.bos, device=device)
    ids = torch.empty((b, beam, 0), dtype=torch.long, device=device)
    longest = limits.max_words + limits.must_end

    for length in range(longest):
        found, state = step(last, state)
        log_probs = found.view(b, beam, -1)
        if length == 0:
            scores = log_probs.new_full((b, beam), -torch.inf)
            scores[:, 0] = 0.0  # all beams start alike: only the first may branch
            best = _BestCaptions(scores, limits.max_words, length_penalty)
        log_probs[..., never] = -torch.inf
        if length:
            ended, at = (scores + log_probs[..., limits.eos]).max(dim=1)
            best.add(ids.gather(1, at[:, None, None].expand(b, 1, length))[:, 0], ended, length + 1)
        hope = best.compared(scores.max(dim=1).values, longest if length_penalty >= 0 else length + 2)
        if length == limits.max_words or bool((hope < best.fair).all()):
            break
        log_probs[..., limits.eos] = -torch.inf
        scores, flat = (scores[..., None] + log_probs).flatten(1).topk(beam, dim=1)
        parent, last = flat // log_probs.shape[-1], (flat % log_probs.shape[-1]).flatten()
        ids = torch.cat([ids.gather(1, parent[..., None].expand(b, beam, length)), last.view(b, beam, 1)], 2)
        chosen = (rows + parent).flatten()
        state = tuple(part[chosen] for part in state)
    else:
        best.add(ids[:, 0], scores[:, 0], limits.max_words)
    return best.ids[:, : int((best.ids >= 0).sum(1).max())], best.log_probs
