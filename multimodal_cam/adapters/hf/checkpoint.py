"""Load checkpoints from folders and the hub: check the files, load them, build the adapter.

Families are imported only when a checkpoint is loaded: `load` asks this module about every folder, bundled models included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...core.json_object import read_json
from . import broken_versions
from .config_check import check_config, model_class_of
from .memory import check_memory
from .stored_weights import load_weights, require_weights

if TYPE_CHECKING:
    from .composed_adapter import HuggingFace
    from .family_spec import FamilySpec

CPU = torch.device("cpu")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_TIMEOUT = 5  # seconds to wait for the hub's first answer
FILE_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
UPGRADE = "pip install --upgrade transformers"
AUTO_CLASSES = (  # classes that code beside the weights may be registered for, the most specific first
    "AutoModelForImageTextToText",
    "AutoModelForVisualQuestionAnswering",
    "AutoModelForCausalLM",
    "AutoModel",
)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "*.model")


@dataclass
class ProcessorPair:
    """Image processor and tokenizer of a checkpoint that has no processor class of its own."""

    image_processor: Any
    tokenizer: Any


def is_checkpoint(folder: Path) -> bool:
    """Whether transformers wrote the folder: its `config.json` names a model type."""
    try:
        config = read_json(folder / "config.json", "")
    except (OSError, ValueError):  # no such file, or a broken one: whose it is, its readers say
        return False
    return isinstance(config, dict) and "model_type" in config


def load_folder(
    folder: Path,
    name: str,
    *,
    trust_remote_code: bool = False,
    pickled: bool = False,
    device: torch.device = CPU,
    dtype: torch.dtype | None = None,
    device_map: Any = None,
) -> HuggingFace:
    """Load the checkpoint in `folder` and build its adapter.

    Args:
        folder: What `save_pretrained` wrote: model, processor and tokenizer.
        name: Name of the adapter and of its weights in the provenance.
        trust_remote_code: Run code that lies beside the weights.
        pickled: Read pickled weights (`*.bin`), which may run code.
        device: Device of the whole model, where there is no `device_map`.
        dtype: Type of the weights; None: that of the checkpoint.
        device_map: Devices of a model that is spread over several, as transformers takes it.

    Returns:
        A `HuggingFace` adapter.

    Raises:
        ValueError: The architecture is unknown and cannot be probed, or the weights are pickles that are not trusted.
        FileNotFoundError: Files are missing; the message names them.
        ImportError: Another version of transformers, or another library, is needed.
        MemoryError: The weights would not fit.
    """
    from .family_registry import family_of

    _check_version()
    config = check_config(folder)
    broken_versions.check(config.get("architectures") or [], _transformers_version())
    model_class = _model_class(config, str(folder), trust_remote_code)
    with _explained_by_version(config, folder, unknown=model_class is None):
        generates = model_class is not None and getattr(model_class, "can_generate", lambda: True)()
        family = family_of(config, str(folder), generates=generates)
        if model_class is None:
            raise ImportError(f"transformers {_transformers_version()} has no {config['architectures'][0]}: {UPGRADE}")
    _check_files(folder, pickled)
    if device_map is None:
        check_memory(folder, config, dtype, device)
        if "quantization_config" in config:
            device_map = {"": device}  # packed weights cannot be moved after loading
    given = {option: value for option, value in (("dtype", dtype), ("device_map", device_map)) if value is not None}
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    with _explained_by_version(config, folder, unknown=True):
        model, report = load_weights(model_class, folder, pickled=pickled, **given, **options)
        processor = _processor(folder, options)
    require_weights(folder, model, report)
    commit = getattr(model.config, "_commit_hash", None)
    provenance = {"weights": f"{name}@{commit}" if commit else name}
    return adapt(model.to(device) if device_map is None else model, processor, name, provenance, family)


def _model_class(config: dict[str, Any], where: str, trust_remote_code: bool) -> Any:
    """Class of the model: transformers' own, or the auto class that imports the code beside the weights; None without either.

    Raises ValueError for code that is not trusted.
    """
    import transformers

    names = config.get("architectures") or []
    found = model_class_of(transformers, names)
    remote = [name for name in AUTO_CLASSES if name in config.get("auto_map", {})]
    if found is not None or not remote:
        return found
    if not trust_remote_code:
        raise ValueError(
            f"{where} holds {', '.join(names) or config['model_type']}, whose code lies beside its weights: "
            "load(..., trust_remote_code=True) runs it, if you trust it"
        )
    return getattr(transformers, remote[0])


def _transformers_version() -> str:
    import transformers

    return transformers.__version__


def _check_version() -> None:
    """Raise ImportError for a version of transformers that is too old for every family."""
    from packaging.version import parse

    from .family_registry import OLDEST

    if parse(_transformers_version()) < parse(OLDEST):
        raise ImportError(
            f"Hugging Face models need transformers {OLDEST} or newer, {_transformers_version()} is installed: {UPGRADE}"
        )


@contextmanager
def _explained_by_version(config: dict[str, Any], folder: Path, *, unknown: bool) -> Iterator[None]:
    """Blame the installed version for an error inside, if a newer one wrote the checkpoint and something in it is `unknown`."""
    from packaging.version import InvalidVersion, parse

    try:
        yield
    except Exception as error:  # an older library may fail on newer files in any way
        theirs = config.get("transformers_version")
        try:
            newer = theirs is not None and parse(theirs).release[:2] > parse(_transformers_version()).release[:2]
        except InvalidVersion:
            newer = False
        if not (newer and unknown):
            raise
        raise ImportError(
            f"{folder} was written by transformers {theirs}; {_transformers_version()}, which is installed, cannot read it "
            f"({type(error).__name__}: {str(error).splitlines()[0]}): {UPGRADE}"
        ) from error


def adapt(
    model: Any, processor: Any, name: str, provenance: dict[str, str] | None = None, family: FamilySpec | None = None
) -> HuggingFace:
    """Build the adapter of a loaded model and its processor, by its family's spec or by `family`.

    Raises ValueError for an unknown architecture that cannot be probed, TypeError for a processor without image processor or
    tokenizer, BrokenVersionError for a family that the installed transformers breaks.
    """
    import transformers

    from .composed_adapter import HuggingFace
    from .family_registry import family_of

    broken_versions.check([type(model).__name__], _transformers_version())
    family = family or family_of(
        model.config.to_dict() | {"architectures": [type(model).__name__]},
        f"the {type(model).__name__}",
        generates=callable(getattr(model, "generate", None)),
    )
    for part in ("image_processor", "tokenizer"):
        if getattr(processor, part, None) is None:
            raise TypeError(
                f"processor: expected one with image_processor and tokenizer, {type(processor).__name__} has no {part}; "
                "AutoProcessor.from_pretrained(...) gives one"
            )
    more = {"transformers": transformers.__version__, "architecture": type(model).__name__}
    spec = family.for_checkpoint(family, model, processor, name)
    return HuggingFace(model, processor, name, spec, (provenance or {}) | more)


def fetch(name: str, *, trust_remote_code: bool = False, pickled: bool = False) -> Path:
    """Local folder of the hub's `owner/name`, downloaded if it is missing.

    Raises OSError that says what to do where the hub cannot be reached.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [*FILE_PATTERNS, *(["*.py"] if trust_remote_code else []), *(["*.bin"] if pickled else [])]
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


