"""How a layer's output is seen: which part of it is activations, which of those lie on the image, and where."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class ActivationSlice(Protocol):
    """What of a layer's output is looked at: layers give tuples, tokens, tiles."""

    def extract(self, output: Any) -> Tensor:
        """The layer's output -> activations `(b, ...)`, one row an image. Raises ValueError for an output that is no grid."""

    def inject(self, activations: Tensor, output: Any) -> Any:
        """The reverse: what the layer gives when it holds `activations`; `output` shows the form."""


class LayerView(ActivationSlice, Protocol):
    """And where it lies: some tokens have no place, tiles overlap."""

    def cells(self, activations: Tensor) -> Tensor:
        """Activations, or gradients with more dimensions in front, `(..., *one)` -> what lies on the image `(..., c, h, w)`."""

    def to_image(self, maps: Tensor) -> Tensor:
        """Maps over the cells that `grid` gives -> maps on the image `(..., h, w)`, which add up to the same: tiles overlap."""

    def unplaced(self, activations: Tensor) -> Tensor | None:
        """What has no place, `(..., u, c)`; None where everything has one."""


class GridView:
    """A layer that gives a tensor `(b, c, h, w)` (`ndim` dimensions): everything has its place."""

    def __init__(self, ndim: int = 4) -> None:
        self.ndim = ndim

    def extract(self, output: Any) -> Tensor:
        if isinstance(output, Tensor) and output.ndim == self.ndim:
            return output
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        wanted = "a grid (b, c, h, w): choose a convolutional layer" if self.ndim == 4 else f"{self.ndim} dimensions"
        raise ValueError(f"{what}, expected {wanted}")

    def inject(self, activations: Tensor, output: Any) -> Tensor:  # noqa: ARG002
        return activations

    def cells(self, activations: Tensor) -> Tensor:
        return activations

    def to_image(self, maps: Tensor) -> Tensor:
        return maps

    def unplaced(self, activations: Tensor) -> Tensor | None:  # noqa: ARG002
        return None
