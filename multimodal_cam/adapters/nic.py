"""Our captioner `nic` for the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ..geometry import squeeze
from ..models.encoder import to_pixels
from ..models.nic import Captioner
from ..models.vocabulary import UNK, Vocabulary, split_words
from ..scores import ScoreFn, log_prob
from ..spans import Span
from . import Inputs, Unknown, distinct, pad_ids, refuse_questions, refuse_unknown


class NICAdapter:
    """A `Captioner` and its vocabulary. The tapped layer is `project`: the last spatial layer, from which the mean is taken."""

    task = "captioning"
    score: ScoreFn = staticmethod(log_prob)
    method: str = "evidence"
    alternatives: int = 0
    question_layer: nn.Module | None = None

    def __init__(self, module: Captioner, vocabulary: Vocabulary, name: str = "nic", sha256: str = "") -> None:
        self.network, self.vocabulary, self.name = module, vocabulary, name
        self.module: nn.Module = module
        self.layer: nn.Module = module.project
        self.affine: nn.Module | None = getattr(module, "pool", None)  # attention has none: its head is not affine anywhere
        self.readout: nn.Module | None = module.readout
        self.provenance = {"weights": sha256}

    @property
    def device(self) -> torch.device:
        return self.network.baseline.device

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        once, photo = distinct(images)
        pixels = to_pixels(once, self.network.config.image_size).to(self.network.baseline)
        return Inputs(pixels, tuple(squeeze(*image.size) for image in images), photo=photo)

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
        cells = inputs.spread(self.network.cells(inputs.pixels)) if activations is None else activations
        return self.network.decode(cells, ids.clamp(min=0))

    def baseline(self, inputs: Inputs) -> Tensor:
        """The mean cell of the training photos, at every position."""
        return self.network.baseline.view(1, -1, 1, 1)

    def blank(self, inputs: Inputs) -> Inputs:
        return replace(inputs, pixels=torch.zeros_like(inputs.pixels))  # 0 is the mean colour after (x - 127) / 128
