"""Beam search over the words of a captioner."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.decoding_options import check_decoding
from .vocabulary import BOS, EOS, UNK

State = tuple[Tensor, ...]  # whatever a decoder remembers: tensors of one row a beam
Step = Callable[[Tensor, State], tuple[Tensor, State]]  # words (rows,), state before -> logits (rows, v), state after


@torch.no_grad()
def beam_search(step: Step, state: State, *, max_words: int, beam: int = 3, length_penalty: float = 0.7) -> tuple[Tensor, Tensor]:
    """The best captions found (`beam=1`: greedy), from the state `(b, ...)` before the first word.

    Returns ids `(b, t)` without the end token, right-padded with -1, and the sum of their log-probabilities `(b,)`, end token
    included. Finished beams compete by `log p / length ** length_penalty` (Wu et al., 2016). `<unk>` and `<bos>` are never said,
    and a caption has at least one word.
    """
    check_decoding({"beam": beam, "length_penalty": length_penalty})
    b, device = len(state[0]), state[0].device
    rows = torch.arange(b, device=device)[:, None] * beam  # where each image's beams start
    state = tuple(part.repeat_interleave(beam, dim=0) for part in state)
    last = torch.full((b * beam,), BOS, device=device)
    scores = state[0].new_full((b, beam), -torch.inf)
    scores[:, 0] = 0.0  # all beams start alike: only the first may branch
    ids = torch.empty((b, beam, 0), dtype=torch.long, device=device)
    best = state[0].new_full((b,), -torch.inf)
    best_ids = torch.full((b, max_words), -1, device=device)
    best_scores = state[0].new_zeros(b)

    for length in range(max_words + 1):
        logits, state = step(last, state)
        log_probs = logits.log_softmax(-1).view(b, beam, -1)
        log_probs[..., [BOS, UNK]] = -torch.inf
        ended, ended_beam = (scores + log_probs[..., EOS]).max(dim=1)
        fair = ended / (length + 1) ** length_penalty
        better = fair > best if length else torch.zeros_like(best, dtype=torch.bool)
        best = torch.where(better, fair, best)
        best_scores = torch.where(better, ended, best_scores)
        said = ids.gather(1, ended_beam[:, None, None].expand(b, 1, length))[:, 0]
        best_ids[better, :length] = said[better]
        best_ids[better, length:] = -1
        hope = scores.max(dim=1).values / (max_words + 1) ** length_penalty
        if length == max_words or bool((hope < best).all()):
            break
        log_probs[..., EOS] = -torch.inf
        scores, flat = (scores[..., None] + log_probs).flatten(1).topk(beam, dim=1)
        parent, last = flat // log_probs.shape[-1], (flat % log_probs.shape[-1]).flatten()
        ids = torch.cat([ids.gather(1, parent[..., None].expand(b, beam, length)), last.view(b, beam, 1)], 2)
        chosen = (rows + parent).flatten()
        state = tuple(part[chosen] for part in state)
    return best_ids[:, : int((best_ids >= 0).sum(1).max())], best_scores
