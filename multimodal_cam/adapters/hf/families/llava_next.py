"""LLaVA-NeXT, also called LLaVA 1.6 (Liu et al., 2024), and LLaVA-OneVision (Li et al., 2024): LLaVA with tiles.

The first part is the whole image, squeezed; the tiles are cut from the image with margins around it. Cells on the margins never
reach the words: their gradient is 0. Of very many tiles OneVision interpolates the features.
"""

from __future__ import annotations

from dataclasses import replace

from ..family_spec import Capabilities, FamilySpec
from ..loaded_model import LoadedModel
from ..tiled_input import Tiling
from .llava import CHAT_OF_ONE_TURN, selected_feature_layer


def tile_grid(loaded: LoadedModel, width: int, height: int) -> tuple[int, int]:
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

    config = loaded.model.config
    side = config.vision_config.image_size
    rows, columns = get_anyres_image_grid_shape((height, width), config.image_grid_pinpoints, side)  # type: ignore[no-untyped-call]
    return rows, columns


NEXT = FamilySpec(
    name="LLaVA-NeXT (1.6)",
    architectures=("LlavaNextForConditionalGeneration",),
    layer="model.vision_tower.encoder.layers[vision_feature_layer]",
    grid="24 x 24 a tile of 336 px",
    tokenizer="SentencePiece",
    memory="15 GB (7B, float16)",
    vision_tower_and_layer=selected_feature_layer,
    capabilities=Capabilities(grid_follows_image=True),
    prompt=CHAT_OF_ONE_TURN,
    tiling=Tiling(tile_grid, thumbnail_first=True),
)
SPECS = (
    NEXT,
    replace(
        NEXT,
        name="LLaVA-OneVision",
        architectures=("LlavaOnevisionForConditionalGeneration",),
        grid="27 x 27 a tile of 384 px",
        tokenizer="byte-level BPE",
        memory="1.8 GB (0.5B, bfloat16)",
    ),
)
