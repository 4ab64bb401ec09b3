"""Adapters of the bundled networks: `nic` and `sat` (captioning), `lstm-q` and `san` (VQA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ..core.familiarity import Familiarity
from ..core.geometry import squeeze
from ..core.spans import Span
from ..models.bundle import TrainedModel
from ..models.captioner import Captioner
from ..models.doubt_fit import DoubtFit
from ..models.encoder import to_pixels
from ..models.familiarity_fit import FamiliarityFit
from ..models.lstm_q.network import LSTMQ
from ..models.nic.network import NIC
from ..models.san.network import SAN
from ..models.sat.network import SAT
from ..models.vocabulary import UNK, Vocabulary, split_question, split_words
from ..models.vqa_network import VQANetwork
from ..models.word_signals import confidence, signals
from .contract import Unknown, refuse_questions, refuse_unknown
from .followed_part import FollowedPart
from .inputs import Inputs, deduplicate_images, pad_ids
from .labels import LabelChooser, Labels

DECODER_OPTIONS = ("beam", "length_penalty")  # of `Captioner.generate`


class BundledAdapter:
    """Images through a bundled network. The tapped layer is `project`, the last spatial layer."""

    network: Captioner | VQANetwork
    head_input_layer = FollowedPart()
    familiarity_fit: FamiliarityFit | None = None
    folder: Path | None = None

    def __init__(self, network: Captioner | VQANetwork, vocabulary: Vocabulary, name: str, sha256: str) -> None:
        self.network, self.vocabulary, self.name = network, vocabulary, name
        self.module: nn.Module = network
        self.layer: nn.Module = network.project
        self.provenance = {"weights": sha256}

    @property
    def device(self) -> torch.device:
        return self.network.baseline.device

    def image_inputs(self, images: Sequence[Image]) -> Inputs:
        """Pixels of the distinct images, each squeezed to a square as a whole."""
        distinct, image_index = deduplicate_images(images)
        pixels = to_pixels(distinct, self.network.config.image_size).to(self.network.baseline)
        return Inputs(pixels, tuple(squeeze(*image.size) for image in images), image_index=image_index)

    def layer_activations(self, inputs: Inputs) -> Tensor:
        """Activations of `layer` `(b, d, h, w)`."""
        return inputs.to_rows(self.network.cells(inputs.pixels))

    def familiarity(self, inputs: Inputs, activations: Tensor | None = None) -> list[Familiarity] | None:
        """Familiarity of each row's photo, from its mean cell; None without a fit."""
        if self.familiarity_fit is None:
            return None
        with torch.no_grad():
            cells = self.layer_activations(inputs) if activations is None else activations
        return self.familiarity_fit.of_cells(cells)

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """Mean cell of the training photos `(1, d, 1, 1)`, for every position."""
        return self.network.baseline.view(1, -1, 1, 1)

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        return replace(inputs, pixels=torch.zeros_like(inputs.pixels))  # 0 is the mean colour after (x - 127) / 128


class CaptionerAdapter(BundledAdapter):
    """A `Captioner` and its vocabulary."""

    task = "captioning"
    default_score: str = "logit"
    default_method: str = "evidence"
    n_alternatives: int = 0
    readout = FollowedPart()
    network: Captioner

    def __init__(self, network: Captioner, vocabulary: Vocabulary, name: str, sha256: str = "") -> None:
        super().__init__(network, vocabulary, name, sha256)
        self.readout = network.readout

    @classmethod
    def from_trained(cls, trained: TrainedModel, name: str) -> Self:
        adapter = cls(trained.network, trained.vocabulary, name, trained.sha256)
        adapter.familiarity_fit = trained.familiarity
        return adapter

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        return self.image_inputs(images)

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """Captions by beam search; the options are those of `Captioner.generate`: `beam` (3), `length_penalty`."""
        unknown = [f"{name}=" for name in options if name not in DECODER_OPTIONS]
        if unknown:
            raise TypeError(
                f"{self.name} has no {', '.join(unknown)}: it decodes by beam search, with {' and '.join(DECODER_OPTIONS)} only"
            )
        ids, _ = self.network.generate(self.network.cells(inputs.pixels), **options)
        return inputs.to_rows(ids)

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        """Ids of texts of any length: `max_words` concerns what the model says itself."""
        rows = []
        for text in texts:
            words = split_words(text)
            if not words:
                raise ValueError(f"expected a text with words, got {text!r}")
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
        cells = self.layer_activations(inputs) if activations is None else activations
        return self.network.decode(cells, ids.clamp(min=0))


