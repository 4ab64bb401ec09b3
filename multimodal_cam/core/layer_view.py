"""How a layer's output is read: which part of it is activations, which of those lie on the image, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


class ActivationSlice(Protocol):
    """The part of a layer's output that is explained: layers output tensors, tuples, tokens, tiles."""

    def extract(self, output: Any) -> Tensor:
        """Activations `(b, ...)`, one row an image, from the layer's output. Raises ValueError for an output that has none."""

    def inject(self, activations: Tensor, output: Any) -> Any:
        """The layer's output with `activations` in it; `output` shows the form."""


class LayerView(ActivationSlice, Protocol):
    """An activation slice whose places on the image are known; some tokens have none, tiles overlap."""

    def cells(self, activations: Tensor) -> Tensor:
        """The activations that lie on the image, `(..., c, h, w)`, from activations or gradients `(..., *one row)`."""

    def to_image(self, maps: Tensor) -> Tensor:
        """Maps over the cells -> maps on the image, `(..., h, w)`, of the same sum; overlapping cells are added up."""

    def unplaced(self, activations: Tensor) -> Tensor | None:
        """The activations without a place, `(..., u, c)`; None if every one has a place."""


@dataclass(frozen=True)
class GridView:
    """The view of a layer that outputs one tensor of `ndim` dimensions, `(b, c, h, w)`: every activation has its place."""

    ndim: int = 4

    def extract(self, output: Any) -> Tensor:
        if isinstance(output, Tensor) and output.ndim == self.ndim:
            return output
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        expected = "a grid (b, c, h, w): choose a convolutional layer" if self.ndim == 4 else f"{self.ndim} dimensions"
        raise ValueError(f"{found}, expected {expected}")

    def inject(self, activations: Tensor, output: Any) -> Tensor:  # noqa: ARG002
        return activations

    def cells(self, activations: Tensor) -> Tensor:
        return activations

    def to_image(self, maps: Tensor) -> Tensor:
        return maps

    def unplaced(self, activations: Tensor) -> Tensor | None:  # noqa: ARG002
        return None
