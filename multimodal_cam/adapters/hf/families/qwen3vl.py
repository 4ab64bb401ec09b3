"""Qwen3-VL (Qwen team, 2025): Qwen2-VL's prompts and packing, and DeepStack: earlier blocks speak to the language model, too."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...inputs import Inputs
from ..loaded_model import LoadedModel
from ..token_views import OrderedTokenView
from .qwen2vl import QWEN2, merged_blocks_view


def tower_itself(model: Any) -> tuple[nn.Module, nn.Module]:
    """The layer is the tower: there all that the words see of the image comes out."""
    return model.model.visual, model.model.visual


def deepstack_view(loaded: LoadedModel, inputs: Inputs, layer: nn.Module) -> OrderedTokenView:
    """On the grid lies what the last block gives and the merger makes tokens of.

    What earlier blocks send around it, to the first layers of the language model (DeepStack; Meng et al., NeurIPS 2024), is
    unplaced.
    """
    plain = merged_blocks_view(loaded, inputs, layer)
    if layer is not loaded.layer:
        return plain
    tower: Any = loaded.tower
    vision = loaded.model.config.vision_config
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
    replace(
        QWEN2,
        name="Qwen3-VL, Qwen3-VL-MoE",
        architectures=("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"),
        layer="model.visual (its last block)",
        grid="H/16 x W/16, as the photo",
        memory="4.3 GB (2B, bfloat16)",
        vision_tower_and_layer=tower_itself,
        layer_view=deepstack_view,
    ),
)
