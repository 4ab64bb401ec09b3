"""load(): a name or a folder -> a model that `explain` takes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from .contract import TaskAdapter


def load(
    name: str | Path | Any = "nic",
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
    weights: str | Path | None = None,
    processor: Any = None,
    trust_remote_code: bool = False,
    pickled: bool = False,
) -> TaskAdapter:
    """The model `name`: bundled (`nic`), a folder that `train` wrote, a Hugging Face model, an image classifier, or your own.

    Hugging Face: a folder that `save_pretrained` wrote (model, processor, tokenizer), the hub's `"owner/name"`, or a model that
    is loaded already, with its `processor`; `multimodal-cam models` lists the families, and what is of none is looked at, and
    taken if it can be. Code that comes with a checkpoint runs only with `trust_remote_code`, pickled weights (`*.bin`) are read
    only with `pickled`. `dtype`: `float32`, `bfloat16` or `float16`, by default what the checkpoint was saved in. `device_map`
    (`"auto"`, or as transformers takes it; it needs accelerate) spreads a large model, in the place of `device`. Quantised
    checkpoints need the library that packed them.

    Classifiers: `efficientnet_lite0` needs no network; `timm:NAME` and `torchvision:NAME` load those libraries' pretrained
    networks, which are fetched the first time, or with `weights`, a file; so does `open_clip:NAME` (or `open_clip:NAME/TAG`),
    which says how similar a text is to the photo, word by word. `"their_module:load"` runs that function.

    `device`: `auto` (cuda, else mps, else cpu; what is loaded already stays where it is) or a torch device. Raises ValueError
    that lists the choices, or says what is wrong with the folder or file, FileNotFoundError for what is missing in a folder,
    ImportError when another version of transformers, or a library, is needed, OSError when weights cannot be fetched, and
    MemoryError, before any are loaded, when they would not fit.
    """
    if not isinstance(name, (str, Path)):
        from .hf.checkpoint import adapt
        from .hf.compute_device import has_fixed_placement

        if processor is None:
            raise TypeError(f"a {type(name).__name__} needs its processor: load(model, processor=processor)")
        for option, given in (("dtype", dtype), ("device_map", device_map)):
            if given is not None:
                raise ValueError(f"{option}: this model is loaded already, give it to from_pretrained")
        if device is not None:
            if has_fixed_placement(name):
                raise ValueError(f"device: this model is spread over devices, or quantised, and cannot be moved to {device!r}")
            name.to(choose_device(device))
        loaded: TaskAdapter = adapt(name, processor, getattr(name, "name_or_path", "") or type(name).__name__)
        return loaded
    if processor is not None:
        raise ValueError(f"processor: {str(name)!r} brings its own; load(model, processor=processor) takes a model")
    if device_map is not None and device is not None:
        raise ValueError("device_map says where everything goes: leave device out")
    if device_map is not None and device is not None:
        raise ValueError("device_map says where everything goes: leave device out")
    target, number = choose_device(device or "auto"), choose_dtype(dtype)
    adapter = _find(str(name), None if weights is None else Path(weights))
    if adapter is None:
        code: dict[str, Any] = {"trust_remote_code": trust_remote_code, "pickled": pickled}
        return _checkpoint(str(name), code, device=target, dtype=number, device_map=device_map)
    for option, given in (("dtype", dtype), ("device_map", device_map)):
        if given is not None:
            raise ValueError(f"{option}: only Hugging Face models take one, {str(name)!r} is none")
    adapter.module.to(target)
    return adapter


def _checkpoint(name: str, code: dict[str, Any], **options: Any) -> TaskAdapter:
    """A Hugging Face model from a folder, or from the hub."""
    from .hf import checkpoint as hf

    folder = Path(name)
    if folder.is_dir():
        name = folder.resolve().name
    else:
        folder = hf.fetch(name, **code)
    adapter: TaskAdapter = hf.load_folder(folder, name, **code, **options)
    return adapter


def _find(name: str, weights: Path | None) -> TaskAdapter | None:
    """Every other model, somewhere; None for a Hugging Face model."""
    from ..models.bundle import BUNDLED, bundled
    from .contract import UnknownModelError
    from .hf import checkpoint as hf
    from .pretrained import LIBRARIES, PACKAGED

    first, _, rest = name.partition(":")
    if rest and first in LIBRARIES:
        if weights is not None and not weights.is_file():
            raise FileNotFoundError(f"weights: there is no file {weights}")
        return LIBRARIES[first](rest, weights)
    if weights is not None:
        raise ValueError(f"weights: {name!r} brings its own; only {', '.join(f'{x}:NAME' for x in LIBRARIES)} take a file")
    if name in bundled():
        return _load_folder(BUNDLED / name, name)
    if name in PACKAGED:
        return PACKAGED[name]()
    folder = Path(name)
    if folder.is_dir():
        return None if hf.is_checkpoint(folder) else _load_folder(folder, folder.resolve().name)
    if rest and first.replace(".", "").isidentifier():
        adapter: TaskAdapter = getattr(importlib.import_module(first), rest)()
        return adapter
    if hf.HUB_NAME.fullmatch(name):
        return None
    raise UnknownModelError(
        f"unknown model {name!r}; choose from {', '.join([*bundled(), *PACKAGED])}, {', '.join(f'{x}:NAME' for x in LIBRARIES)}, "
        "a folder that `train` or `save_pretrained` wrote, the hub's owner/name, or module:function"
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


def _load_folder(folder: Path, name: str) -> TaskAdapter:
    from ..models.bundle import load_model
    from .bundled import LSTMQAdapter, NICAdapter, SANAdapter, SATAdapter
    from .labels import Labels

    trained = load_model(folder)
    network, words, digest = trained.network, trained.vocabulary, trained.sha256
    match trained.kind:
        case "lstm-q":
            return LSTMQAdapter(network, words, Labels(trained.answers), name, digest)
        case "san":
            return SANAdapter(network, words, Labels(trained.answers), name, digest)
        case "sat":
            return SATAdapter(network, words, name, digest)
        case _:
            return NICAdapter(network, words, name, digest)
