"""FastVLM (Vasu et al., CVPR 2025): FastViTHD, a convolutional network with attention at its end, and a Qwen2."""

from __future__ import annotations

from torch import nn

from ..prompted_model import PromptedModel


class FastVLM(PromptedModel):
    """`final_conv`, the tower's last convolution; its cells are the language model's image tokens, one each."""

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        tower = self.model.model.vision_tower
        return tower, tower.timm_model.final_conv
