"""load(): a name or a folder -> a model that `explain` takes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .adapters import TaskAdapter


def load(name: str | Path = "nic", *, device: str = "auto") -> TaskAdapter:
    """The model `name`: bundled (`nic`), a folder that `train` wrote, or `"their_module:load"`, which runs that function.

    `device`: `auto` (cuda, else mps, else cpu) or a torch device. Raises ValueError that lists the choices, or says what is
    wrong with the folder.
    """
    from .models.bundle import BUNDLED, bundled

    text = str(name)
    target = choose_device(device)
    if text in bundled():
        return _load_folder(BUNDLED / text, text, target)
    if Path(text).is_dir():
        return _load_folder(Path(text), Path(text).resolve().name, target)
    module, _, function = text.partition(":")
    if function and module.replace(".", "").isidentifier():
        adapter: TaskAdapter = getattr(importlib.import_module(module), function)()
        adapter.module.to(target)
        return adapter
    raise ValueError(
        f"unknown model {text!r}; choose from {', '.join(bundled())}, a folder that `train` wrote, or module:function"
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


def _load_folder(folder: Path, name: str, device: torch.device) -> TaskAdapter:
    from .adapters.labels import Labels
    from .adapters.lstm_q import LSTMQAdapter
    from .adapters.nic import NICAdapter
    from .models.bundle import load_model

    trained = load_model(folder)
    network = trained.network.to(device)
    if trained.kind == "lstm-q":
        return LSTMQAdapter(network, trained.vocabulary, Labels(trained.answers), name, trained.sha256)
    return NICAdapter(network, trained.vocabulary, name, trained.sha256)
