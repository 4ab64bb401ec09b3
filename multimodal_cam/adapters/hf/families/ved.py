"""VisionEncoderDecoderModel: Swin, Donut or ViT encoders with a GPT-2, BERT or BART decoder; ViT-GPT2, Donut, TrOCR."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...inputs import Inputs
from ..decoding import no_layer, shift_right
from ..family_spec import FamilySpec
from ..image_input import pixels_only
from ..loaded_model import LoadedModel
from ..prompts import SeparatePrompt
from ..vision_tower import tower_blocks


def last_block(model: Any) -> tuple[nn.Module, nn.Module]:
    """The encoder is the tower, its last block (stage, in Swin) the layer."""
    return model.encoder, tower_blocks(model.encoder)[-1]


def logits(loaded: LoadedModel, inputs: Inputs, ids: Tensor) -> Tensor:
    read = shift_right(_start_id(loaded.model), ids)
    found: Tensor = loaded.model(pixel_values=inputs.pixels, decoder_input_ids=read, use_cache=False).logits
    return found


def generate(loaded: LoadedModel, inputs: Inputs, **options: Any) -> Tensor:
    generated: Tensor = loaded.model.generate(pixel_values=inputs.pixels, **options)
    return generated[:, 1:]


def _start_id(model: Any) -> int:
    """What the decoder reads first; where a checkpoint does not say, the start of its decoder's texts."""
    choices = [getattr(model.generation_config, "decoder_start_token_id", None)]
    choices += [getattr(model.config, "decoder_start_token_id", None), model.generation_config.bos_token_id]
    choices += [model.config.decoder.bos_token_id]
    start: int = next(choice for choice in choices if choice is not None)
    return start


SPECS = (
    FamilySpec(
        name="VisionEncoderDecoder (ViT-GPT2, Swin, Donut)",
        task="captioning",
        architectures=("VisionEncoderDecoderModel",),
        layer="the encoder's last block or stage",
        grid="H/16 for ViT, H/32 for Swin",
        tokenizer="byte-level BPE, WordPiece or SentencePiece",
        memory="1 GB (ViT-GPT2, float32)",
        vision_tower_and_layer=last_block,
        prompt=SeparatePrompt(),
        question_layer=no_layer,
        split_output=pixels_only,
        logits=logits,
        generate=generate,
    ),
)
