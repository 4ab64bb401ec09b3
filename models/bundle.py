"""A trained network in a folder: `model.safetensors` and `config.json` with vocabulary, hash and how it was trained."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .nic import NIC, NICConfig
from .vocabulary import Vocabulary

BUNDLED = Path(__file__).parent
KINDS = {"nic": (NIC, NICConfig)}


def save_model(model: NIC, vocabulary: Vocabulary, folder: Path, *, training: Mapping[str, Any]) -> Path:
    """Writes `folder/model.safetensors` in float16 and, last, `folder/config.json`; returns `folder`."""
    from safetensors.torch import save_file

    state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    del state["readout.weight"]  # the embedding's
    partial = folder / "model.partial"
    save_file(state, partial)
    partial.chmod(0o644)
    os.replace(partial, folder / "model.safetensors")
    config = {
        "kind": "nic",
        "config": asdict(model.config),
        "sha256": sha256(folder / "model.safetensors"),
        "vocabulary": vocabulary.words,
        "training": dict(training),
    }
    partial = folder / "config.partial"
    partial.write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, folder / "config.json")
    return folder


def load_model(folder: Path) -> tuple[NIC, Vocabulary, str]:
    """The network in evaluation mode, float32, its vocabulary, and the weights' sha256.

    Raises ValueError when the weights are not those that `config.json` was written for.
    """
    from safetensors.torch import load_file

    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise FileNotFoundError(f"{folder} holds no trained model: {file.name} is missing")
    config = json.loads(config_file.read_text(encoding="utf-8"))
    digest = sha256(weights_file)
    if digest != config["sha256"]:
        raise ValueError(
            f"{weights_file} is damaged or not the file that config.json belongs to: expected sha256 {config['sha256']}, "
            f"got {digest}; fetch it again"
        )
    if config["kind"] not in KINDS:
        raise ValueError(f"{folder}: unknown kind of model {config['kind']!r}; choose from {', '.join(KINDS)}")
    network, configuration = KINDS[config["kind"]]
    model = network(configuration(**config["config"]))
    state = load_file(weights_file)
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    model.load_state_dict(state | {"readout.weight": state["embedding.weight"]})
    return model.eval(), Vocabulary(tuple(config["vocabulary"])), digest


def bundled() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(file.parent.name for file in BUNDLED.glob("*/config.json"))


def sha256(path: Path) -> str:
    """The file's sha256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
