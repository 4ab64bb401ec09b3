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

from torch import Tensor

from ..core.errors import BrokenFile, shown
from ..core.signatures import sha256
from ..core.tensor_file import read_tensors
from .bundled_spec import BundledModelSpec
from .captioner import Captioner
from .doubt_fit import DOUBT, DoubtFit, read_doubt
from .familiarity_fit import FAMILIARITY, FamiliarityFit, read_fit
from .model_config import ADVICE, CONFIG_HASH, ModelConfig, check_config_hash, config_sha256, empty_network, fill, read_config
from .vocabulary import Vocabulary
from .vqa_network import VQANetwork

BUNDLED = Path(__file__).parent
_MODULES = [import_module(f".{file.parent.name}.spec", __package__) for file in sorted(BUNDLED.glob("*/spec.py"))]
SPECS: Mapping[str, BundledModelSpec] = {module.SPEC.name: module.SPEC for module in _MODULES}


@dataclass(frozen=True)
class TrainedModel:
    """A folder's content: the network in evaluation mode, float32, its words and answers, and the sha256 of its weights.

    `doubt` tells which nouns of its captions nobody else may name; None where the folder has no fit of these weights.
    `familiarity` tells photos like the training photos from others; None where the folder has no fit.
    """

    spec: BundledModelSpec
    network: Any
    vocabulary: Vocabulary
    answers: tuple[str, ...]
    sha256: str
    doubt: DoubtFit | None = None
    familiarity: FamiliarityFit | None = None


def save_model(
    network: Captioner | VQANetwork,
    vocabulary: Vocabulary,
    folder: Path,
    *,
    training: Mapping[str, Any],
    answers: tuple[str, ...] = (),
    encoder: str | Path | None = None,
) -> Path:
    """Write `folder/model.safetensors` in float16 and, last, `folder/config.json`; fits of earlier weights go.

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
    (folder / DOUBT).unlink(missing_ok=True)
    (folder / FAMILIARITY).unlink(missing_ok=True)
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
    config = json.loads(json.dumps(config))  # numbers as the file has them
    config[CONFIG_HASH] = config_sha256(config)
    partial = folder / "config.partial"
    partial.write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, folder / "config.json")
    return folder


def load_model(folder: Path, *, with_familiarity: bool = True) -> TrainedModel:
    """Read the folder that `save_model` wrote, and its fit of familiar photos, which may be left out: a new one is due.

    Raises:
        FileNotFoundError: `config.json` or `model.safetensors` is missing.
        BrokenFile: The config is malformed or was edited, the weights have another hash than it says or do not fit it, the
            borrowed encoder is not the one that the network was trained on, or the fit of familiar photos is damaged or that of
            other weights.
    """
    config, state = _read(folder)
    network = empty_network(config, folder / "config.json")
    if config.lender is not None:
        state |= _borrowed_encoder(folder / "config.json", *config.lender)
    fill(network, state, folder / "model.safetensors")
    check_config_hash(folder / "config.json")
    doubt, familiarity = read_doubt(folder, config.sha256), read_fit(folder, config) if with_familiarity else None
    return TrainedModel(config.spec, network.eval(), config.vocabulary, config.answers, config.sha256, doubt, familiarity)


def _borrowed_encoder(path: Path, name: str, expected: str) -> dict[str, Tensor]:
    """Tensors of the encoder that the config at `path` says another model lends."""
    lender = model_folder(name)
    if not os.path.isfile(lender / "config.json"):  # unlike Path's, False for names that are too long
        raise BrokenFile(path, "the encoder of a model that is here", f"{shown(name)}, which is not", "bring that one back")
    _, lent = _read(lender)
    if (found := encoder_sha256(lent)) != expected:
        wanted = f"the encoder of {shown(name)}, on which it was trained, with sha256 {shown(expected, 64)}"
        raise BrokenFile(path, wanted, f"one with {found}", "train again, or bring that one back")
    return {key: value for key, value in lent.items() if key.startswith("encoder.")}


def encoder_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of the encoder's tensors in float16; a new head in the same file does not change it."""
    digest = hashlib.sha256()
    for name in sorted(name for name in state if name.startswith("encoder.")):
        tensor = state[name]
        digest.update(name.encode() + (tensor.half() if tensor.is_floating_point() else tensor).cpu().numpy().tobytes())
    return digest.hexdigest()


def _read(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The folder's config and its tensors in float32, checked against the hash."""
    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise FileNotFoundError(f"{folder} holds no trained model: {file.name} is missing")
    config = read_config(config_file, SPECS)
    if (digest := sha256(weights_file)) != config.sha256:
        expected = f"the file that config.json belongs to, with sha256 {config.sha256}"
        raise BrokenFile(weights_file, expected, f"a damaged or another one, {digest}", "fetch it again")
    state = read_tensors(weights_file, ADVICE)
    return config, {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def load_config(folder: Path) -> ModelConfig:
    """What `config.json` in the folder of a trained network says."""
    return read_config(folder / "config.json", SPECS)


def model_folder(name: str | Path) -> Path:
    """The folder of a bundled model's name, or the folder itself."""
    return SPECS[str(name)].folder if str(name) in bundled() else Path(name)


def bundled() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(name for name, spec in SPECS.items() if (spec.folder / "config.json").is_file())


def specs_of_task(task: str) -> dict[str, BundledModelSpec]:
    """Networks that do `task`, by name: those that its training command takes."""
    return {name: spec for name, spec in SPECS.items() if spec.task == task}
