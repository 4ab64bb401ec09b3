"""Florence-2 (Xiao et al., CVPR 2024): a DaViT, convolutions with window and channel attention, and a BART."""

from __future__ import annotations

from torch import nn

from ..inputs import Inputs
from .prompted import Encoded


class Florence(Encoded):
    """The last block of the DaViT's last stage, `(b, c, h, w)` as it is; the projector adds the mean of all cells as a token."""

    request = "<CAPTION>"

    def places(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_tower
        return tower, tower.blocks[-1][-1]

    def wording(self, question: str | None) -> str:
        return self.request if question is None else question  # the processor puts the image's tokens in front

    def encode(self, inputs: Inputs) -> None:
        self.tower(inputs.pixels)
