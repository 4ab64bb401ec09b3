"""Adapter of a user's own PyTorch captioner: an encoder, a decoder, a tokenizer. Nothing to subclass."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.geometry import Placement
from ..core.spans import Span
from .contract import Unknown, refuse_questions, refuse_unknown
from .encoder_input import EncoderAdapter, differentiable_rnn
from .image_preprocessing import ImagePreprocessing
from .inputs import PAD, Inputs, pad_ids


class Tokenizer(Protocol):
    """Text <-> ids. `Words` is one; anything with these methods is another."""

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]: ...
    def tokens(self, ids: Sequence[int]) -> list[str]: ...
    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]: ...


class Words:
    """A tokenizer of whole, lower-cased words: `words[i]` has id `i`; `unk` is the id of the unknown word, if there is one."""

    def __init__(self, words: Sequence[str], unk: int | None = None) -> None:
        self.words, self.unk = list(words), unk
        self.ids = {word: i for i, word in enumerate(self.words)}

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        words = self._split(text)
        if unknown == "error" or self.unk is None:
            refuse_unknown(words, self.ids)
        return [self.ids.get(word, self.unk if self.unk is not None else PAD) for word in words]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [self.words[i] for i in ids]

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        words = self.tokens(ids) if text is None else self._split(text)
        return [Span(w, i, i + 1, known=id != self.unk) for i, (w, id) in enumerate(zip(words, ids, strict=True))]

    @staticmethod
    def _split(text: str) -> list[str]:
        return re.sub(r"[,.?!]", " ", text.lower()).split()


def tokenizer_of(words: Tokenizer | Sequence[str] | Mapping[str, int], unk: int | None) -> Tokenizer:
    """Tokenizer from a tokenizer, a list of words, or a dict `word -> id`. Raises ValueError for ids that have gaps."""
    if isinstance(words, Mapping):
        if sorted(words.values()) != list(range(len(words))):
            raise ValueError(f"tokenizer: expected the ids 0 to {len(words) - 1}, each once")
        words = sorted(words, key=words.__getitem__)
    return Words(words, unk) if isinstance(words, Sequence) else words


@dataclass(frozen=True)
class DecodingLimits:
    """Ids and length that greedy decoding keeps to.

    Attributes:
        bos: Start token, never generated.
        eos: End token; None: the captioner cannot generate.
        max_words: Longest text in tokens.
    """

    bos: int | None = None
    eos: int | None = None
    max_words: int = 64


class CustomCaptioner(EncoderAdapter):
    """See `captioner`."""

    task = "captioning"
    default_score: str = "log_prob"
    default_method: str = "grad_cam"
    n_alternatives: int = 0

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        tokenizer: Tokenizer,
        preprocessing: ImagePreprocessing,
        limits: DecodingLimits,
        *,
        head_input_layer: nn.Module | None,
        readout: nn.Module | None,
        name: str,
    ) -> None:
        super().__init__(nn.ModuleDict({"encoder": encoder, "decoder": decoder}), encoder, preprocessing)
        self.decoder, self.tokenizer, self.limits, self.name = decoder, tokenizer, limits, name
        self.head_input_layer, self.readout = head_input_layer, readout

    def preprocess(self, images: Sequence[Image.Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        return self.image_inputs(images)

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """Greedy decoding; the only option is `beam=1`."""
        if options.pop("beam", 1) != 1 or options:
            raise ValueError(f"a captioner of your own is decoded greedily (beam=1), got {options or 'a wider beam'}")
        eos = self.limits.eos
        if eos is None:
            raise ValueError("this captioner has no end token: pass text=, or captioner(..., eos=ID)")
        forbidden = [i for i in (self.limits.bos, getattr(self.tokenizer, "unk", None)) if i is not None]
        features = self.features(inputs)
        ids = torch.full((len(inputs), 0), PAD, dtype=torch.long, device=self.device)
        ended = torch.zeros(len(inputs), dtype=torch.bool, device=self.device)
        while ids.shape[1] < self.limits.max_words and not bool(ended.all()):
            blank = torch.zeros_like(ended, dtype=torch.long)[:, None]  # position to predict
            logits = self._decode(features, torch.cat([ids.clamp(min=0), blank], dim=1))[:, -1]
            logits[:, forbidden] = -torch.inf
            if ids.shape[1] == 0:
                logits[:, eos] = -torch.inf  # a caption has at least one word
            word = logits.argmax(dim=-1)
            ended = ended | (word == eos)
            ids = torch.cat([ids, torch.where(ended, PAD, word)[:, None]], dim=1)
        return ids[:, : int((ids >= 0).sum(dim=1).max())]

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        rows = [self.tokenizer.encode(text, unknown) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if not row:
                raise ValueError(f"expected a text with words, got {text!r}")
            if len(row) > self.limits.max_words:
                raise ValueError(f"the model says at most {self.limits.max_words} tokens, the text has {len(row)}: {text!r}")
        return pad_ids(rows, self.device)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.tokenizer.tokens(ids)

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        return self.tokenizer.spans(ids, text)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        features = self.features(inputs) if activations is None else activations
        return self._decode(features, ids.clamp(min=0))

    def _decode(self, features: Tensor, ids: Tensor) -> Tensor:
        with differentiable_rnn(self.decoder, ids.device):
            logits: Tensor = self.decoder(features, ids)
        if logits.ndim != 3 or logits.shape[:2] != ids.shape:
            raise ValueError(
                f"decoder(features, ids): expected logits (b, t, v) = ({len(ids)}, {ids.shape[1]}, v), position i scoring "
                f"ids[:, i], got {tuple(logits.shape)}"
            )
        return logits


def captioner(
    *,
    encoder: nn.Module,
    decoder: nn.Module,
    tokenizer: Tokenizer | Sequence[str] | Mapping[str, int],
    head_input_layer: nn.Module | None = None,
    readout: nn.Module | None = None,
    preprocess: Callable[[Image.Image], Tensor] | None = None,
    image_size: int = 224,
    placement: Callable[[int, int], Placement] | None = None,
    bos: int | None = None,
    eos: int | None = None,
    unk: int | None = None,
    max_words: int = 64,
    name: str = "captioner",
) -> CustomCaptioner:
    """Your own captioner, ready for `explain`: `captioner(encoder=cnn, decoder=rnn, tokenizer=words)`.

    Args:
        encoder: `encoder(pixels)` gives a grid `(b, c, h, w)`; its output is the tapped layer
            (`explain(..., layer="encoder.layer3")` taps another).
        decoder: `decoder(features, ids)` gives teacher-forced logits `(b, t, v)`; position `i` scores `ids[:, i]` and sees only
            `ids[:, :i]`, so the decoder puts its own start token in front.
        tokenizer: A list of words, a dict `word -> id`, or an object with `encode`, `tokens` and `spans` (see `Words`).
        head_input_layer: Pooling or linear module of the decoder that alone reads the features; evidence gets faster.
        readout: Last linear layer of the decoder, if it runs once on hidden states `(b, t, d)`; maps get faster.
        preprocess: One image -> pixels `(3, H, W)`. None: the image is squeezed to `image_size`, with ImageNet's mean and
            deviation.
        image_size: Side of the squeezed image in pixels.
        placement: Placement of the pixels on an image of the given width and height (`geometry.squeeze`, `center_crop`,
            `letterbox`). None: measured, with photos of known patterns.
        bos: Id of the start token, which is never generated.
        eos: Id of the end token; needed to generate.
        unk: Id of the unknown word, for a `tokenizer` given as a list or a dict.
        max_words: Longest text in tokens.
        name: Name in records and pages.

    Returns:
        A `TaskAdapter`.

    Raises:
        ValueError: The ids of a `tokenizer` given as a dict have gaps.
    """
    return CustomCaptioner(
        encoder,
        decoder,
        tokenizer_of(tokenizer, unk),
        ImagePreprocessing(preprocess, image_size, placement),
        DecodingLimits(bos, eos, max_words),
        head_input_layer=head_input_layer,
        readout=readout,
        name=name,
    )
