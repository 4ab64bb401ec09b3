"""Qwen2-VL (Wang et al., 2024): a ViT for photos of any size, whose patches come packed and in blocks of two by two."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import Inputs
from .grids import Tokens, first, with_first
from .prompted import Prompted


@dataclass(frozen=True)
class Packed(Tokens):
    """Patches of all photos in one sequence, `(b n, c)`, the cells of each block of `merge` x `merge` one after another."""

    merge: int = 2
    cells: int = 1  # patches of a photo

    def take(self, output: Any) -> Tensor:
        tensor = first(output)
        if tensor is None or tensor.ndim != 2 or len(tensor) % self.cells:
            found = type(output).__name__ if tensor is None else f"shape {tuple(tensor.shape)}"
            raise ValueError(f"{found}, expected the patches of all photos (b n, c), n = {self.cells}")
        return tensor.view(-1, self.cells, tensor.shape[-1])[:, self._order().argsort()]

    def put(self, activations: Tensor, output: Any) -> Any:
        return with_first(output, activations[:, self._order()].flatten(0, 1))

    def _order(self) -> Tensor:
        """Where each patch of the sequence stands in reading order."""
        assert self.shape is not None
        h, w = self.shape
        places = torch.arange(h * w).view(h // self.merge, self.merge, w // self.merge, self.merge)
        return places.permute(0, 2, 1, 3).flatten()


class Qwen2VL(Prompted):
    """The ViT's last block; its merger makes one token of the prompt out of four patches."""

    grids_differ = True

    def places(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.visual
        return tower, tower.blocks[-1]

    def more(self, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return values["pixel_values"][None], {"image_grid_thw": values["image_grid_thw"]}

    def picture(self, values: Mapping[str, Tensor]) -> Tensor:
        merge, side = self.image_processor.merge_size, self.image_processor.patch_size
        _, h, w = values["image_grid_thw"][0].tolist()
        patches = values["pixel_values"].float().view(h // merge, w // merge, merge, merge, 3, -1, side, side)[:, :, :, :, :, 0]
        return patches.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, h * side, w * side)

    def encode(self, inputs: Inputs) -> None:
        self.tower(inputs.pixels.flatten(0, 1), grid_thw=inputs.more["image_grid_thw"])

    def view(self, inputs: Inputs, layer: nn.Module) -> Tokens:
        _, h, w = inputs.more["image_grid_thw"][0].tolist()
        return Packed(shape=(h, w), merge=self.image_processor.merge_size, cells=h * w)

    def given(self, inputs: Inputs, ids: Tensor) -> dict[str, Tensor]:
        given = super().given(inputs, ids)
        kinds = (ids == self.model.config.image_token_id).long()
        return given | {"pixel_values": inputs.pixels.flatten(0, 1), "mm_token_type_ids": kinds}

    def read(self, inputs: Inputs, ids: Tensor) -> Tensor:
        with self._positions_kept():
            return super().read(inputs, ids)

    def say(self, inputs: Inputs, **options: Any) -> Tensor:
        with self._positions_kept():
            return super().say(inputs, **options)

    @contextmanager
    def _positions_kept(self) -> Iterator[None]:
        """The model keeps how far positions were moved by its last photo: afterwards it is what it was."""
        before = self.model.model.rope_deltas
        try:
            yield
        finally:
            self.model.model.rope_deltas = before

    def _kind(self, inputs: Inputs) -> Hashable:
        return super()._kind(inputs), tuple(inputs.more["image_grid_thw"][0].tolist())
