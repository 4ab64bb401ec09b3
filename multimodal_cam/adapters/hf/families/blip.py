"""BLIP (Li et al., ICML 2022): captioning, and question answering, whose own forward returns no logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...inputs import Inputs
from ..decoding import no_layer, shift_right
from ..family_spec import FamilySpec
from ..image_input import pixels_only
from ..loaded_model import LoadedModel
from ..prompts import SeparatePrompt, required_question_ids


def last_block(model: Any) -> tuple[nn.Module, nn.Module]:
    """The last of the ViT's blocks."""
    return model.vision_model, model.vision_model.encoder.layers[-1]


def vocabulary_layer(model: Any) -> nn.Module | None:
    layer: nn.Module = model.text_decoder.get_output_embeddings()
    return layer


def question_embeddings(model: Any) -> nn.Module | None:
    layer: nn.Module = model.text_encoder.get_input_embeddings()
    return layer


def text_ends(model: Any) -> set[int]:
    return {model.config.text_config.sep_token_id, model.config.text_config.pad_token_id}


def caption_logits(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    """Cross-attention from the words to the patches and CLS."""
    read = shift_right(loaded.model.config.text_config.bos_token_id, ids)
    logits: Tensor = loaded.model(pixel_values=inputs.pixels, input_ids=read).logits
    return logits


def answer_logits(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    """The question reads the image, the answer reads the question."""
    assert inputs.question_ids is not None
    model = loaded.model
    image = model.vision_model(pixel_values=inputs.pixels).last_hidden_state
    mask = torch.ones(image.shape[:-1], dtype=torch.long, device=image.device)
    question = model.text_encoder(
        input_ids=inputs.question_ids, encoder_hidden_states=image, encoder_attention_mask=mask
    ).last_hidden_state
    read = shift_right(model.config.text_config.bos_token_id, ids)
    logits: Tensor = model.text_decoder(input_ids=read, encoder_hidden_states=question).logits
    return logits


def generate(loaded: LoadedModel, inputs: Inputs, **options: Any) -> Tensor:
    """BLIP's `generate` reads the text decoder's length limit, not its own: it is told that."""
    if not {"max_new_tokens", "max_length"} & options.keys():
        options["max_length"] = loaded.model.generation_config.max_length
    question = {} if inputs.question_ids is None else {"input_ids": inputs.question_ids}
    generated: Tensor = loaded.model.generate(pixel_values=inputs.pixels, **question, **options)
    return generated[:, 1:]


CAPTIONING = FamilySpec(
    name="BLIP captioning",
    task="captioning",
    architectures=("BlipForConditionalGeneration",),
    layer="vision_model.encoder.layers[-1]",
    grid="24 x 24 at 384 px",
    tokenizer="WordPiece",
    memory="1 GB (base, float32)",
    vision_tower_and_layer=last_block,
    readout=vocabulary_layer,
    question_layer=no_layer,
    prompt=SeparatePrompt(),
    split_output=pixels_only,
    logits=caption_logits,
    generate=generate,
    stop_ids=text_ends,
)
SPECS = (
    CAPTIONING,
    replace(
        CAPTIONING,
        name="BLIP VQA",
        task="vqa",
        architectures=("BlipForQuestionAnswering",),
        memory="1.5 GB (base, float32)",
        question_layer=question_embeddings,
        prompt=SeparatePrompt(required_question_ids),
        logits=answer_logits,
    ),
)
