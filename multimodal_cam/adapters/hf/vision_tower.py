"""Structure of vision towers: their blocks, and the tokens that they put in front of their patches."""

from __future__ import annotations

from torch import nn


def tower_blocks(tower: nn.Module) -> nn.ModuleList:
    """The tower's shallowest list of modules named layers, layer, blocks or stages. Raises ValueError where there is none."""
    lists = [
        (name.count("."), part)
        for name, part in tower.named_modules()
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] in ("layers", "layer", "blocks", "stages")
    ]
    if not lists:
        raise ValueError(f"{type(tower).__name__} has no list of blocks: it is no vision tower that is known here")
    return min(lists, key=lambda pair: pair[0])[1]


def count_prefix_tokens(tower: nn.Module) -> int:
    """Number of tokens without a place (CLS, registers) that a transformer puts in front of its patches."""
    count = 0
    for name, weight in tower.named_parameters():
        kind = name.rpartition(".")[2]
        if kind in ("cls_token", "class_token", "class_embedding", "distillation_token", "dist_token"):
            count += 1
        elif kind in ("register_tokens", "reg_token"):
            count += weight.shape[-2]
    return count
