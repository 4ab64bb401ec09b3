"""Set loss: a photo as a set of cells, a caption as a set of noun phrases, and each phrase to be found in some cell.

    s(phrase, photo)   = log( 1/n sum_j exp(cos(cell_j, phrase) / T) )
    s(caption, photo)  = sum over its phrases of gate x s(phrase, photo)

The captions of a batch of photos have to pick their photos, and the photos their captions (InfoNCE, van den Oord et al., 2018; in
both directions: Radford et al., ICML 2021); every phrase alone has to, too. The smooth maximum over cells (Pinheiro and
Collobert, CVPR 2015) is what makes single cells take a phrase's side. No box is seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 0.1
PHRASE_WEIGHT = 0.5  # of single phrases, against whole captions

Phrases = Sequence[Sequence[int]]  # of a caption, as ids of words


class PhraseWeights(nn.Module):
    """What only the loss needs: how much each word counts in its caption, and the scale of all scores."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(words))
        self.scale = nn.Parameter(torch.ones(()))


def phrase_scores(cells: Tensor, vectors: Tensor) -> Tensor:
    """Scores `(p, b)` of phrases, unit vectors `(p, d)`, on photos, unit cells `(b, d, h, w)`."""
    cosines = torch.einsum("bdn,pd->bpn", cells.flatten(2), vectors)
    return (torch.logsumexp(cosines / TEMPERATURE, dim=2) - math.log(cosines.shape[2])).T


def set_loss(cells: Tensor, captions: Sequence[Phrases], word_vectors: Tensor, weights: PhraseWeights) -> Tensor:
    """Loss in nats of photos `(b, d, h, w)` with one caption each; a phrase's vector is the sum of its words', of length 1."""
    flat = [phrase for caption in captions for phrase in caption]
    of_caption = torch.tensor([i for i, caption in enumerate(captions) for _ in caption], device=cells.device)
    vectors = F.normalize(_summed(word_vectors, flat), dim=1)
    scores = phrase_scores(cells, vectors) * weights.scale
    lengths = torch.tensor([len(phrase) for phrase in flat], device=cells.device)
    gates = _summed(weights.gate[:, None], flat)[:, 0] / lengths
    shares = torch.full((len(captions), len(flat)), -torch.inf, device=cells.device)
    shares[of_caption, torch.arange(len(flat), device=cells.device)] = gates
    by_caption = shares.softmax(dim=1) @ scores
    own = torch.arange(len(captions), device=cells.device)
    both = (F.cross_entropy(by_caption, own) + F.cross_entropy(by_caption.T, own)) / 2
    return both + PHRASE_WEIGHT * F.cross_entropy(scores, of_caption)


def _summed(table: Tensor, rows: Phrases) -> Tensor:
    """Sums of the table's rows `(v, d)` that each phrase names: `(p, d)`."""
    ids = torch.tensor([i for row in rows for i in row], device=table.device)
    phrase = torch.tensor([k for k, row in enumerate(rows) for _ in row], device=table.device)
    return table.new_zeros(len(rows), table.shape[1]).index_add(0, phrase, table[ids])