def downloaded(name: str, what: str) -> Path:
    """The folder of a hub's `owner/name` that was fetched earlier; a file's word is no reason to ask the hub.

    Raises FileNotFoundError where it was not.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        raise FileNotFoundError(
            f"{name!r}, {what}, is not on this machine, and only what you name yourself is fetched: run "
            f"`hf download {name}` first"
        ) from None


def _reachable(endpoint: str) -> bool:
    """Whether the hub answers within `HUB_TIMEOUT`; its own client would retry for half a minute."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=HUB_TIMEOUT):
            return True
    except urllib.error.HTTPError:
        return True  # an error page is an answer
    except OSError:
        return False


def _check_files(folder: Path, pickled: bool) -> None:
    """Raise FileNotFoundError for missing weights, image processor or tokenizer, ValueError for pickles that are not trusted."""

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
    """The checkpoint's processor; its image processor and its tokenizer, where it has no processor class."""
    import transformers

    auto: Any = transformers
    try:
        processor = auto.AutoProcessor.from_pretrained(folder, **options)
    except (ValueError, OSError, KeyError):
        processor = None
    if getattr(processor, "image_processor", None) is not None and getattr(processor, "tokenizer", None) is not None:
        return processor
    images, words = (kind.from_pretrained(folder, **options) for kind in (auto.AutoImageProcessor, auto.AutoTokenizer))
    return ProcessorPair(images, words)
