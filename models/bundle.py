"""A trained network in a folder: `model.safetensors` and `config.json` with vocabulary, hash and how it was trained.

A network that shares its encoder with another one does not store it: `config.json` names that model and its hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..core.files import sha256
from .lstm_q import LSTMQ, LSTMQConfig
from .nic import NIC, NICConfig
from .san import SAN, SANConfig
from .sat import SAT, SATConfig
from .vocabulary import Vocabulary

BUNDLED = Path(__file__).parent
KINDS: Mapping[str, tuple[type[nn.Module], type]] = {
    "lstm-q": (LSTMQ, LSTMQConfig),
    "nic": (NIC, NICConfig),
    "san": (SAN, SANConfig),
    "sat": (SAT, SATConfig),
}
TIED = {kind: {"readout.weight": "embedding.weight"} for kind in ("nic", "sat")}  # stored once


@dataclass(frozen=True)
class Trained:
    """What a folder holds: the network in evaluation mode, float32, its words and answers, and the weights' sha256."""

    kind: str
    network: Any
    vocabulary: Vocabulary
    answers: tuple[str, ...]
    sha256: str


def save_model(
    network: nn.Module,
    vocabulary: Vocabulary,
    folder: Path,
    *,
    training: Mapping[str, Any],
    answers: tuple[str, ...] = (),
    encoder: str | Path | None = None,
) -> Path:
    """Writes `folder/model.safetensors` in float16 and, last, `folder/config.json`; returns `folder`.

    `encoder`: the model (bundled name or folder) whose encoder this network uses; it is not stored again.
    """
    from safetensors.torch import save_file

    kind = next(kind for kind, (network_class, _) in KINDS.items() if type(network) is network_class)
    state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    kept = {k: v for k, v in state.items() if k not in TIED.get(kind, {}) and not (encoder and k.startswith("encoder."))}
    partial = folder / "model.partial"
    save_file(kept, partial)
    partial.chmod(0o644)
    os.replace(partial, folder / "model.safetensors")
    config: dict[str, Any] = {
        "kind": kind,
        "config": asdict(network.config),  # type: ignore[call-overload]
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


def load_model(folder: Path) -> Trained:
    """What `save_model` wrote. Raises ValueError when the weights are not those that `config.json` was written for."""
    config, state = _read(folder)
    if config["kind"] not in KINDS:
        raise ValueError(f"{folder}: unknown kind of model {config['kind']!r}; choose from {', '.join(KINDS)}")
    network_class, configuration = KINDS[config["kind"]]
    network = network_class(configuration(**config["config"]))
    if "encoder" in config:
        lender = config["encoder"]
        _, lent = _read(model_folder(lender["model"]))
        if (found := encoder_sha256(lent)) != lender["sha256"]:
            raise ValueError(
                f"{folder} was trained on the encoder of {lender['model']} with sha256 {lender['sha256']}, there is one with "
                f"{found}: train again, or bring that one back"
            )
        state |= {key: value for key, value in lent.items() if key.startswith("encoder.")}
    state |= {key: state[twin] for key, twin in TIED.get(config["kind"], {}).items()}
    network.load_state_dict(state)
    answers = tuple(config.get("answers", ()))
    return Trained(config["kind"], network.eval(), Vocabulary(tuple(config["vocabulary"])), answers, config["sha256"])


def encoder_sha256(state: Mapping[str, Tensor]) -> str:
    """Of a model's weights those of its encoder, as they are on disk: the head may be trained anew, the borrowers stay."""
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
    return BUNDLED / name if str(name) in bundled() else Path(name)


def bundled() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(file.parent.name for file in BUNDLED.glob("*/config.json"))
