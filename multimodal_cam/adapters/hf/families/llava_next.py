"""LLaVA-NeXT, also called LLaVA 1.6 (Liu et al., 2024), and LLaVA-OneVision (Li et al., 2024): LLaVA with tiles."""

from __future__ import annotations

from torch import nn

from ..family_spec import Capabilities, FamilySpec
from ..tiled_model import TiledModel
from .llava import chat_of_one_turn, selected_feature_layer


class LlavaNext(TiledModel):
    """LLaVA's layer. The first part is the whole photo, squeezed; the tiles are cut from the photo with margins around it.

    Cells on the margins never reach the words: their gradient is 0. Of very many tiles OneVision interpolates the features.
    """

    capabilities = Capabilities(grid_follows_image=True, thumbnail_before_tiles=True)

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        return selected_feature_layer(self.model)

    def prompt_template(self, asked: str) -> str:
        return chat_of_one_turn(self.processor.image_token, asked)

    def tile_grid(self, width: int, height: int) -> tuple[int, int]:
        from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

        config = self.model.config
        side = config.vision_config.image_size
        rows, columns = get_anyres_image_grid_shape((height, width), config.image_grid_pinpoints, side)  # type: ignore[no-untyped-call]
        return rows, columns


SPECS = (
    FamilySpec(
        name="LLaVA-NeXT (1.6)",
        task="captioning, vqa",
        architectures=("LlavaNextForConditionalGeneration",),
        adapter=LlavaNext,
        layer="model.vision_tower.encoder.layers[vision_feature_layer]",
        grid="24 x 24 a tile of 336 px",
        tokenizer="SentencePiece",
        memory="15 GB (7B, float16)",
    ),
    FamilySpec(
        name="LLaVA-OneVision",
        task="captioning, vqa",
        architectures=("LlavaOnevisionForConditionalGeneration",),
        adapter=LlavaNext,
        layer="model.vision_tower.encoder.layers[vision_feature_layer]",
        grid="27 x 27 a tile of 384 px",
        tokenizer="byte-level BPE",
        memory="1.8 GB (0.5B, bfloat16)",
    ),
)
