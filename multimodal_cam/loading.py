"""load(): a name or a folder -> a model that `explain` takes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from .adapters import TaskAdapter


def load(
    name: str | Path | Any = "nic",
    *,
    device: str | None = None,
    weights: str | Path | None = None,
    processor: Any = None,
    trust_remote_code: bool = False,
    pickled: bool = False,
) -> TaskAdapter:
    """The model `name`: bundled (`nic`), a folder that `train` wrote, a Hugging Face model, an image classifier, or your own.

    Hugging Face: a folder that `save_pretrained` wrote (model, processor, tokenizer), the hub's `"owner/name"`, or a model that
    is loaded already, with its `processor`; `multimodal-cam models` lists the families, and what is of none is looked at, and
    taken if it can be. Code that comes with a checkpoint runs only with `trust_remote_code`, pickled weights (`*.bin`) are read
    only with `pickled`.

    Classifiers: `efficientnet_lite0` needs no network; `timm:NAME` and `torchvision:NAME` load those libraries' pretrained
    networks, which are fetched the first time, or with `weights`, a file; so does `open_clip:NAME` (or `open_clip:NAME/TAG`),
    which says how similar a text is to the photo, word by word. `"their_module:load"` runs that function.

    `device`: `auto` (cuda, else mps, else cpu; what is loaded already stays where it is) or a torch device. Raises ValueError
    that lists the choices, or says what is wrong with the folder or file, FileNotFoundError for what is missing in a folder,
    ImportError when another version of transformers is needed, and OSError when weights cannot be fetched.
    """
    if not isinstance(name, (str, Path)):
        from .adapters.hf.loading import adapt

        if processor is None:
            raise TypeError(f"a {type(name).__name__} needs its processor: load(model, processor=processor)")
        if device is not None:
            name.to(choose_device(device))
        loaded: TaskAdapter = adapt(name, processor, getattr(name, "name_or_path", "") or type(name).__name__)
        return loaded
    if processor is not None:
        raise ValueError(f"processor: {str(name)!r} brings its own; load(model, processor=processor) takes a model")
    target = choose_device(device or "auto")
    adapter = _find(str(name), None if weights is None else Path(weights), target, trust_remote_code, pickled)
    adapter.module.to(target)
    return adapter


def _find(
    name: str, weights: Path | None, device: torch.device, trust_remote_code: bool = False, pickled: bool = False
) -> TaskAdapter:
    from .adapters.hf import loading as hf
    from .adapters.zoo import LIBRARIES, PACKAGED
    from .models.bundle import BUNDLED, bundled

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
    adapter: TaskAdapter
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "pickled": pickled, "device": device}
    if Path(name).is_dir():
        folder = Path(name)
        if not hf.is_checkpoint(folder):
            return _load_folder(folder, folder.resolve().name)
        adapter = hf.load_folder(folder, folder.resolve().name, **options)
        return adapter
    if rest and first.replace(".", "").isidentifier():
        adapter = getattr(importlib.import_module(first), rest)()
        return adapter
    if hf.HUB_NAME.fullmatch(name):
        folder = hf.fetch(name, trust_remote_code=trust_remote_code, pickled=pickled)
        adapter = hf.load_folder(folder, name, **options)
        return adapter
    raise ValueError(
        f"unknown model {name!r}; choose from {', '.join([*bundled(), *PACKAGED])}, {', '.join(f'{x}:NAME' for x in LIBRARIES)}, "
        "a folder that `train` or `save_pretrained` wrote, the hub's owner/name, or module:function"
    )


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
    from .adapters.attending import SANAdapter, SATAdapter
    from .adapters.labels import Labels
    from .adapters.lstm_q import LSTMQAdapter
    from .adapters.nic import NICAdapter
    from .models.bundle import load_model

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
