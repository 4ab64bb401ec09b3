"""What all models share that choose one of several labels: an answer, a class. Their text is one token over the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..scores import ScoreFn, logit
from ..spans import Span
from . import Inputs, Unknown
from .labels import Labels


class Chooser:
    """Half an adapter: what is said. The other half gives `labels`, `name`, `device` and `logits`."""

    score: ScoreFn = staticmethod(logit)  # before the softmax, as the paper does
    method: str = "grad_cam"
    alternatives: int = 5
    readout: nn.Module | None = None  # one position: nothing to cut
    name: str
    labels: Labels

    @property
    def device(self) -> torch.device:
        raise NotImplementedError

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """The likeliest label `(b, 1)`; there are no options."""
        if options:
            raise TypeError(f"{self.name} chooses a label, it does not decode: {', '.join(options)} has no meaning here")
        return self.logits(inputs, torch.zeros(len(inputs), 1, dtype=torch.long)).argmax(dim=-1)

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        return self.labels.encode(texts, self.device)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.labels.decode(ids)

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        return self.labels.spans(ids, text)
