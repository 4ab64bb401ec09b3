"""Qwen3-VL (Qwen team, 2025): Qwen2-VL's prompts and packing, and DeepStack: earlier blocks speak to the language model, too."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...inputs import Inputs
from ..family_spec import FamilySpec
from ..token_views import OrderedTokenView
from .qwen2vl import Qwen2VL


class Qwen3VL(Qwen2VL):
    """The layer is the tower itself: there all that the words see of the photo comes out.

    On the grid lies what the last block gives and the merger makes tokens of. What earlier blocks send around it, to the first
    layers of the language model (DeepStack; Meng et al., NeurIPS 2024), is unplaced.
    """

    def vision_tower_and_layer(self) -> tuple[nn.Module, nn.Module]:
        return self.model.model.visual, self.model.model.visual

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> OrderedTokenView:
        plain = super().layer_view(inputs, layer)
        if layer is not self.layer:
            return plain
        tower: Any = self.tower
        vision = self.model.config.vision_config
        tokens = len(plain.order) // vision.spatial_merge_size**2
        rows = math.ceil(len(tower.deepstack_merger_list) * tokens * vision.out_hidden_size / vision.hidden_size)
        return DeepStackView(rows, shape=plain.shape, order=plain.order, merger=tower.merger)


@dataclass(frozen=True)
class DeepStackView(OrderedTokenView):
    """The last block's tokens, and in front of them the DeepStack features, in `prefix` rows of the tokens' width.

    `merger` makes what the language model reads of the last block's tokens.
    """

    merger: nn.Module = field(default_factory=nn.Identity)

    def extract(self, output: Any) -> Tensor:
        tokens = super().extract(output)
        b, _, c = tokens.shape
        sides = torch.stack([side.reshape(b, -1) for side in output.deepstack_features], dim=1).flatten(1)
        rows = nn.functional.pad(sides, (0, self.prefix * c - sides.shape[1])).view(b, self.prefix, c)
        return torch.cat([rows, tokens], dim=1)

    def inject(self, activations: Tensor, output: Any) -> Any:
        own = super().inject(activations[:, self.prefix :], output)
        count, width = len(output.deepstack_features), output.deepstack_features[0].shape[-1]
        merged = self.merger(own.last_hidden_state)
        sides = activations[:, : self.prefix].flatten(1)[:, : count * merged.numel() // len(activations)]
        deep = sides.reshape(len(activations), count, -1, width).transpose(0, 1).flatten(1, 2)
        return replace(own, pooler_output=merged, deepstack_features=list(deep))


SPECS = (
    FamilySpec(
        name="Qwen3-VL, Qwen3-VL-MoE",
        task="captioning, vqa",
        architectures=("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"),
        adapter=Qwen3VL,
        layer="model.visual (its last block)",
        grid="H/16 x W/16, as the photo",
        tokenizer="byte-level BPE",
        memory="4.3 GB (2B, bfloat16)",
    ),
)
