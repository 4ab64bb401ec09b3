"""Spatial stages of any network, from the photo to the tapped layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ...adapters.contract import TaskAdapter, trial_photo
from ...adapters.layer_choice import resolve_layer
from ...core.call_scope import evaluation_mode
from ...core.hooks import forward_hooks

DEPTH = 3  # maximal number of parts of a name: `encoder.trunk.4`, without the convolutions inside


@dataclass(frozen=True)
class SpatialStage:
    """Consecutive modules whose outputs share one shape `(c, h, w)`; `name` is the last of them."""

    name: str
    parts: tuple[str, ...]
    shape: tuple[int, ...]


def spatial_stages(model: TaskAdapter) -> list[SpatialStage]:
    """Stages from the photo to the tapped layer, which is the last one."""
    layer = resolve_layer(model, None)[1]
    names = {module: name for name, module in model.module.named_modules() if name}
    shapes: dict[str, tuple[int, ...]] = {}  # in order of completion

    def note(module: nn.Module, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and layer not in shapes:
            shapes[names[module]] = tuple(output.shape[1:])

    question = ["what is this?"] if model.task == "vqa" else None
    with torch.no_grad(), evaluation_mode(model.module), forward_hooks(list(names), note):
        model.generate(model.preprocess([trial_photo(model, Image.new("RGB", (64, 64), "gray"))], question))
    known = [name for name in shapes if name.count(".") < DEPTH and name != layer]
    innermost = [name for name in known if not any(other.startswith(f"{name}.") for other in known)]
    stages: list[SpatialStage] = []
    for name in innermost:
        if stages and stages[-1].shape == shapes[name] and not _enters(stages[-1].name, name, layer):
            stages[-1] = SpatialStage(name, (*stages[-1].parts, name), shapes[name])
        else:
            stages.append(SpatialStage(name, (name,), shapes[name]))
    ends_it = bool(stages) and stages[-1].name.startswith(f"{layer}.") and stages[-1].shape == shapes[layer]
    parts = stages.pop().parts if ends_it else (layer,)
    return [*stages, SpatialStage(layer, parts, shapes[layer])]


def _enters(before: str, name: str, layer: str) -> bool:
    """Whether the tapped layer begins with `name`."""
    return name.startswith(f"{layer}.") and not before.startswith(f"{layer}.")


def head_parts(model: TaskAdapter, stages: list[SpatialStage]) -> list[str]:
    """Names of the modules behind the tapped layer: those with weights that no stage contains, the readout first."""
    inside = [part for stage in stages for part in stage.parts]
    readout = next((name for name, module in model.module.named_modules() if module is model.readout), None)
    rest = [
        name
        for name, module in model.module.named_modules()
        if name
        and next(module.parameters(recurse=False), None) is not None
        and not any(name == part or name.startswith(f"{part}.") for part in inside)
    ]
    return ([readout] if readout in rest and readout is not None else []) + [name for name in rest if name != readout]
