"""What channels of a layer are called: `channels.json` beside a model's weights, and the hash by which they belong together."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .json_object import read_object

if TYPE_CHECKING:
    from torch import nn

FILE = "channels.json"
FORMAT = 1
DETECTOR = 0.04  # intersection over union from which a channel counts as a detector (Bau et al., CVPR 2017, section 2.2)
ADVICE = "name the channels again: multimodal-cam neurons label"


@dataclass(frozen=True)
class ChannelLabel:
    """The concept that a channel matches best, and their intersection over union."""

    name: str
    iou: float


@dataclass(frozen=True)
class ChannelNames:
    """Labels of a layer's channels, by their number.

    Attributes:
        weights: `weights_sha256` of the network whose channels they are.
        layer: Dotted name of the layer.
        labels: The best concept of each channel that has one.
        quantile: Share of all cells that count as a channel's activation.
        photos: Number of photos that they were found on.
        concepts: Number of concepts that were tried.
    """

    weights: str
    layer: str
    labels: Mapping[int, ChannelLabel]
    quantile: float
    photos: int
    concepts: int

    @property
    def detectors(self) -> dict[int, str]:
        """Names of the channels whose label passes `DETECTOR`."""
        return {channel: label.name for channel, label in self.labels.items() if label.iou > DETECTOR}

    def check(self, network: nn.Module, layer: str, path: Path) -> None:
        """Raises ValueError if the names belong to another layer, or to other weights, than those that are explained."""
        if layer != self.layer:
            raise ValueError(f"{path} names channels of layer {self.layer!r}, not of {layer!r}: explain that layer, or {ADVICE}")
        if (found := weights_sha256(network)) != self.weights:
            raise ValueError(f"{path} names channels of other weights (sha256 {self.weights}, these have {found}): {ADVICE}")


def weights_sha256(network: nn.Module) -> str:
    """Hash of a network's parameters and buffers, by name; the same on every device."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_channel_names(names: ChannelNames, path: Path) -> Path:
    """Write the names atomically; returns `path`."""
    said: dict[str, Any] = {"format": FORMAT, **asdict(names)}
    said["labels"] = [
        {"channel": channel, "name": label.name, "iou": round(label.iou, 4)} for channel, label in sorted(names.labels.items())
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def read_channel_names(path: Path) -> ChannelNames:
    """The names in a file. Raises FileNotFoundError where there is none, BrokenFile for what is no such file."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} with names of channels: {ADVICE}")
    entry = read_object(path, ADVICE)
    if (version := entry.integer("format")) != FORMAT:
        raise entry.broken("format", f"{FORMAT}, which this version reads (not {version})")
    labels = {
        label.integer("channel"): ChannelLabel(label.text("name"), label.number("iou", 0, 1)) for label in entry.objects("labels")
    }
    return ChannelNames(
        weights=entry.text("weights"),
        layer=entry.text("layer"),
        labels=labels,
        quantile=entry.number("quantile", 0, 1),
        photos=entry.integer("photos", 1),
        concepts=entry.integer("concepts", 1),
    )
