"""`load`: adapters from names, folders and models."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extras import needed_by

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .bundled import BundledAdapter
    from .contract import TaskAdapter


def load(
    name: str | Path | nn.Module = "nic",
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: str | dict[str, int | str | torch.device] | None = None,
    weights: str | Path | None = None,
    processor: Any = None,
    trust_remote_code: bool = False,
    pickled: bool = False,
) -> TaskAdapter:
    """Load a model for `explain`: bundled, trained here, from Hugging Face, an image classifier, or your own.

    Args:
        name: One of
            - a bundled name (`nic`), or a folder that `train` wrote;
            - a Hugging Face folder that `save_pretrained` wrote (model, processor, tokenizer), or the hub's `"owner/name"`,
              image classifiers (`ResNetForImageClassification`) included;
              `multimodal-cam models` lists the families. Unknown architectures are probed and supported where possible;
            - a folder with an adapter (LoRA) that PEFT wrote: its `adapter_config.json` names the base model;
            - a Hugging Face model that is loaded already, with its `processor`; PEFT, `torch.compile` and other wrappers
              around it are taken off;
            - `efficientnet_lite0`, a classifier that needs no network; `timm:NAME` and `torchvision:NAME`, those libraries'
              pretrained classifiers; `open_clip:NAME` or `open_clip:NAME/TAG`, the similarity of a text to the photo, word by
              word;
            - `"your_module:function"` or `"your_file.py:function"`, from the current folder on: the function is called without
              arguments and returns the adapter.
        device: `auto` (cuda, else mps, else cpu) or a torch device. A model that is loaded already stays where it is by default.
        dtype: `float32`, `bfloat16` or `float16`; by default that of the checkpoint. Hugging Face only.
        device_map: Spreads a large Hugging Face model (`"auto"`, or as transformers takes it; it needs accelerate), in the place
            of `device`. Quantised checkpoints need the library that packed them.
        weights: File with the weights for `timm:`, `torchvision:` and `open_clip:`, which are fetched without it.
        processor: Processor of a model that is loaded already.
        trust_remote_code: Run code that comes with a checkpoint.
        pickled: Read pickled weights (`*.bin`) of a checkpoint.

    Returns:
        A `TaskAdapter`.

    Raises:
        ValueError: `name` is unknown (the choices are listed), options contradict each other, or the folder or file is not sound.
        TypeError: A loaded model comes without its `processor`.
        FileNotFoundError: A file is missing.
        ImportError: Another version of transformers is needed.
        MissingPackageError: A package of an extra is needed; the message names it.
        OSError: The weights cannot be fetched.
        MemoryError: The weights would not fit; raised before any are loaded.
    """
    if not isinstance(name, (str, Path)):
        if processor is None:
            raise TypeError(_unadapted(name))
        for option, wanted in (("trust_remote_code", trust_remote_code), ("pickled", pickled)):
            if wanted:
                raise ValueError(f"{option}: this model is loaded already, nothing of it is read any more: leave it out")
        for option, given in (("dtype", dtype), ("device_map", device_map)):
            if given is not None:
                raise ValueError(f"{option}: this model is loaded already, give it to from_pretrained")
        return _adapt_loaded(name, processor, device)
    if processor is not None:
        raise ValueError(f"processor: {str(name)!r} brings its own; load(model, processor=processor) takes a model")
    if device_map is not None and device is not None:
        raise ValueError("device_map says where everything goes: leave device out")
    target, torch_dtype = choose_device(device or "auto"), choose_dtype(dtype)
    name = str(name).removeprefix("hf:")
    adapter = _load_other(name, None if weights is None else Path(weights))
    if adapter is None:
        code: dict[str, Any] = {"trust_remote_code": trust_remote_code, "pickled": pickled}
        return _load_checkpoint(name, code, device=target, dtype=torch_dtype, device_map=device_map)
    for option, given in (("dtype", dtype), ("device_map", device_map)):
        if given is not None:
            raise ValueError(f"{option}: only Hugging Face models take one, {name!r} is none")
    for option, wanted in (("trust_remote_code", trust_remote_code), ("pickled", pickled)):
        if wanted:
            raise ValueError(f"{option}: only Hugging Face checkpoints take it, {name!r} is none: leave it out")
    adapter.module.to(target)
    return adapter


def _adapt_loaded(network: nn.Module, processor: Any, device: str | None) -> TaskAdapter:
    """The adapter of a Hugging Face model that is loaded already, on `device`, or where it is."""
    from .compute_device import has_fixed_placement
    from .hf.checkpoint import adapt
    from .image_classifier import adapt_image_classifier, is_image_classifier
    from .unwrapping import unwrapped_pretrained

    network = unwrapped_pretrained(network)
    if device is not None:
        if has_fixed_placement(network):
            raise ValueError(f"device: this model is spread over devices, or quantised, and cannot be moved to {device!r}")
        network.to(choose_device(device))
    name = getattr(network, "name_or_path", "") or type(network).__name__
    if is_image_classifier(network):
        return adapt_image_classifier(network, processor, name)
    adapter: TaskAdapter = adapt(network, processor, name)
    return adapter


def _load_checkpoint(name: str, code: dict[str, Any], **options: Any) -> TaskAdapter:
    """A Hugging Face model from a folder, or from the hub."""
    from .hf import checkpoint as hf
    from .hf.adapter_folder import is_adapter_folder
    from .image_classifier import is_image_classifier, load_image_classifier

    with needed_by(f"{name!r}, a Hugging Face model,", "transformers"):
        import transformers  # noqa: F401  before anything is fetched or read
    folder = Path(name)
    if folder.is_dir():
        name = folder.resolve().name
    else:
        folder = hf.fetch(name, **code)
    if is_adapter_folder(folder):
        return _load_adapter_folder(folder, name, code, options)
    if is_image_classifier(folder):
        if options["device_map"] is not None:
            raise ValueError(f"device_map: {name!r} is an image classifier, which is not spread: pass device=")
        classifier = load_image_classifier(folder, name, dtype=options["dtype"], **code)
        classifier.module.to(options["device"])
        return classifier
    adapter: TaskAdapter = hf.load_folder(folder, name, **code, **options)
    return adapter


def _load_adapter_folder(folder: Path, name: str, code: dict[str, Any], options: dict[str, Any]) -> TaskAdapter:
    """The base model that an adapter's folder names, with the adapter in its layers."""
    from .hf.adapter_folder import base_of, with_adapter
    from .hf.checkpoint import adapt
    from .hf.composed_adapter import HuggingFace
    from .image_classifier import adapt_image_classifier

    base: Any = _load_checkpoint(base_of(folder), code, **options)
    provenance = base.provenance | {"peft_adapter": name}
    if isinstance(base, HuggingFace):
        network, processor = with_adapter(base.module, folder, base.loaded.processor, pickled=code["pickled"])
        return adapt(network, processor, name, provenance)
    processor = base.preprocessing.transform
    network, _ = with_adapter(base.module, folder, processor, pickled=code["pickled"])
    classifier = adapt_image_classifier(network, processor, name)
    classifier.provenance |= provenance
    return classifier


