"""Vision-language models: the image stands in a prompt that the processor tokenizes; the text follows the prompt."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ..inputs import Inputs, deduplicate_images, pad_ids
from .base_model import HuggingFace

OF_THE_PROMPT = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "labels", "pixel_values")


class PromptedModel(HuggingFace):
    """A model whose processor takes image and prompt together. A family adds its layer, and where it differs.

    Without a question the prompt asks for a caption: `caption_request`.
    """

    task = "captioning, vqa"
    caption_request = "Describe the photo in one sentence."

    def question_embedding_layer(self) -> nn.Module | None:
        layer: nn.Module | None = self.model.get_input_embeddings()
        return layer

    def prompt_template(self, asked: str) -> str:
        """The prompt where the checkpoint has no chat template."""
        return f"{self.processor.image_token}{asked}"

    def prompt_text(self, question: str | None) -> str:
        """The prompt that the processor gets: by the checkpoint's own chat template, else by `prompt_template`."""
        asked = self.caption_request if question is None else question
        if not getattr(self.processor, "chat_template", None):
            return self.prompt_template(asked)
        content = [{"type": "image"}, {"type": "text", "text": asked}]
        chat: str = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return chat

    def split_processor_output(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        """One image's pixels `(1, ...)` and further model inputs `(1, ...)`, from all outputs of the processor."""
        return values["pixel_values"], {name: value for name, value in values.items() if name not in OF_THE_PROMPT}

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        each: Sequence[str | None] = questions or [None] * len(images)
        prompts: list[list[int]] = []
        seen = []
        for image, question in zip(images, each, strict=True):
            values = self.process_image_and_text(image, self.prompt_text(question))
            prompts.append(values["input_ids"][0].tolist())
            seen.append(self.split_processor_output(values, image))
        photo = deduplicate_images(images)[1] if self.capabilities.tower_shared_by_questions else None
        first = range(len(images)) if photo is None else [photo.tolist().index(i) for i in range(int(photo.max()) + 1)]
        pixels, extra = zip(*(seen[i] for i in first), strict=True)
        device = self.device
        return Inputs(
            torch.cat(pixels).to(device, self.dtype),
            tuple(self.placement(*image.size) for image in images),
            question_ids=pad_ids(prompts, device),
            image_index=None if photo is None else photo.to(device),
            extra_inputs={name: torch.cat([one[name] for one in extra]).to(device) for name in extra[0]},
            question_slice=self.question_slice_of(each, prompts),
        )

    def process_image_and_text(self, image: Image, text: str) -> dict[str, Tensor]:
        """All outputs of the processor for one image and its prompt."""
        return dict(self.processor(images=image, text=text, return_tensors="pt", **self.text.prompt_options(text)))

    def batch_key(self, image: Image, question: str | None) -> Hashable:
        kind = super().batch_key(image, self.caption_request if question is None else question), question is None
        return (kind, image.size) if self.capabilities.grid_follows_image else kind

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        """Arguments of the model beside the `ids` `(b, n)` of prompt and text."""
        return {"pixel_values": inputs.pixels, "attention_mask": torch.ones_like(ids), **inputs.extra_inputs}

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        assert inputs.question_ids is not None
        said = torch.cat([inputs.question_ids, ids[:, :-1]], dim=1)
        kwargs = self.forward_kwargs(inputs, said)
        logits: Tensor = self.model(input_ids=said, use_cache=False, logits_to_keep=ids.shape[1], **kwargs).logits
        return logits

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        assert inputs.question_ids is not None
        said: Tensor = self.model.generate(
            input_ids=inputs.question_ids, **self.forward_kwargs(inputs, inputs.question_ids), **options
        )
        return said[:, inputs.question_ids.shape[1] :]

    @property
    def text_prefix(self) -> str:  # type: ignore[override]
        """A space, where the prompt ends in the middle of a line and the tokenizer does not put one there itself."""
        end = self.prompt_text("?")[-1:]
        begins = self.tokenizer.convert_ids_to_tokens(self.tokenizer("a", add_special_tokens=False).input_ids)
        return "" if end.isspace() or end == ">" or begins[0].startswith("▁") else " "


class EncoderDecoderModel(PromptedModel):
    """The same with an encoder and a decoder: the prompt is the encoder's, the text begins with the decoder's start."""

    def decoder_prefix_ids(self) -> list[int]:
        return start_and_forced_ids(self.model)

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        return encoder_decoder_logits(self, inputs, ids)

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        return generate_with_encoder(self, inputs, **options)


def start_and_forced_ids(model: Any) -> list[int]:
    """What a decoder is given to begin with: its start token, and the token that it is forced to say first."""
    generation, config = model.generation_config, model.config.get_text_config()
    start, forced = generation.decoder_start_token_id, generation.forced_bos_token_id
    start = config.decoder_start_token_id if start is None else start
    return [start] if forced is None else [start, forced]


def encoder_decoder_logits(adapter: PromptedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    """Teacher-forced logits `(b, t, v)` where the prompt goes into an encoder, and the `ids` `(b, t)` into a decoder."""
    assert inputs.question_ids is not None
    prefix = ids.new_tensor(adapter.decoder_prefix_ids()).expand(len(ids), -1)
    logits: Tensor = adapter.model(
        input_ids=inputs.question_ids,
        decoder_input_ids=torch.cat([prefix, ids[:, :-1]], dim=1),
        use_cache=False,
        logits_to_keep=ids.shape[1],
        **adapter.forward_kwargs(inputs, inputs.question_ids),
    ).logits
    return logits[:, -ids.shape[1] :]  # some, T5 among them, keep none back


def generate_with_encoder(adapter: PromptedModel, inputs: Inputs, **options: Any) -> Tensor:
    """The ids `(b, t)` that an encoder-decoder's `generate` gives behind the decoder's prefix."""
    assert inputs.question_ids is not None
    prefix = len(adapter.decoder_prefix_ids())
    for limit in ("min_new_tokens", "max_new_tokens"):
        if limit in options:
            options[limit] += prefix - 1  # what is forced counts for generate, and is no word
    kwargs = adapter.forward_kwargs(inputs, inputs.question_ids)
    generated: Tensor = adapter.model.generate(input_ids=inputs.question_ids, **kwargs, **options)
    return generated[:, prefix:]
