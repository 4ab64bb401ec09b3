"""BLIP-2 (Li et al., ICML 2023) and InstructBLIP (Dai et al., NeurIPS 2023): a ViT, a Q-Former, a language model.

The Q-Former's queries mix the cells of the ViT's last block, so every image token has seen all of the image.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...inputs import Inputs
from ..decoding import encoder_decoder_logits, generate_with_encoder
from ..family_spec import Capabilities, FamilySpec
from ..image_input import pixels_only
from ..loaded_model import LoadedModel
from ..prompts import JointPrompt
from .blip import last_block

REQUEST = "a photo of"


def prompt_template(_processor: Any, asked: str) -> str:
    return asked if asked == REQUEST else f"Question: {asked} Answer:"


def generate_behind_embeddings(loaded: LoadedModel, inputs: Inputs, **options: Any) -> Tensor:
    """OPT's and Vicuna's ids: their `generate` repeats the prompt in some versions of transformers, and not in others."""
    assert inputs.question_ids is not None
    kwargs = loaded.forward_kwargs(inputs, inputs.question_ids)
    generated: Tensor = loaded.model.generate(input_ids=inputs.question_ids, **kwargs, **options)
    prompt = inputs.question_ids.shape[1]
    repeated = generated.shape[1] >= prompt and torch.equal(generated[:, :prompt], inputs.question_ids)
    return generated[:, prompt:] if repeated else generated


def with_its_language_model(spec: FamilySpec, model: Any, _processor: Any, _name: str) -> FamilySpec:
    """A T5 has an encoder; OPT and Vicuna have none."""
    if model.config.use_decoder_only_language_model:
        return spec
    return replace(spec, logits=encoder_decoder_logits, generate=generate_with_encoder)


def q_former_inputs(_loaded: LoadedModel, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    return values["pixel_values"], {name: values[name] for name in ("qformer_input_ids", "qformer_attention_mask")}


def q_former_length(loaded: LoadedModel, question: str | None) -> Hashable:
    """The Q-Former reads the question, too: in tokens of its own, which shares of words leave out."""
    return len(loaded.processor.qformer_tokenizer(loaded.spec.prompt.text(loaded, question)).input_ids)


BLIP2 = FamilySpec(
    name="BLIP-2",
    architectures=("Blip2ForConditionalGeneration",),
    layer="vision_model.encoder.layers[-1]",
    grid="16 x 16 at 224 px",
    tokenizer="byte-level BPE (OPT) or SentencePiece (T5)",
    memory="7.5 GB (OPT-2.7B, float16)",
    vision_tower_and_layer=last_block,
    prompt=JointPrompt(request=REQUEST, template=prompt_template),
    split_output=pixels_only,
    generate=generate_behind_embeddings,
    for_checkpoint=with_its_language_model,
)
SPECS = (
    BLIP2,
    replace(
        BLIP2,
        name="InstructBLIP",
        architectures=("InstructBlipForConditionalGeneration",),
        tokenizer="SentencePiece",
        memory="16 GB (Vicuna-7B, float16)",
        capabilities=Capabilities(tower_shared_by_questions=False),
        prompt=JointPrompt(request="Write a short description of the photo.", template=lambda _processor, asked: asked),
        split_output=q_former_inputs,
        batch_key=q_former_length,
    ),
)
