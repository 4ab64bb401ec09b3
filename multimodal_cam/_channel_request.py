"""Maps by channel, as a call of `explain` asks for them, and what the channels are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .adapters.contract import HasFolder, TaskAdapter
from .adapters.layer_choice import resolve_layer
from .core.channel_names import FILE, ChannelNames, read_channel_names
from .core.forward_pass import AttributionRequest
from .methods.spec import METHODS


def with_channels(request: AttributionRequest) -> AttributionRequest:
    """The request, with maps by channel. Raises ValueError for a method whose maps are no sums over channels."""
    if not request.method.by_channel:
        choices = ", ".join(name for name, spec in METHODS.items() if spec.by_channel)
        raise ValueError(f"channels: a map by {request.method.name} is no sum over channels; choose from {choices}")
    return replace(request, by_channel=True)


def channel_names(model: TaskAdapter, request: AttributionRequest, given: bool | str | Path) -> Mapping[int, str]:
    """Names of the channels of the request's layer, in the file that is `given`, or in the model's folder if there is one.

    Raises FileNotFoundError, BrokenFile or ValueError for a file that is not there, damaged, or of another layer or weights, and
    TypeError for what is neither True nor a path.
    """
    if not isinstance(given, (bool, str, Path)):
        raise TypeError(f"channels: expected True, or the path of a file that `neurons label` wrote, got {given!r}")
    if given is True and (not isinstance(model, HasFolder) or model.folder is None):
        return {}
    path = Path(given) if not isinstance(given, bool) else model.folder / FILE  # type: ignore[attr-defined]
    if given is True and (not path.is_file() or request.layer is not model.layer):
        return {}
    names = read_channel_names(path)
    names.check(model.module, request.layer_name, path)
    return names.detectors


def check_names(model: TaskAdapter, names: ChannelNames) -> None:
    """Raises ValueError for names of another layer than the model's own, or of other weights."""
    names.check(model.module, resolve_layer(model, None)[1], Path(FILE))
