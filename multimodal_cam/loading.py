"""load(): a name or a folder -> a model that `explain` takes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .adapters import TaskAdapter


def load(name: str | Path = "nic", *, device: str = "auto", weights: str | Path | None = None) -> TaskAdapter:
    """The model `name`: bundled (`nic`), a folder that `train` wrote, an image classifier, or somebody's own.

    Classifiers: `efficientnet_lite0` needs no network; `timm:NAME` and `torchvision:NAME` load those libraries' pretrained
    networks, which are fetched the first time, or with `weights`, a file. `"their_module:load"` runs that function.

    `device`: `auto` (cuda, else mps, else cpu) or a torch device. Raises ValueError that lists the choices, or says what is
    wrong with the folder or file, and OSError when weights cannot be fetched.
    """
    target = choose_device(device)
    adapter = _find(str(name), None if weights is None else Path(weights))
    adapter.module.to(target)
    return adapter


def _find(name: str, weights: Path | None) -> TaskAdapter:
    from .adapters.zoo import LIBRARIES, PACKAGED
    from .models.bundle import BUNDLED, bundled

    first, _, rest = name.partition(":")
    if rest and first in LIBRARIES:
        if weights is not None and not weights.is_file():
            raise FileNotFoundError(f"weights: there is no file {weights}")
        return LIBRARIES[first](rest, weights)
    if weights is not None:
        raise ValueError(f"weights: {name!r} brings its own; only {' and '.join(f'{x}:NAME' for x in LIBRARIES)} take a file")
    if name in bundled():
        return _load_folder(BUNDLED / name, name)
    if name in PACKAGED:
        return PACKAGED[name]()
    if Path(name).is_dir():
        return _load_folder(Path(name), Path(name).resolve().name)
    if rest and first.replace(".", "").isidentifier():
        adapter: TaskAdapter = getattr(importlib.import_module(first), rest)()
        return adapter
    raise ValueError(
        f"unknown model {name!r}; choose from {', '.join([*bundled(), *PACKAGED])}, {', '.join(f'{x}:NAME' for x in LIBRARIES)}, "
        "a folder that `train` wrote, or module:function"
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
