"""Folders and hub names -> models of the known families, with errors that say what to do."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .families import Family, family_of

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
PATIENCE = 5  # seconds to wait for the hub's first answer
WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "*.model")


@dataclass
class Pair:
    """An image processor and a tokenizer, where a checkpoint has no processor of its own."""

    image_processor: Any
    tokenizer: Any


def is_checkpoint(folder: Path) -> bool:
    """Whether transformers wrote the folder: its `config.json` names a model type."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config


def load_folder(folder: Path, name: str, *, trust_remote_code: bool = False, pickled: bool = False) -> Any:
    """The adapter of the checkpoint in `folder`.

    Raises ValueError for an architecture that is not known, and FileNotFoundError that says which files are missing.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    family = family_of(config, str(folder))
    _check_files(folder, pickled)
    import transformers

    model_class = getattr(transformers, next(a for a in config["architectures"] if a in family.architectures))
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    model = model_class.from_pretrained(folder, use_safetensors=not pickled, **options)
    commit = getattr(model.config, "_commit_hash", None)
    provenance = {"weights": f"{name}@{commit}" if commit else name}
    return adapt(model, _processor(folder, options), name, provenance, family)


def adapt(model: Any, processor: Any, name: str, provenance: dict[str, str] | None = None, family: Family | None = None) -> Any:
    """The adapter of a model that is loaded already, and its processor.

    Raises ValueError for an architecture that is not known, TypeError for a processor without image processor or tokenizer.
    """
    import transformers

    family = family or family_of(
        {"architectures": [type(model).__name__]} | model.config.to_dict(), f"the {type(model).__name__}"
    )
    for part in ("image_processor", "tokenizer"):
        if getattr(processor, part, None) is None:
            raise TypeError(
                f"processor: expected one with image_processor and tokenizer, {type(processor).__name__} has no {part}; "
                "AutoProcessor.from_pretrained(...) gives one"
            )
    more = {"transformers": transformers.__version__, "architecture": type(model).__name__}
    return family.load()(model, processor, name, (provenance or {}) | more)


def fetch(name: str, *, trust_remote_code: bool = False, pickled: bool = False) -> Path:
    """The local folder of a hub's `owner/name`, fetched if it is not there.

    Raises OSError that says what to do when the hub cannot be reached.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [*WANTED, *(["*.py"] if trust_remote_code else []), *(["*.bin"] if pickled else [])]
    try:
        folder = Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
        if (folder / "config.json").is_file():
            return folder
    except LocalEntryNotFoundError:
        pass
    advice = (
        f"run `hf download {name} --local-dir FOLDER` where there is a network, bring the folder here, and load(FOLDER); "
        "the weights are *.safetensors, beside config.json, the processor's and the tokenizer's files"
    )
    if constants.HF_HUB_OFFLINE:
        raise OSError(f"{name!r} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it: {advice}")
    if not _reachable(constants.ENDPOINT):
        raise OSError(f"{name!r} is not on this machine, and {constants.ENDPOINT} cannot be reached: {advice}")
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise OSError(f"{name!r} cannot be fetched from the hub ({str(error).splitlines()[0]}): {advice}") from error


def _reachable(endpoint: str) -> bool:
    """Whether the hub answers at all, soon; its own client would try for half a minute."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE):
            return True
    except urllib.error.HTTPError:
        return True  # it answered
    except OSError:
        return False


def _check_files(folder: Path, pickled: bool) -> None:
    def there(*patterns: str) -> bool:
        return any(next(folder.glob(pattern), None) is not None for pattern in patterns)

    if not there("*.safetensors"):
        if not there("*.bin"):
            raise FileNotFoundError(f"{folder} holds no weights (*.safetensors): download or save them there, too")
        if not pickled:
            raise ValueError(
                f"{folder} has its weights as pickles (*.bin), which may run code: convert them (model.save_pretrained writes "
                "safetensors), or load(..., pickled=True) if you trust them"
            )
    if not there("preprocessor_config.json", "processor_config.json"):
        raise FileNotFoundError(
            f"{folder} holds no image processor (preprocessor_config.json): processor.save_pretrained(...) writes it"
        )
    if not there(*TOKENIZER_FILES):
        raise FileNotFoundError(f"{folder} holds no tokenizer (tokenizer.json): tokenizer.save_pretrained(...) writes it")


def _processor(folder: Path, options: dict[str, Any]) -> Any:
    """The checkpoint's processor, or its image processor and its tokenizer where there is no such class."""
    import transformers

    auto: Any = transformers
    try:
        processor = auto.AutoProcessor.from_pretrained(folder, **options)
    except (ValueError, OSError, KeyError):
        processor = None
    if getattr(processor, "image_processor", None) is not None and getattr(processor, "tokenizer", None) is not None:
        return processor
    images, words = (kind.from_pretrained(folder, **options) for kind in (auto.AutoImageProcessor, auto.AutoTokenizer))
    return Pair(images, words)
