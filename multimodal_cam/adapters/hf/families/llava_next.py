"""LLaVA-NeXT, also called LLaVA 1.6 (Liu et al., 2024), and LLaVA-OneVision (Li et al., 2024): LLaVA with tiles."""

from __future__ import annotations

from ..tiled_model import TiledModel
from .llava import LLaVA


class LlavaNext(TiledModel, LLaVA):
    """LLaVA's layer. The first part is the whole photo, squeezed; the tiles are cut from the photo with margins around it.

    Cells on the margins never reach the words: their gradient is 0. Of very many tiles OneVision interpolates the features.
    """

    whole_first = True

    def tile_grid(self, width: int, height: int) -> tuple[int, int]:
        from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

        config = self.model.config
        side = config.vision_config.image_size
        rows, columns = get_anyres_image_grid_shape((height, width), config.image_grid_pinpoints, side)  # type: ignore[no-untyped-call]
        return rows, columns
