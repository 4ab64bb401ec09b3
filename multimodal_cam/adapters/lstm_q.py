"""Our VQA model `lstm-q` for the engine."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image
from torch import Tensor, nn

from ..models.lstm_q import Reader
from ..models.vocabulary import UNK, Vocabulary, split_question, split_words
from ..spans import Span
from . import Inputs, pad_ids
from .choosing import Chooser
from .labels import Labels
from .ours import OurNetwork


class LSTMQAdapter(OurNetwork, Chooser):
    """A `Reader`, its vocabulary and its answers."""

    task = "vqa"

    def __init__(self, module: Reader, vocabulary: Vocabulary, labels: Labels, name: str = "lstm-q", sha256: str = "") -> None:
        super().__init__(module, vocabulary, name, sha256)
        self.labels = labels
        self.question_layer: nn.Module | None = module.embedding

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        if questions is None:
            raise ValueError(f"{self.name} answers questions: pass question=")
        asked = pad_ids([self._read(question) for question in questions], self.device)
        return self.prepare(images).ask(asked)

    def _read(self, question: str) -> list[int]:
        """The question's ids. Raises ValueError when it is too long, or when the model knows none of its words."""
        words, longest = split_question(question), self.network.config.max_words
        if len(words) > longest:
            raise ValueError(f"{self.name} reads questions of at most {longest} words, this one has {len(words)}: shorten it")
        ids = self.vocabulary.encode(words)
        if all(i == UNK for i in ids):
            raise ValueError(
                f"{self.name} knows no word of the question {question!r}: it reads English, as in 'what is the dog holding?'"
            )
        return ids

    def question_spans(self, question: str) -> list[Span]:
        words, ids = split_words(question), self.vocabulary.encode(split_question(question))
        return [Span(word, i, i + 1, known=id != UNK) for i, (word, id) in enumerate(zip(words, ids, strict=True))]

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        assert inputs.question is not None
        cells = self.cells(inputs) if activations is None else activations
        context, question = self.network.context(cells), self.network.read(inputs.question)
        logits: Tensor = self.network.answer(context, question.repeat(len(ids) // len(question), 1))
        return logits[:, None].expand(-1, ids.shape[1], -1)

    def unasked(self, inputs: Inputs) -> Tensor:
        """The logits `(b, v)` when no question is asked: the mean of the training questions in its place."""
        context = inputs.spread(self.network.context(self.network.cells(inputs.pixels)))
        logits: Tensor = self.network.answer(context, self.network.no_question.expand(len(context), -1))
        return logits