def _load_other(name: str, weights: Path | None) -> TaskAdapter | None:
    """The adapter of any other model, on the CPU; None for a Hugging Face model."""
    from ..models.bundle import bundled, model_folder
    from .contract import UnknownModelError
    from .hf import checkpoint as hf
    from .hf.adapter_folder import is_adapter_folder
    from .pretrained import LIBRARIES, PACKAGED
    from .user_function import is_user_function, load_user_function

    first, _, rest = name.partition(":")
    if rest and first in LIBRARIES:
        if weights is not None and not weights.is_file():
            raise FileNotFoundError(f"weights: there is no file {weights}")
        return LIBRARIES[first](rest, weights)
    if weights is not None:
        raise ValueError(f"weights: {name!r} brings its own; only {', '.join(f'{x}:NAME' for x in LIBRARIES)} take a file")
    if name in bundled():
        return _load_trained(model_folder(name), name)
    if name in PACKAGED:
        return PACKAGED[name]()
    folder = Path(name)
    if folder.is_dir():
        if hf.is_checkpoint(folder) or is_adapter_folder(folder):
            return None
        return _load_trained(folder, folder.resolve().name)
    if is_user_function(name):
        return load_user_function(name)
    if hf.HUB_NAME.fullmatch(name):
        return None
    near = ", ".join(f"{library}:{name}" for library in ("timm", "torchvision") if _has(library, name))
    hint = f": did you mean {near}?" if near else ";"
    raise UnknownModelError(
        f"unknown model {name!r}{hint} choose from {', '.join([*bundled(), *PACKAGED])}, "
        f"{', '.join(f'{x}:NAME' for x in LIBRARIES)}, "
        "a folder that `train` or `save_pretrained` wrote, the hub's owner/name, module:function, or file.py:function"
    )


def _has(library: str, name: str) -> bool:
    """Whether a library has a network of this name."""
    if library == "timm":
        import timm

        return bool(timm.is_model(name))
    import torchvision

    return name in torchvision.models.list_models()


def _unadapted(given: Any) -> str:
    """What is said of a model without its processor, or of what `load` does not take."""
    from torch import nn

    from .unwrapping import unwrapped_pretrained

    network = unwrapped_pretrained(given) if isinstance(given, nn.Module) else given
    if any(base.__module__.startswith("transformers.") for base in type(network).__mro__):
        return f"a {type(network).__name__} needs its processor: load(model, processor=processor)"
    return (
        f"load takes a name, a folder or a Hugging Face model, got a {type(given).__name__}: a network of yours goes into "
        "mc.classifier(network, labels=names, preprocess=transform), mc.captioner(encoder=, decoder=, tokenizer=) or "
        "mc.vqa(encoder=, head=, answers=)"
    )


def choose_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The torch dtype; None stays None. Raises ValueError for one that no network computes in."""
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype is None or dtype in known.values():
        return dtype  # type: ignore[return-value]
    if dtype not in known:
        raise ValueError(f"unknown dtype {dtype!r}; choose from {', '.join(known)}")
    return known[str(dtype)]


def choose_device(device: str) -> torch.device:
    """The torch device; `auto` takes an accelerator where there is one. Raises ValueError when it is not there."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}; choose auto or cpu") from error
    return torch.device(device)


def _load_trained(folder: Path, name: str) -> TaskAdapter:
    """The adapter of a folder that `train` wrote."""
    from ..models.bundle import load_model

    trained = load_model(folder)
    module, _, class_name = trained.spec.adapter.partition(":")
    adapter: BundledAdapter = getattr(importlib.import_module(module), class_name).from_trained(trained, name)
    adapter.folder = folder
    return adapter  # type: ignore[return-value]
