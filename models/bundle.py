"""A trained network in a folder: `model.safetensors` and `config.json` with vocabulary, hash and how it was trained.

A network that shares its encoder with another one does not store it: `config.json` names that model and its hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.signatures import sha256
from .bundled_spec import BundledModelSpec
from .captioner import Captioner
from .vocabulary import Vocabulary
from .vqa_network import VQANetwork

BUNDLED = Path(__file__).parent
_MODULES = [import_module(f".{file.parent.name}.spec", __package__) for file in sorted(BUNDLED.glob("*/spec.py"))]
SPECS: Mapping[str, BundledModelSpec] = {module.SPEC.name: module.SPEC for module in _MODULES}


@dataclass(frozen=True)
class TrainedModel:
    """A folder's content: the network in evaluation mode, float32, its words and answers, and the sha256 of its weights."""

    spec: BundledModelSpec
    network: Any
    vocabulary: Vocabulary
    answers: tuple[str, ...]
    sha256: str


def save_model(
    network: Captioner | VQANetwork,
    vocabulary: Vocabulary,
    folder: Path,
    *,
    training: Mapping[str, Any],
    answers: tuple[str, ...] = (),
    encoder: str | Path | None = None,
) -> Path:
    """Write `folder/model.safetensors` in float16 and, last, `folder/config.json`.

    Args:
        training: Options and history of the run, for the record.
        answers: Answers of a VQA network, in the order of its logits.
        encoder: Model (bundled name or folder) whose encoder this network uses; its tensors are not stored again.

    Returns:
        `folder`.
    """
    from safetensors.torch import save_file

    kind = next(spec.name for spec in SPECS.values() if type(network) is spec.network)
    state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    stored = {k: v for k, v in state.items() if k not in network.tied_weights and not (encoder and k.startswith("encoder."))}
    partial = folder / "model.partial"
    save_file(stored, partial)
    partial.chmod(0o644)
    os.replace(partial, folder / "model.safetensors")
    config: dict[str, Any] = {
        "kind": kind,
        "config": asdict(network.config),
        "sha256": sha256(folder / "model.safetensors"),
    }
    if encoder is not None:
        config["encoder"] = {"model": str(encoder), "sha256": encoder_sha256(_read(model_folder(encoder))[1])}
    config["vocabulary"] = vocabulary.words
    if answers:
        config["answers"] = answers
    config["training"] = dict(training)
    partial = folder / "config.partial"
    partial.write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, folder / "config.json")
    return folder


def load_model(folder: Path) -> TrainedModel:
    """Read the folder that `save_model` wrote.

    Raises:
        FileNotFoundError: `config.json` or `model.safetensors` is missing.
        ValueError: The model is of no kind in `SPECS`, or the weights, or those of the borrowed encoder, have another hash than
            `config.json` says.
    """
    config, state = _read(folder)
    if config["kind"] not in SPECS:
        raise ValueError(f"{folder}: unknown kind of model {config['kind']!r}; choose from {', '.join(SPECS)}")
    spec = SPECS[config["kind"]]
    with torch.device("meta"):  # no weights yet: to draw some first would move the user's random state
        network: Any = spec.network(spec.config(**config["config"]))
    if "encoder" in config:
        lender = config["encoder"]
        _, lent = _read(model_folder(lender["model"]))
        if (found := encoder_sha256(lent)) != lender["sha256"]:
            raise ValueError(
                f"{folder} was trained on the encoder of {lender['model']} with sha256 {lender['sha256']}, there is one with "
                f"{found}: train again, or bring that one back"
            )
        state |= {key: value for key, value in lent.items() if key.startswith("encoder.")}
    state |= {key: state[twin] for key, twin in network.tied_weights.items()}
    network.load_state_dict(state, assign=True)
    for key, twin in network.tied_weights.items():  # each was assigned on its own
        owner, _, name = key.rpartition(".")
        setattr(network.get_submodule(owner), name, network.get_parameter(twin))
    answers = tuple(config.get("answers", ()))
    return TrainedModel(spec, network.eval(), Vocabulary(tuple(config["vocabulary"])), answers, config["sha256"])


def encoder_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of the encoder's tensors in float16; a new head in the same file does not change it."""
    digest = hashlib.sha256()
    for name in sorted(name for name in state if name.startswith("encoder.")):
        tensor = state[name]
        digest.update(name.encode() + (tensor.half() if tensor.is_floating_point() else tensor).cpu().numpy().tobytes())
    return digest.hexdigest()


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The folder's `config.json` and its tensors in float32, checked against the hash."""
    from safetensors.torch import load_file

    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise FileNotFoundError(f"{folder} holds no trained model: {file.name} is missing")
    config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
    digest = sha256(weights_file)
    if digest != config["sha256"]:
        raise ValueError(
            f"{weights_file} is damaged or not the file that config.json belongs to: expected sha256 {config['sha256']}, "
            f"got {digest}; fetch it again"
        )
    state: dict[str, Tensor] = load_file(weights_file)
    return config, {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def model_folder(name: str | Path) -> Path:
    """The folder of a bundled model's name, or the folder itself."""
    return SPECS[str(name)].folder if str(name) in bundled() else Path(name)


def bundled() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(name for name, spec in SPECS.items() if (spec.folder / "config.json").is_file())


def specs_of_task(task: str) -> dict[str, BundledModelSpec]:
    """Networks that do `task`, by name: those that its training command takes."""
    return {name: spec for name, spec in SPECS.items() if spec.task == task}
