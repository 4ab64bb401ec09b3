"""InternVL (Chen et al., CVPR 2024), as transformers has it: a ViT of its own, tiles, four patches a token."""

from __future__ import annotations

from torch import Tensor

from .. import image_placement
from ..tiled_model import TiledModel
from .llava import LLaVA


class InternVL(TiledModel, LLaVA):
    """LLaVA's layer. The last part is the whole photo; a photo that is not cut has but one."""

    flat = True

    def tile_grid(self, width: int, height: int) -> tuple[int, int]:
        """Measured: in a row of tiles, each shows what is further to the right."""
        parts = self._raw_parts(image_placement.coordinate_image(width, height))
        if len(parts) == 1:
            return 1, 1
        right: Tensor = parts[:-1, 0].mean(dim=(1, 2))
        columns = 1 + int((right.diff() > 0).long().cumprod(dim=0).sum())
        return len(right) // columns, columns
