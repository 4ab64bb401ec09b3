"""Adapter of all Hugging Face families: images in, text out, and the head on its own. A family adds its tower and prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ...core.geometry import Placement
from ...core.spans import Span
from ..contract import Unknown, UnknownWordError, refuse_questions
from ..inputs import Inputs, deduplicate_images, pad_ids
from . import detokenization, image_placement, question_location
from .compute_device import device_of, dtype_of
from .family_spec import Capabilities
from .text import TextTokenizer
from .token_views import TokenView
from .tower_cut import TowerCut

MAX_NEW_TOKENS = 64  # where neither the caller nor the checkpoint says


class HuggingFace(ABC):
    """A model and its processor. A family implements `vision_tower_and_layer`, `teacher_forced_logits` and `generate_ids`."""

    task = "captioning"
    default_score: str = "log_prob"
    default_method: str = "grad_cam"
    n_alternatives: int = 0
    capabilities: Capabilities = Capabilities()
    head_input_layer: nn.Module | None = None
    text_prefix = ""  # put before a text when it is tokenized
    tower: nn.Module
    layer: nn.Module

    def __init__(self, model: Any, processor: Any, name: str, provenance: Mapping[str, str] | None = None) -> None:
        self.model, self.processor, self.name = model, processor, name
        self.module: nn.Module = model
        self.tokenizer: Any = getattr(processor, "tokenizer", processor)
        self.text = TextTokenizer(self.tokenizer)
        self.image_processor: Any = getattr(processor, "image_processor", processor)
        self.provenance = dict(provenance or {})
        self.tower, self.layer = self.vision_tower_and_layer()
        self.readout: nn.Module | None = self.output_projection()
        self.question_layer: nn.Module | None = self.question_embedding_layer()
        self.prefix = count_prefix_tokens(self.tower)
        self._tower_cut = TowerCut(self.tower, self.layer)
        self._placements: dict[tuple[int, int], Placement] = {}
        self._baseline: tuple[Hashable, Tensor] | None = None

    @property
    def question_before_layer(self) -> bool:
        """Whether the layer's activations depend on the question: its words' scores then take a run of the whole network."""
        return self.capabilities.question_before_layer

    # ---- what a family declares --------------------------------------------------------------------------------------------

    @abstractmethod
    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        """The vision tower, and the layer of it that is explained by default."""

    def output_projection(self) -> nn.Module | None:
        """Output projection: hidden states `(b, t, d)` of the scored positions to logits; None if it cannot be hooked."""
        layer: nn.Module | None = self.model.get_output_embeddings()
        return layer

    def question_embedding_layer(self) -> nn.Module | None:
        """Embedding layer of the question's tokens, `(b, n, d)`, run once in a forward; None for a family without questions."""
        return None

    def run_tower(self, inputs: Inputs) -> None:
        """Run the vision tower on every distinct image."""
        self.tower(pixel_values=inputs.pixels)

    @abstractmethod
    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        """The model's own forward under teacher forcing: logits `(b, t, v)`, position `i` scores `ids[:, i]`."""

    @abstractmethod
    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        """The model's own `generate`: ids `(b, t)` behind the prompt and the start token."""

    def decoder_prefix_ids(self) -> list[int]:
        """Ids that the decoder of a prompted encoder-decoder starts with; empty where the text follows the prompt."""
        return []

    def prompt_ids(self, question: str | None, inputs: Inputs) -> list[int] | None:
        """The ids that the text follows; None for a family that starts from nothing."""
        if question is not None:
            refuse_questions(self.name, [question])
        return None

    def prompt_text(self, question: str | None) -> str:
        """The prompt's text, with the question in it."""
        return question or ""

    def grid_shape(self, inputs: Inputs) -> tuple[int, int] | None:
        """The grid of `layer`; None where the proportions of the pixels say enough."""
        return None

    # ---- photos --------------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Device of the vision tower; sharded models move other inputs themselves."""
        return device_of(self.tower)

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self.tower)

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        once, photo = deduplicate_images(images)
        pixels, extra = self.process_images(once)
        device = self.device
        inputs = Inputs(
            pixels.to(device, self.dtype),
            tuple(self.placement(*image.size) for image in images),
            image_index=None if photo is None else photo.to(device),
            extra_inputs={name: value.to(device) for name, value in extra.items()},
        )
        each: Sequence[str | None] = questions or [None] * len(images)
        prompts = [self.prompt_ids(question, inputs) for question in each]
        asked = [prompt for prompt in prompts if prompt is not None]
        return inputs.with_questions(pad_ids(asked, device), self.question_slice_of(each, asked)) if asked else inputs

    def process_images(self, images: Sequence[Image]) -> tuple[Tensor, dict[str, Tensor]]:
        """The image processor's pixels `(p, 3, H, W)`, and the further model inputs of each image."""
        values = self.image_processor(list(images), return_tensors="pt")
        return values["pixel_values"], {}

    def placement(self, width: int, height: int) -> Placement:
        if (width, height) not in self._placements:
            self._placements[width, height] = image_placement.measure(width, height, self.unnormalized_image)
        return self._placements[width, height]

    def unnormalized_image(self, image: Image) -> Tensor:
        """The image as the tower gets it, `(3, H, W)`, but in 0..255: resized and cropped, not normalized."""
        return self.processed_image(
            dict(self.image_processor([image], return_tensors="pt", do_rescale=False, do_normalize=False))
        )

    def processed_image(self, values: Mapping[str, Tensor]) -> Tensor:
        """The pixels `(3, H, W)` of one image in the image processor's output."""
        return values["pixel_values"][0].float()

    def batch_key(self, image: Image, question: str | None) -> Hashable:
        """Rows of one batch have this in common: the prompt's length, and where in it the question stands."""
        if question is None:
            return 0
        found = self._locate_question(question)
        where = found and (found.start, found.stop)
        return len(self.text.prompt_tokens(self.prompt_text(question))[1]), where

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """Mean-colour images: 0 after normalization, grey without."""
        normalized = getattr(self.image_processor, "do_normalize", True)
        return replace(inputs, pixels=torch.full_like(inputs.pixels, 0 if normalized else 0.5))

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """The layer's activations of a mean-colour image, kept until the weights or the size change."""
        changes = sum(0 if weight.is_inference() else weight._version for weight in self.tower.parameters())
        state = (self.device, self.dtype, changes, self.cache_key(inputs))
        if self._baseline is None or self._baseline[0] != state:
            self._baseline = (state, self.layer_activations(self.baseline_inputs(_first_images(inputs, 1))).detach())
        return self._baseline[1]

    # ---- the layer -----------------------------------------------------------------------------------------------------

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> TokenView:
        """View of `layer`: a grid of the image's proportions behind the prefix tokens, which have no place."""
        ratio = inputs.pixels.shape[-2] / inputs.pixels.shape[-1]
        return TokenView(self.prefix, ratio, self.grid_shape(inputs) if layer is self.layer else None)

    def cache_key(self, inputs: Inputs) -> Hashable:
        return tuple(inputs.pixels.shape[1:])

    def layer_activations(self, inputs: Inputs) -> Tensor:
        """The layer's activations, one row a distinct image: the tower runs alone, and once."""
        output = self._tower_cut.run_to_layer(self.cache_key(inputs), len(inputs.pixels), lambda: self.run_tower(inputs))
        return self.layer_view(inputs, self.layer).extract(output)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        if activations is None:
            if inputs.image_index is None:
                return self.teacher_forced_logits(inputs, ids.clamp(min=0))
            activations = inputs.to_rows(self.layer_activations(inputs))
        with self.run_head_from(inputs, activations):
            return self.teacher_forced_logits(placeholder_inputs(inputs, len(ids)), ids.clamp(min=0))

    def run_head_from(self, inputs: Inputs, activations: Tensor) -> Any:
        kind = self.cache_key(inputs)
        if not self._tower_cut.is_recorded(kind):
            with torch.no_grad():
                self.layer_activations(_first_images(inputs, 1))
        return self._tower_cut.run_from_layer(kind, activations, self.layer_view(inputs, self.layer))

    # ---- words ---------------------------------------------------------------------------------------------------------

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """The model's own `generate`; `beam=3` is its `num_beams`, other options go to it as they are. One word at least."""
        beam = options.pop("beam", None)
        if beam is not None:
            options["num_beams"] = beam
        if not {"max_new_tokens", "max_length"} & options.keys():
            options |= self.length_limits()
        options.setdefault("min_new_tokens", 1)
        said = self.generate_from_layer(inputs, **options)
        stops = self.stop_ids()
        rows = []
        for row in said.tolist():
            end = next((i for i, token in enumerate(row) if token in stops), len(row))
            rows.append(row[:end])
        if not all(rows):
            raise ValueError(f"{self.name} says nothing about this photo: pass text=")
        return pad_ids(rows, said.device)

    def generate_from_layer(self, inputs: Inputs, **options: Any) -> Tensor:
        """What `generate_ids` gives for the photos; the tower runs once for each of them, and not in `generate`."""
        activations = inputs.to_rows(self.layer_activations(inputs))
        with self.run_head_from(inputs, activations):
            return self.generate_ids(placeholder_inputs(inputs, len(inputs)), **options)

    def length_limits(self) -> dict[str, Any]:
        """Length limit of `generate`: the checkpoint's, or `MAX_NEW_TOKENS` where that is transformers' default of 20."""
        own = getattr(self.model, "generation_config", None)
        if getattr(own, "max_new_tokens", None) is None and getattr(own, "max_length", None) not in (None, 20):
            return {}
        return {"max_new_tokens": getattr(own, "max_new_tokens", None) or MAX_NEW_TOKENS}

    def stop_ids(self) -> set[int]:
        """The tokens that end a text."""
        ends = [getattr(self.tokenizer, f"{kind}_token_id", None) for kind in ("eos", "sep", "pad")]
        own = getattr(self.model, "generation_config", None)
        for kind in ("eos_token_id", "pad_token_id"):
            value = getattr(own, kind, None)
            ends += value if isinstance(value, list) else [value]
        return {end for end in ends if end is not None}

    def tokenize(self, texts: Sequence[str], unknown: Unknown = "error") -> Tensor:
        rows = [self.text.ids(self.text_prefix + text) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if not row:
                raise ValueError(f"expected a text with words, got {text!r}")
            lost = [span.text for span in self.spans(row, text) if not span.known]
            if lost and unknown == "error":
                raise UnknownWordError(
                    f"the model cannot say {', '.join(map(repr, lost))}: choose another word, or unknown='unk' to feed it as "
                    f"{self.tokenizer.unk_token}"
                )
        return pad_ids(rows, self.device)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.text.tokens(ids)

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        return self.text.spans(ids, text, self.text_prefix)

    def replace_word(self, ids: Sequence[int], word: Span, other: str) -> list[int]:
        """The ids with `other` said in the place of `word`, what comes before it unchanged."""
        return self.text.replace_word(ids, word, other)

    def question_spans(self, question: str) -> list[Span]:
        found = self._locate_question(question)
        if found is None:
            return []
        own = found.ids[found.start : found.stop]
        return self.text.mark_unknown(detokenization.word_spans(found.text, found.ranges), own)

    def question_view(self, inputs: Inputs) -> question_location.QuestionView | None:
        return None if inputs.question_slice is None else question_location.QuestionView(*inputs.question_slice)

    def question_slice_of(self, questions: Sequence[str | None], prompts: Sequence[Sequence[int]]) -> detokenization.Range | None:
        """Which tokens of their prompts the questions are; None where it is not known, or not the same for all."""
        runs = set()
        for question, prompt in zip(questions, prompts, strict=True):
            found = None if question is None else self._locate_question(question)
            runs.add(None if found is None else found.slice_in_prompt(prompt))
        return runs.pop() if len(runs) == 1 else None

    def _locate_question(self, question: str) -> question_location.QuestionLocation | None:
        before, _, _ = self.prompt_text(question_location.QUESTION_MARK).partition(question_location.QUESTION_MARK)
        return question_location.locate(question, before, *self.text.prompt_tokens(self.prompt_text(question)))


def count_prefix_tokens(tower: nn.Module) -> int:
    """How many tokens without a place a transformer puts in front of its patches."""
    count = 0
    for name, weight in tower.named_parameters():
        kind = name.rpartition(".")[2]
        if kind in ("cls_token", "class_token", "class_embedding", "distillation_token", "dist_token"):
            count += 1
        elif kind in ("register_tokens", "reg_token"):
            count += weight.shape[-2]
    return count


def tower_blocks(tower: nn.Module) -> nn.ModuleList:
    """The tower's own blocks: its shallowest list of modules that is called layers, layer, blocks or stages."""
    lists = [
        (name.count("."), part)
        for name, part in tower.named_modules()
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] in ("layers", "layer", "blocks", "stages")
    ]
    if not lists:
        raise ValueError(f"{type(tower).__name__} has no list of blocks: it is no vision tower that is known here")
    return min(lists, key=lambda pair: pair[0])[1]


def shift_right(start: int, ids: Tensor) -> Tensor:
    """Decoder inputs under teacher forcing of `ids` `(b, t)`: the start token, then all but the last."""
    return torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)


def _first_images(inputs: Inputs, count: int) -> Inputs:
    """The first distinct images, without questions."""
    extra = {name: value[:count] for name, value in inputs.extra_inputs.items()}
    return Inputs(inputs.pixels[:count], inputs.placements[:count], extra_inputs=extra)


def placeholder_inputs(inputs: Inputs, rows: int) -> Inputs:
    """Inputs of `rows` rows whose pixels are ones: the head reads their shape, never their values."""
    copies = rows // len(inputs)
    pixels = inputs.pixels.new_ones(()).expand(rows, *inputs.pixels.shape[1:])
    one = replace(
        inputs,
        pixels=inputs.pixels[:0],
        image_index=None,
        extra_inputs={k: inputs.to_rows(v) for k, v in inputs.extra_inputs.items()},
    )
    return replace(one.repeat(copies), pixels=pixels)