class NICAdapter(CaptionerAdapter):
    """`NIC`: its head pools the cells first; with `doubt_fit` it doubts nouns of its own captions."""

    doubt_fit: DoubtFit | None = None

    def __init__(self, network: NIC, vocabulary: Vocabulary, name: str = "nic", sha256: str = "") -> None:
        super().__init__(network, vocabulary, name, sha256)
        self.head_input_layer = network.pool

    @classmethod
    def from_trained(cls, trained: TrainedModel, name: str) -> Self:
        adapter = super().from_trained(trained, name)
        adapter.doubt_fit = trained.doubt
        return adapter

    def doubts(
        self, inputs: Inputs, ids: Tensor, activations: Tensor | None, log_probs: Tensor, reliance: Tensor
    ) -> Tensor | None:
        """Doubt `(b, t)` of the nouns among ids `(b, t)`, NaN for other words; None without a fit."""
        if self.doubt_fit is None:
            return None
        cells = self.layer_activations(inputs) if activations is None else activations
        confident = confidence(self.network, cells, ids)
        if confident is None:
            return None
        known = set(self.vocabulary.encode(self.doubt_fit.nouns)) - {UNK}
        is_noun = torch.tensor([[i in known for i in row] for row in ids.tolist()], device=ids.device)
        return self.doubt_fit.doubt(signals(log_probs, reliance, confident)).masked_fill(~is_noun, torch.nan)


class SATAdapter(CaptionerAdapter):
    """`SAT`: its words' attention is over the cells of `project`, the tapped layer."""

    network: SAT

    def attention(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        """Attention at each word `(b, t, h, w)`; every map adds up to 1."""
        return self.network.attend(activations, ids.clamp(min=0))


class AnswerAdapter(BundledAdapter, LabelChooser):
    """A `VQANetwork`, its vocabulary and its answers."""

    task = "vqa"
    question_layer = FollowedPart()
    network: VQANetwork

    def __init__(self, network: VQANetwork, vocabulary: Vocabulary, labels: Labels, name: str, sha256: str = "") -> None:
        super().__init__(network, vocabulary, name, sha256)
        self.labels = labels
        self.question_layer = network.embedding

    @classmethod
    def from_trained(cls, trained: TrainedModel, name: str) -> Self:
        adapter = cls(trained.network, trained.vocabulary, Labels(trained.answers), name, trained.sha256)
        adapter.familiarity_fit = trained.familiarity
        return adapter

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        if questions is None:
            raise ValueError(f"{self.name} answers questions: pass question=")
        question_ids = pad_ids([self._question_ids(question) for question in questions], self.device)
        return self.image_inputs(images).with_questions(question_ids)

    def _question_ids(self, question: str) -> list[int]:
        """The question's ids. Raises ValueError if it is too long, or if the model knows none of its words."""
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
        cells = self.layer_activations(inputs) if activations is None else activations
        context, question = self.network.context(cells), self.network.read(inputs.question_ids)
        logits = self.network.answer(context, question.repeat(len(ids) // len(question), 1))
        return logits[:, None].expand(-1, ids.shape[1], -1)

    def logits_without_question(self, inputs: Inputs) -> Tensor:
        """Logits `(b, v)` without a question: the mean encoding of the training questions takes its place."""
        context = inputs.to_rows(self.network.context(self.network.cells(inputs.pixels)))
        return self.network.answer(context, self.network.no_question.expand(len(context), -1))


class LSTMQAdapter(AnswerAdapter):
    """`LSTMQ`: its head pools the cells first."""

    def __init__(self, network: LSTMQ, vocabulary: Vocabulary, labels: Labels, name: str = "lstm-q", sha256: str = "") -> None:
        super().__init__(network, vocabulary, labels, name, sha256)
        self.head_input_layer = network.pool


class SANAdapter(AnswerAdapter):
    """`SAN`: its attention is over the cells of `project`, the tapped layer."""

    network: SAN

    def attention(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        """Attention of the last hop `(b, t, h, w)`: it depends on the question, and is the same for every answer."""
        assert inputs.question_ids is not None
        _, hops = self.network.look(self.network.context(activations), self.network.read(inputs.question_ids))
        last: Tensor = hops[-1].view(len(activations), 1, *activations.shape[2:])
        return last.expand(-1, ids.shape[1], -1, -1)
