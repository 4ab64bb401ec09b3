"""VisionEncoderDecoderModel: Swin, Donut or ViT encoders with a GPT-2, BERT or BART decoder; ViT-GPT2, Donut, TrOCR."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...inputs import Inputs
from ..base_model import HuggingFace, shift_right, tower_blocks
from ..family_spec import FamilySpec


class VisionEncoderDecoder(HuggingFace):
    """Its encoder is the tower, its last block (stage, in Swin) the layer."""

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        return self.model.encoder, tower_blocks(self.model.encoder)[-1]

    def teacher_forced_logits(self, inputs: Inputs, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(
            pixel_values=inputs.pixels, decoder_input_ids=shift_right(self._start_id, ids), use_cache=False
        ).logits
        return logits

    def generate_ids(self, inputs: Inputs, **options: Any) -> Tensor:
        said: Tensor = self.model.generate(pixel_values=inputs.pixels, **options)
        return said[:, 1:]

    @property
    def _start_id(self) -> int:
        """What the decoder reads first; where a checkpoint does not say, the start of its decoder's texts."""
        model = self.model
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
        adapter=VisionEncoderDecoder,
        layer="the encoder's last block or stage",
        grid="H/16 for ViT, H/32 for Swin",
        tokenizer="byte-level BPE, WordPiece or SentencePiece",
        memory="1 GB (ViT-GPT2, float32)",
    ),
)
