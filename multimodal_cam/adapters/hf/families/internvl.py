"""InternVL (Chen et al., CVPR 2024), as transformers has it: a ViT of its own, tiles, four patches a token."""

from __future__ import annotations

from torch import Tensor, nn

from .. import image_placement
from ..family_spec import Capabilities, FamilySpec
from ..tiled_model import TiledModel
from .llava import chat_of_one_turn, selected_feature_layer


class InternVL(TiledModel):
    """LLaVA's layer. The last part is the whole photo; a photo that is not cut has but one."""

    capabilities = Capabilities(grid_follows_image=True, tiles_in_one_dimension=True)

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        return selected_feature_layer(self.model)

    def prompt_template(self, asked: str) -> str:
        return chat_of_one_turn(self.processor.image_token, asked)

    def tile_grid(self, width: int, height: int) -> tuple[int, int]:
        """Measured: in a row of tiles, each shows what is further to the right."""
        parts = self._raw_parts(image_placement.coordinate_image(width, height))
        if len(parts) == 1:
            return 1, 1
        right: Tensor = parts[:-1, 0].mean(dim=(1, 2))
        columns = 1 + int((right.diff() > 0).long().cumprod(dim=0).sum())
        return len(right) // columns, columns


SPECS = (
    FamilySpec(
        name="InternVL",
        task="captioning, vqa",
        architectures=("InternVLForConditionalGeneration",),
        adapter=InternVL,
        layer="model.vision_tower.encoder.layer[vision_feature_layer]",
        grid="32 x 32 a tile of 448 px",
        tokenizer="byte-level BPE",
        memory="1.9 GB (1B, bfloat16)",
    ),
)
