"""Our captioner `nic` for the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL.Image import Image
from torch import Tensor, nn

from ..models.nic import Captioner
from ..models.vocabulary import UNK, Vocabulary, split_words
from ..scores import ScoreFn, logit
from ..spans import Span
from . import Inputs, Unknown, pad_ids, refuse_questions, refuse_unknown
from .ours import OurNetwork


class NICAdapter(OurNetwork):
    """A `Captioner` and its vocabulary."""

    task = "captioning"
    score: ScoreFn = staticmethod(logit)
    method: str = "evidence"
    alternatives: int = 0
    question_layer: nn.Module | None = None

    def __init__(self, module: Captioner, vocabulary: Vocabulary, name: str = "nic", sha256: str = "") -> None:
        super().__init__(module, vocabulary, name, sha256)
        self.readout: nn.Module | None = module.readout

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        return self.prepare(images)

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """Beam search; options are those of `NIC.generate`: `beam` (3), `length_penalty`."""
        ids, _ = self.network.generate(self.network.cells(inputs.pixels), **options)
        return inputs.spread(ids)

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        rows, longest = [], self.network.config.max_words
        for text in texts:
            words = split_words(text)
            if not words:
                raise ValueError(f"expected a text with words, got {text!r}")
            if len(words) > longest:
                raise ValueError(f"the model says at most {longest} words, the text has {len(words)}: shorten {text!r}")
            if unknown == "error":
                refuse_unknown(words, self.vocabulary.words)
            rows.append(self.vocabulary.encode(words))
        return pad_ids(rows, self.device)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.vocabulary.decode(ids)

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        words = self.tokens(ids) if text is None else split_words(text)
        return [Span(w, i, i + 1, known=id != UNK) for i, (w, id) in enumerate(zip(words, ids, strict=True))]

    def question_spans(self, question: str) -> list[Span]:
        raise NotImplementedError(f"{self.name} takes no question")

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        cells = self.cells(inputs) if activations is None else activations
        logits: Tensor = self.network.decode(cells, ids.clamp(min=0))
        return logits
