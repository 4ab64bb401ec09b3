"""`config.json` of a trained model: its schema, its hash, and whether weights, words and answers fit it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import BrokenFile, shown
from ..core.json_object import JSONObject, read_object
from .bundled_spec import BundledModelSpec
from .vocabulary import SPECIALS, Vocabulary

ADVICE = "bring the folder back as it was written, or train again"
CONFIG_HASH = "config_sha256"
ENTRIES = ("kind", "config", "vocabulary", "answers", "encoder", "training", "sha256", CONFIG_HASH)
ENCODER_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")  # a network of timm; no scheme, so that nothing is fetched
MOST = {"output_stride": 32, "image_size": 4096, "max_words": 10_000, "hops": 64, "smoothing": 64}
MAY_BE_ZERO = ("smoothing",)
WIDEST = 65_536  # of all other sizes


@dataclass(frozen=True)
class ModelConfig:
    """The parsed file. `lender` is the model whose encoder is used, with the hash of that encoder; None where it has its own."""

    spec: BundledModelSpec
    sizes: Any
    vocabulary: Vocabulary
    answers: tuple[str, ...]
    sha256: str
    lender: tuple[str, str] | None


def config_sha256(config: Mapping[str, Any]) -> str:
    """Hash of all that a config says, its own hash left out; order and spacing do not matter."""
    said = {name: value for name, value in config.items() if name != CONFIG_HASH}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_config(path: Path, specs: Mapping[str, BundledModelSpec]) -> ModelConfig:
    """The config in a file. Raises BrokenFile for what is missing, of another type, out of range, or does not fit the rest."""
    config = read_object(path, ADVICE)
    if unknown := config.values.keys() - set(ENTRIES):  # a hash whose name was damaged is no hash
        raise BrokenFile(path, f"entries {', '.join(ENTRIES)}", shown(sorted(unknown)), ADVICE)
    kind = config.text("kind")
    if kind not in specs:
        raise config.broken("kind", f"one of {', '.join(specs)}")
    spec = specs[kind]
    sizes = _sizes(config.object("config"), spec)
    words = config.texts("vocabulary")
    if words[: len(SPECIALS)] != SPECIALS or len(set(words)) < len(words) or len(words) != sizes.vocabulary_size:
        raise config.broken("vocabulary", f"{sizes.vocabulary_size} different words, the first {', '.join(SPECIALS)}")
    answers = config.texts("answers", ())
    expected = sizes.answers if spec.task == "vqa" else 0
    if len(answers) != expected or len(set(answers)) < len(answers):
        raise config.broken("answers", f"{expected} different texts")
    lender = None
    if "encoder" in config:
        entry = config.object("encoder")
        lender = (entry.text("model"), entry.text("sha256"))
        if re.match(r"[\w.+-]{2,}:", lender[0]):
            raise entry.broken("model", "a bundled model or a folder")
    return ModelConfig(spec, sizes, Vocabulary(words), answers, config.text("sha256"), lender)


def check_config_hash(path: Path) -> None:
    """Raise BrokenFile for a config that was edited since it was written. Older ones have no hash."""
    config = read_object(path, ADVICE)
    if CONFIG_HASH in config and config.text(CONFIG_HASH) != config_sha256(config.values):
        raise BrokenFile(path, "what was written there, by its hash", "something that was edited since", ADVICE)


def empty_network(config: ModelConfig, path: Path) -> nn.Module:
    """The network without weights: it takes no memory and draws no random numbers."""
    try:
        with torch.device("meta"):
            return config.spec.network(config.sizes)
    except (ValueError, TypeError, RuntimeError, AttributeError, LookupError, AssertionError) as error:
        raise BrokenFile(path, "sizes of which a network can be built", f"others ({error})", ADVICE) from error


def fill(network: Any, state: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into an empty network. Raises BrokenFile, by name, for tensors that are missing, too many, or do not fit."""
    own, tied = network.state_dict(), network.tied_weights
    needed = own.keys() - tied.keys()
    for said, names in (("lacks", needed - state.keys()), ("has too many tensors", state.keys() - needed)):
        if names:
            raise BrokenFile(
                path, f"the {len(needed)} tensors of {type(network).__name__}", f"a file that {said}: {_some(names)}", ADVICE
            )
    for name in sorted(needed):
        if state[name].shape != own[name].shape or state[name].is_floating_point() != own[name].is_floating_point():
            raise BrokenFile(path, f"{name} as {_form(own[name])}, as config.json says", _form(state[name]), ADVICE)
        if not bool(state[name].isfinite().all()):
            raise BrokenFile(path, f"finite numbers in {name}", "NaN or infinity", ADVICE)
    network.load_state_dict({**state, **{name: state[twin] for name, twin in tied.items()}}, assign=True)
    for name, twin in tied.items():
        module, _, parameter = name.rpartition(".")
        setattr(network.get_submodule(module), parameter, network.get_parameter(twin))


def _sizes(entry: JSONObject, spec: BundledModelSpec) -> Any:
    """The network's config dataclass, each field checked by its type and range."""
    known = {field.name: field for field in fields(spec.config)}
    if unknown := entry.values.keys() - known.keys():
        raise BrokenFile(entry.path, f"config with {', '.join(known)}", shown(sorted(unknown)), entry.advice)
    found: dict[str, Any] = {}
    for name, field in known.items():
        if name not in entry and field.default is not MISSING:
            continue
        match field.type:
            case "int":
                found[name] = entry.integer(name, int(name not in MAY_BE_ZERO), MOST.get(name, WIDEST))
            case "float":
                found[name] = entry.number(name, 0, 1)
            case "bool":
                found[name] = entry.flag(name)
            case _:
                found[name] = entry.text(name)
    if not ENCODER_NAME.fullmatch(found.get("encoder", "x")):
        raise entry.broken("encoder", "the name of a network of timm (nothing is fetched from a hub)")
    return spec.config(**found)


def _form(tensor: Tensor) -> str:
    return f"{'floating point' if tensor.is_floating_point() else 'integers'} {tuple(tensor.shape)}"


def _some(names: Any) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:5]) + (f" and {len(ordered) - 5} more" if len(ordered) > 5 else "")
