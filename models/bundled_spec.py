"""What the package has to know of a network whose weights it brings along: one record for each folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn


@dataclass(frozen=True)
class BundledModelSpec:
    """A bundled network; `models/<folder>/spec.py` defines it as `SPEC`, and `bundle.SPECS` collects them.

    Attributes:
        name: Name that `load` takes, and the `kind` in `config.json`. The folder's name, with hyphens where that has underscores.
        task: What the network does; it decides which command trains it.
        network: Class of the network, built from one `config`.
        config: Frozen dataclass of its sizes, a subclass of the task's (`CaptionerConfig`, `VQAConfig`).
        adapter: Class in `multimodal_cam.adapters` as `"module:class"`; a path, because networks do not import adapters.
        folder: Folder with `model.safetensors`, `config.json` and the card.
        config_options: Training options that become fields of `config`, beside those that all networks of the task take.
    """

    name: str
    task: Literal["captioning", "vqa"]
    network: type[nn.Module]
    config: type[Any]
    adapter: str
    folder: Path
    config_options: tuple[str, ...] = ()
