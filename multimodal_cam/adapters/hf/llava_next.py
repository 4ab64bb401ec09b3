"""LLaVA-NeXT, also called LLaVA 1.6 (Liu et al., 2024): LLaVA with tiles, and what they hold of the photo's padding left out."""

from __future__ import annotations

from PIL.Image import Image

from .llava import LLaVA
from .tiled import Tiled


class LlavaNext(Tiled, LLaVA):
    """LLaVA's layer. The first part is the whole photo, squeezed; the tiles are cut from the photo with margins around it.

    Cells on the margins never reach the words: their gradient is 0.
    """

    whole_first = True

    def tiles(self, image: Image) -> tuple[int, int]:
        from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

        config = self.model.config
        size, side = (image.height, image.width), config.vision_config.image_size
        rows, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, side)  # type: ignore[no-untyped-call]
        return rows, columns
