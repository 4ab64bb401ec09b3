"""InternVL (Chen et al., CVPR 2024), as transformers has it: a ViT of its own, tiles, four patches a token.

The layer is LLaVA's. The last part is the whole image; an image that is not cut has but one.
"""

from __future__ import annotations

from torch import Tensor

from ... import image_placement
from ..family_spec import Capabilities, FamilySpec
from ..loaded_model import LoadedModel
from ..tiled_input import Tiling, unnormalized_parts
from .llava import CHAT_OF_ONE_TURN, selected_feature_layer


def tile_grid(loaded: LoadedModel, width: int, height: int) -> tuple[int, int]:
    """Measured: in a row of tiles, each shows what is further to the right."""
    parts = unnormalized_parts(loaded, image_placement.coordinate_image(width, height))
    if len(parts) == 1:
        return 1, 1
    right: Tensor = parts[:-1, 0].mean(dim=(1, 2))
    columns = 1 + int((right.diff() > 0).long().cumprod(dim=0).sum())
    return len(right) // columns, columns


SPECS = (
    FamilySpec(
        name="InternVL",
        architectures=("InternVLForConditionalGeneration",),
        layer="model.vision_tower.encoder.layer[vision_feature_layer]",
        grid="32 x 32 a tile of 448 px",
        tokenizer="byte-level BPE",
        memory="1.9 GB (1B, bfloat16)",
        vision_tower_and_layer=selected_feature_layer,
        capabilities=Capabilities(grid_follows_image=True, pixels_in_one_dimension=True),
        prompt=CHAT_OF_ONE_TURN,
        tiling=Tiling(tile_grid),
    ),
)
