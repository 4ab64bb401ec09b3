"""The bundled networks as adapters: `nic` and `sat` (captioning), `lstm-q` and `san` (VQA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ..core.geometry import squeeze
from ..core.spans import Span
from ..models.encoder import to_pixels
from ..models.lstm_q import Reader
from ..models.nic import Captioner
from ..models.vocabulary import UNK, Vocabulary, split_question, split_words
from ..scores import ScoreFn, logit
from .contract import Unknown, refuse_questions, refuse_unknown
from .inputs import Inputs, deduplicate_images, pad_ids
from .labels import LabelChooser, Labels


class BundledAdapter:
    """A network of ours and its words. The tapped layer is `project`, the last spatial layer."""

    def __init__(self, module: Any, vocabulary: Vocabulary, name: str, sha256: str) -> None:
        self.network, self.vocabulary, self.name = module, vocabulary, name
        self.module: nn.Module = module
        self.layer: nn.Module = module.project
        self.head_input_layer: nn.Module | None = getattr(
            module, "pool", None
        )  # attention has none: its head is not affine anywhere
        self.provenance = {"weights": sha256}

    @property
    def device(self) -> torch.device:
        device: torch.device = self.network.baseline.device
        return device

    def prepare(self, images: Sequence[Image]) -> Inputs:
        """Images -> pixels, each distinct image once, the whole frame squeezed."""
        once, photo = deduplicate_images(images)
        pixels = to_pixels(once, self.network.config.image_size).to(self.network.baseline)
        return Inputs(pixels, tuple(squeeze(*image.size) for image in images), image_index=photo)

    def cells(self, inputs: Inputs) -> Tensor:
        """The layer's activations, one row for each of `inputs`."""
        return inputs.to_rows(self.network.cells(inputs.pixels))

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """The mean cell of the training photos, at every position."""
        cell: Tensor = self.network.baseline
        return cell.view(1, -1, 1, 1)

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        return replace(inputs, pixels=torch.zeros_like(inputs.pixels))  # 0 is the mean colour after (x - 127) / 128


class NICAdapter(BundledAdapter):
    """A `Captioner` and its vocabulary."""

    task = "captioning"
    default_score: ScoreFn = staticmethod(logit)
    default_method: str = "evidence"
    n_alternatives: int = 0

    def __init__(self, module: Captioner, vocabulary: Vocabulary, name: str = "nic", sha256: str = "") -> None:
        super().__init__(module, vocabulary, name, sha256)
        self.readout: nn.Module | None = module.readout

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        return self.prepare(images)

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """Beam search; options are those of `NIC.generate`: `beam` (3), `length_penalty`."""
        ids, _ = self.network.generate(self.network.cells(inputs.pixels), **options)
        return inputs.to_rows(ids)

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

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        cells = self.cells(inputs) if activations is None else activations
        logits: Tensor = self.network.decode(cells, ids.clamp(min=0))
        return logits


class LSTMQAdapter(BundledAdapter, LabelChooser):
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
        return self.prepare(images).with_questions(asked)

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
        assert inputs.question_ids is not None
        cells = self.cells(inputs) if activations is None else activations
        context, question = self.network.context(cells), self.network.read(inputs.question_ids)
        logits: Tensor = self.network.answer(context, question.repeat(len(ids) // len(question), 1))
        return logits[:, None].expand(-1, ids.shape[1], -1)

    def logits_without_question(self, inputs: Inputs) -> Tensor:
        """The logits `(b, v)` when no question is asked: the mean of the training questions in its place."""
        context = inputs.to_rows(self.network.context(self.network.cells(inputs.pixels)))
        logits: Tensor = self.network.answer(context, self.network.no_question.expand(len(context), -1))
        return logits


class SATAdapter(NICAdapter):
    """A `SAT` and its vocabulary; its words' attention is over the cells of `project`, the tapped layer."""

    def attention(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        """The attention at each word `(b, t, h, w)`, between 0 and 1."""
        maps: Tensor = self.network.attend(activations, ids.clamp(min=0))
        return maps


class SANAdapter(LSTMQAdapter):
    """A `SAN`, its vocabulary and its answers; attention is over the cells of `project`, the tapped layer."""

    def attention(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        """The attention of the last hop `(b, t, h, w)`: it is the question's, the same for every answer."""
        assert inputs.question_ids is not None
        _, hops = self.network.look(self.network.context(activations), self.network.read(inputs.question_ids))
        last: Tensor = hops[-1].view(len(activations), 1, *activations.shape[2:])
        return last.expand(-1, ids.shape[1], -1, -1)
