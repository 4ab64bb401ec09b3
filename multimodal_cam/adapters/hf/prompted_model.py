"""Vision-language models: the photo stands in a prompt, whose tokens the processor writes; the text follows the prompt."""

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
    """The processor makes ids of the photo and the question together; a family says which layer, and what is its own.

    Without a question the model is asked for a caption, in `request`'s words.
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
        """The prompt that the processor gets: by the checkpoint's own chat template, if it has one."""
        asked = self.caption_request if question is None else question
        if not getattr(self.processor, "chat_template", None):
            return self.prompt_template(asked)
        content = [{"type": "image"}, {"type": "text", "text": asked}]
        chat: str = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return chat

    def split_processor_output(self, values: dict[str, Tensor], image: Image) -> tuple[Tensor, dict[str, Tensor]]:
        """One photo's pixels `(1, ...)` and what else the model takes of it `(1, ...)`, from all that the processor gave."""
        return values["pixel_values"], {name: value for name, value in values.items() if name not in OF_THE_PROMPT}

    def preprocess(self, images: Sequence[Image], questions: Sequence[str] | None = None) -> Inputs:
        each: Sequence[str | None] = questions or [None] * len(images)
        prompts: list[list[int]] = []
        seen = []
        for image, question in zip(images, each, strict=True):
            values = self._processed(image, self.prompt_text(question))
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
            question_slice=self._question_slice(each, prompts),
        )

    def _processed(self, image: Image, text: str) -> dict[str, Tensor]:
        """All that the processor makes of both."""
        return dict(self.processor(images=image, text=text, return_tensors="pt", **self.text.prompt_options(text)))

    def batch_key(self, image: Image, question: str | None) -> Hashable:
        kind = super().batch_key(image, self.caption_request if question is None else question), question is None
        return (kind, image.size) if self.capabilities.grid_follows_image else kind

    def forward_kwargs(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        """What the model takes beside the `ids` `(b, n)` of prompt and text."""
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
