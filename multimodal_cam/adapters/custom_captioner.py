"""Adapter of a user's own PyTorch captioner: an encoder, a decoder, a tokenizer. Nothing to subclass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.geometry import Placement
from ..core.spans import Span
from .contract import Unknown, layer_view_of, refuse_questions
from .embedding_limits import embedding_limits
from .encoder_input import EncoderAdapter, differentiable_rnn
from .followed_part import FollowedPart
from .given_layouts import Layouts
from .image_preprocessing import ImagePreprocessing
from .inputs import Inputs, pad_ids
from .network_outputs import NetworkOutputs, Outputs, OutputsOfAnyKind, trial_photos, try_outputs
from .prefix_decoding import DecodingOptions, PrefixDecoder
from .region_boxes import Regions
from .unwrapping import unwrapped
from .user_function import check_call
from .word_tokenizer import Tokenizer, Words, check_size, tokenizer_of


@dataclass(frozen=True)
class DecodingLimits:
    """Ids and length that decoding keeps to.

    Attributes:
        bos: Start token, never generated.
        eos: End token; None: the captioner cannot generate.
        max_words: Longest text in tokens.
    """

    bos: int | None = None
    eos: int | None = None
    max_words: int = 64


class CustomCaptioner(EncoderAdapter, OutputsOfAnyKind):
    """See `captioner`."""

    task = "captioning"
    default_score: str = "log_prob"
    default_method: str = "grad_cam"
    head_input_layer = FollowedPart()
    readout = FollowedPart()
    n_alternatives: int = 0

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        tokenizer: Tokenizer,
        preprocessing: ImagePreprocessing,
        limits: DecodingLimits,
        *,
        layout: Layouts,
        head_input_layer: nn.Module | None,
        readout: nn.Module | None,
        outputs: Outputs | None,
        name: str,
    ) -> None:
        super().__init__(nn.ModuleDict({"encoder": encoder, "decoder": decoder}), encoder, preprocessing, layout)
        self.decoder, self.tokenizer, self.limits, self.name = decoder, tokenizer, limits, name
        self.head_input_layer, self.readout = head_input_layer, readout
        self.outputs = NetworkOutputs(outputs, name)
        self._sized = False
        trial = try_outputs(self.module, self._trial)
        if trial is not None:
            self.outputs.check(trial)
            self._check_size(trial.shape[-1])
        self.default_score = self.outputs.default_score(self.default_score)

    def _trial(self) -> Tensor:
        """Outputs for photos that differ, each with its first word."""
        inputs = self.trial_inputs(trial_photos())
        return self._outputs(self.features(inputs), torch.zeros(len(inputs), 1, dtype=torch.long, device=self.device))

    def preprocess(self, images: Sequence[Image.Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        return self.image_inputs(images)

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """Greedy decoding, or with `beam=` above 1 the best of a beam search by `log p / length ** length_penalty`.

        Of at most `max_words=` tokens.
        """
        chosen = DecodingOptions.of(options)
        longest = min(chosen.max_words or self.limits.max_words, self.limits.max_words)
        if self.limits.eos is None:
            raise ValueError("this captioner has no end token: pass text=, or captioner(..., eos=ID)")
        output, every = self.encode(inputs.pixels), len(inputs)
        features = self.in_rows(inputs, output)

        def decode(rows: Tensor, ids: Tensor) -> Tensor:
            if len(rows) == every and bool((rows == torch.arange(every, device=rows.device)).all()):
                return self._decode(features, ids)
            images = rows if inputs.image_index is None else inputs.image_index.to(rows.device)[rows]
            return self._decode(self.in_rows(replace(inputs, image_index=images), output), ids)

        decoder = PrefixDecoder(decode, self.outputs.log_probs, self._unsayable, self.limits.eos, self.device)
        if chosen.beam == 1:
            return decoder.greedy(every, longest)
        return decoder.search(every, longest, chosen.beam, chosen.length_penalty)

    def _unsayable(self, size: int) -> list[int]:
        """The ids below `size` that are never generated: start, unknown, and those that no word has."""
        words = self.tokenizer.words if isinstance(self.tokenizer, Words) else range(size)
        marks = {self.limits.bos, getattr(self.tokenizer, "unk", None)}
        return [i for i in range(size) if i in marks or (i not in words and i != self.limits.eos)]

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        rows = [self.tokenizer.encode(text, unknown) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if not row:
                raise ValueError(f"expected a text with words, got {text!r}")
            if len(row) > self.limits.max_words:
                raise ValueError(
                    f"the model says at most {self.limits.max_words} tokens, the text has {len(row)}: shorten it, or "
                    f"captioner(..., max_words={len(row)}): {text!r}"
                )
        return pad_ids(rows, self.device)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.tokenizer.tokens(ids)

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        return self.tokenizer.spans(ids, text)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        return self._decode(self.features(inputs, activations), ids.clamp(min=0))

    def _decode(self, features: Any, ids: Tensor) -> Tensor:
        outputs = self._outputs(features, ids)
        if not self._sized:
            self._check_size(outputs.shape[-1])
        return self.outputs.logits(outputs)

    def _check_size(self, size: int) -> None:
        check_size(self.tokenizer, size, (self.limits.bos, self.limits.eos))
        self._sized = True

    def _outputs(self, features: Any, ids: Tensor) -> Tensor:
        with differentiable_rnn(self.decoder, ids.device), embedding_limits(self.name, self.decoder, "max_words=", text=ids):
            check_call(self.decoder, "decoder", ("features", "ids"), "teacher-forced logits (b, t, v)")
            outputs: Tensor = self.decoder(features, ids)
        if outputs.ndim != 3 or outputs.shape[:2] != ids.shape:
            raise ValueError(
                f"decoder(features, ids): expected logits (b, t, v) = ({len(ids)}, {ids.shape[1]}, v), position i scoring "
                f"ids[:, i], got {tuple(outputs.shape)}"
            )
        return outputs


class AttendingCaptioner(CustomCaptioner):
    """A captioner whose attention is known: `attention_of(features, ids)`."""

    attention_of: Callable[[Any, Tensor], Tensor]

    def attention(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        """Attention `(b, t, h, w)`, from `(b, t, h, w)` or `(b, t, h w)`. Raises ValueError for another shape."""
        weights = self.attention_of(self.features(inputs, activations), ids.clamp(min=0))
        h, w = layer_view_of(self, inputs, self.layer).cells(activations).shape[-2:]
        if tuple(weights.shape) not in ((*ids.shape, h, w), (*ids.shape, h * w)):
            raise ValueError(
                f"attention(features, ids): expected (b, t, h, w) = {(*ids.shape, h, w)} or (b, t, h w), "
                f"got {tuple(weights.shape)}"
            )
        return weights.reshape(*ids.shape, h, w)


def captioner(
    *,
    encoder: nn.Module,
    decoder: nn.Module,
    tokenizer: Any,
    layout: Layouts = None,
    head_input_layer: nn.Module | None = None,
    readout: nn.Module | None = None,
    preprocess: Callable[[Image.Image], Tensor] | None = None,
    image_size: int = 224,
    placement: Callable[[int, int], Placement] | None = None,
    raw: bool = False,
    regions: Regions | None = None,
    bos: int | None = None,
    eos: int | None = None,
    unk: int | None = None,
    max_words: int = 64,
    outputs: Outputs | None = None,
    attention: Callable[[Any, Tensor], Tensor] | None = None,
    name: str = "captioner",
) -> CustomCaptioner:
    """Your own captioner, ready for `explain`: `captioner(encoder=cnn, decoder=rnn, tokenizer=words)`.

    Args:
        encoder: `encoder(pixels)` gives a grid `(b, c, h, w)` or `(b, h, w, c)`, or tokens `(b, n, c)`, alone or in a tuple, list
            or dict; its output is the tapped layer (`explain(..., layer="encoder.layer3")` taps another).
        decoder: `decoder(features, ids)` gives teacher-forced logits `(b, t, v)`; position `i` scores `ids[:, i]` and sees only
            `ids[:, :i]`, so the decoder puts its own start token in front.
        tokenizer: The vocabulary: a list of words, `{word: id}`, `{id: word}`, an object with `word2idx`, `stoi` or `itos`, a
            tokenizer of Hugging Face, one with `encode` and `decode`, or with `encode`, `tokens` and `spans` (see `Words`).
        layout: What the axes of the encoder's output are (`channels_first`, `channels_last`, `tokens`, or letters such as `bhwc`,
            `b1+nc`), or of several layers by their names, `{"encoder.layer3": "bhwc"}`. None: they are measured, by changing
            parts of a photo.
        head_input_layer: Pooling or linear module of the decoder that alone reads the features; evidence gets faster.
        readout: Last linear layer of the decoder, if it runs once on hidden states `(b, t, d)`; maps get faster.
        preprocess: One image -> pixels `(3, H, W)`. None: the image is squeezed to `image_size`, with ImageNet's mean and
            deviation.
        image_size: Side of the squeezed image in pixels.
        placement: Placement of the pixels on an image of the given width and height (`geometry.squeeze`, `center_crop`,
            `letterbox`). None: measured, with photos of known patterns.
        raw: Hand `preprocess` the array as stored, `(H, W)` or `(H, W, bands)`, and no RGB image: 12 or 16 bits, floating point,
            four bands, DICOM. The photo of no content is then each photo's own mean.
        regions: Boxes of a photo, of an encoder that gives a row of features for each, `(b, r, d)` (bottom-up attention): a
            function from the photo to `(r, 4)`, x0, y0, x1, y1 in its pixels. Maps are then `(r, 1)`, a value for each box, and
            drawn as boxes. `preprocess` may give the features of these boxes, `(r, d)`, which are zeros where there is no photo;
            a photo that was a file has its path as `filename`.
        bos: Id of the start token, which is never generated.
        eos: Id of the end token; needed to generate.
        unk: Id of the unknown word, for a `tokenizer` that is a vocabulary of words.
        max_words: Longest text in tokens: greedy decoding and beam search cut it off there.
        outputs: What the decoder gives: `logits`, `log_probs`, `probabilities`, or `sigmoid` for a probability of its own for
            each word. None: noticed, and said where it is not logits.
        attention: `attention(features, ids)` gives the decoder's own weights of the cells for each token, `(b, t, h, w)` or
            `(b, t, h w)`, for `explain(method="attention")`.
        name: Name in records and pages.

    Returns:
        A `TaskAdapter`.

    Raises:
        TypeError, ValueError: The `tokenizer` is of no kind that can be read, or two of its words share an id; there are
            more words than logits, or `outputs` is not what the decoder gives.
    """
    kind = CustomCaptioner if attention is None else AttendingCaptioner
    made = kind(
        unwrapped(encoder, "encoder"),
        unwrapped(decoder, "decoder"),
        tokenizer_of(tokenizer, unk),
        ImagePreprocessing(preprocess, image_size, placement, raw, regions),
        DecodingLimits(bos, eos, max_words),
        layout=layout,
        head_input_layer=head_input_layer,
        readout=readout,
        outputs=outputs,
        name=name,
    )
    if isinstance(made, AttendingCaptioner):
        assert attention is not None
        made.attention_of = attention
    return made
