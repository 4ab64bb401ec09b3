"""Whether a network is still what it was: a key of its structure, its settings and its weights' values.

Version counters miss writes through `.data`, `set_` and `copy_` under inference mode; so the values themselves are read. A
checksum costs an eighth of a ResNet-50's forward on one CPU core, a twelfth of a ViT-B's, a third of a MobileNet-V2's (5 ms).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OWN = __package__.partition(".")[0]  # hooks of this package come and go within a call, and change no value
LARGEST = 1000  # entries of a list or dict that are looked at; larger ones (vocabularies) count as one object
DEPTH = 4  # lists in lists in settings
BLOCK, BLOCK_ON_GPU = 2**17, 2**22  # 64-bit numbers that are summed at once: 1 MB stays in a CPU's cache
SMALL, SMALL_ON_GPU = 2**16, 2**26  # bytes of tensors that are joined
SIMPLE = (int, float, complex, str, bytes, bool, type(None), Enum, torch.dtype, torch.device, torch.Size, np.generic)
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
NOT_SETTINGS = frozenset(vars(nn.Module())) - {"training"}

_steady: ContextVar[dict[Hashable, Hashable] | None] = ContextVar("steady", default=None)


@contextmanager
def steady_networks() -> Iterator[None]:
    """Inside, in this thread, networks are taken not to change: each one's state is read once."""
    before = _steady.set({})
    try:
        yield
    finally:
        _steady.reset(before)


def network_state(network: nn.Module, without: frozenset[nn.Module] = frozenset()) -> Hashable | None:
    """Key that differs when anything differs that the network's output depends on; None where weights cannot be read.

    Args:
        network: Any module; what it holds outside its registers (plain tensors, lists of modules) counts, too.
        without: Submodules that are left out, with all that they hold.
    """
    state: Hashable | None = _read_once(("state", network, without), lambda: _state(network, without))
    return state


def network_structure(network: nn.Module) -> Hashable:
    """Key that differs when modules, their settings or hooks, or the shapes and types of their tensors differ."""
    structure: Hashable = _read_once(("structure", network), lambda: _Description(frozenset()).of(network))
    return structure


def pass_state(network: nn.Module, *inputs: Tensor, without: frozenset[nn.Module] = frozenset()) -> Hashable | None:
    """Key of a pass of the network over `inputs`: its state, theirs, and in which types autocast makes modules compute."""
    accelerator = torch.accelerator.current_accelerator()
    kinds = {"cpu"} if accelerator is None else {"cpu", accelerator.type}
    autocast = frozenset((kind, torch.get_autocast_dtype(kind)) for kind in kinds if torch.is_autocast_enabled(kind))
    states = network_state(network, without), tensor_state(*inputs)
    return None if None in states else (*states, autocast)


def settings_state(owner: object) -> Hashable | None:
    """Key of an object's attributes, such as an image processor's: numbers, words, and lists and dicts of them."""
    found = _Description(frozenset())
    settings, sums = found.of(owner), checksums(found.tensors)
    return None if sums is None else (settings, sums)


def tensor_state(*tensors: Tensor) -> Hashable | None:
    """Key of shapes, types, devices and values."""
    sums = checksums(tensors)
    return None if sums is None else (tuple(_form(tensor) for tensor in tensors), sums)


def _read_once(key: Hashable, read: Any) -> Any:
    known = _steady.get()
    if known is None:
        return read()
    if key not in known:
        known[key] = read()
    return known[key]


def _state(network: nn.Module, without: frozenset[nn.Module]) -> Hashable | None:
    found = _Description(without)
    structure, sums = found.of(network), checksums(found.tensors)
    return None if sums is None else (structure, sums)


class _Same:
    """Equal to the same object only, whatever its class calls equal."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class _Description:
    """All that a value holds, as something that can be compared; tensors are collected beside it, for their checksums."""

    def __init__(self, without: frozenset[nn.Module]) -> None:
        self.without = without
        self.tensors: list[Tensor] = []
        self._met: dict[int, int] = {}

    def of(self, value: Any, depth: int = 0) -> Hashable:
        if isinstance(value, SIMPLE):
            return type(value), value
        if id(value) in self._met:
            return "again", self._met[id(value)]
        if isinstance(value, Tensor):
            self._met[id(value)] = len(self._met)
            self.tensors.append(value)
            return _form(value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            return self.of(torch.from_numpy(np.frombuffer(value.tobytes(), np.uint8).copy()), depth)
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, (list, tuple, set, frozenset, dict)) and depth < DEPTH and len(value) <= LARGEST:
            return self._container(value, depth)
        settings = getattr(value, "__dict__", None)
        if depth > 0 or not isinstance(settings, dict) or isinstance(value, (type, FunctionType)):
            return _Same(value)
        self._met[id(value)] = len(self._met)
        return _Same(value), tuple((name, self.of(each, 1)) for name, each in settings.items())

    def _container(self, value: Any, depth: int) -> Hashable:
        self._met[id(value)] = len(self._met)
        if isinstance(value, dict):
            return type(value), tuple((self.of(key, DEPTH), self.of(each, depth + 1)) for key, each in value.items())
        parts = [self.of(each, depth + 1) for each in value]
        return type(value), frozenset(Counter(parts).items()) if isinstance(value, (set, frozenset)) else tuple(parts)

    def _module(self, module: nn.Module) -> Hashable:
        if module in self.without:
            return "left out"
        self._met[id(module)] = len(self._met)
        if isinstance(module, torch.jit.ScriptModule):  # keeps its parts, and its tensors, outside of Python
            tensors = [*module.named_parameters(), *module.named_buffers()]
            return _Same(module), module.training, tuple((name, self.of(value)) for name, value in tensors)
        own = vars(module)
        hooks = [hook for name in HOOKS for hook in own[name].values() if not _is_own(hook)]
        settings = [
            (name, self.of(module.training if name == "training" else value))  # a call has a mode of its own
            for name, value in own.items()
            if name not in NOT_SETTINGS and not (name == "forward" and _is_own(value))
        ]
        registers = [
            (name, self.of(value)) for kind in ("_parameters", "_buffers", "_modules") for name, value in own[kind].items()
        ]
        kind = type(module)
        return _Same(module), kind, _Same(kind.forward), *map(_Same, hooks), *settings, *registers


def _is_own(function: Any) -> bool:
    return (getattr(function, "__module__", None) or "").partition(".")[0] == OWN


def _form(tensor: Tensor) -> Hashable:
    return type(tensor), tensor.dtype, tensor.device, tensor.shape, tensor.stride() if tensor.layout is torch.strided else None


def checksums(tensors: Iterable[Tensor]) -> Hashable | None:
    """Checksums of the tensors' bytes that differ where any byte or its place does; None where a tensor holds no values."""
    plain = [tensor.detach() for tensor in _plain_tensors(tensors)]
    if not all(_is_readable(tensor) for tensor in plain):
        return None
    sums: dict[torch.device, list[Tensor]] = {}
    for tensor in _joined(plain):
        numbers, rest = _as_numbers(tensor)
        factors = _odd_factors(tensor.device)
        blocks = [*torch.split(numbers, len(factors)), *([rest.long()] if len(rest) else [])]
        sums.setdefault(tensor.device, []).extend(_weighted_sum(block, factors[: len(block)]) for block in blocks)
    return frozenset((device, tuple(torch.stack(found).tolist())) for device, found in sums.items())


def _joined(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """The tensors, small ones of a kind joined: each operation takes its time, on a GPU above all."""
    waiting: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    size = 0
    for tensor in tensors:
        if tensor.nbytes > (SMALL if tensor.device.type == "cpu" else SMALL_ON_GPU):
            yield tensor
            continue
        waiting.setdefault((tensor.device, tensor.dtype), []).append(_in_a_row(tensor))
        size += tensor.nbytes
        if size > SMALL_ON_GPU:
            yield from map(torch.cat, waiting.values())
            waiting, size = {}, 0
    yield from map(torch.cat, waiting.values())


def _is_readable(tensor: Tensor) -> bool:
    return tensor.device.type != "meta" and tensor.layout is torch.strided and not tensor.is_quantized


def _plain_tensors(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """The tensors, those of subclasses (packed weights) as the plain tensors that they consist of."""
    for tensor in tensors:
        flatten = getattr(tensor, "__tensor_flatten__", None)
        if flatten is None or type(tensor) in (Tensor, nn.Parameter):
            yield tensor
        else:
            yield from _plain_tensors(getattr(tensor, name) for name in flatten()[0])


def _as_numbers(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The tensor's bytes as 64-bit numbers, and the bytes that are left over."""
    raw = _in_a_row(tensor).view(torch.uint8)
    if raw.storage_offset() % 8:
        raw = raw.clone()
    whole = len(raw) // 8 * 8
    return raw[:whole].view(torch.int64), raw[whole:]


def _in_a_row(tensor: Tensor) -> Tensor:
    """The tensor's numbers `(n,)`, without a copy where they lie in `channels_last`."""
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.contiguous().view(-1)


def _weighted_sum(numbers: Tensor, factors: Tensor) -> Tensor:
    """The sum modulo 2**64; there is no dot product of whole numbers on a GPU."""
    return torch.dot(numbers, factors) if numbers.device.type == "cpu" else (numbers * factors).sum()


@cache
def _odd_factors(device: torch.device) -> Tensor:
    """A factor for each place: odd, so that no change of one number is lost."""
    generator, count = torch.Generator().manual_seed(0), BLOCK if device.type == "cpu" else BLOCK_ON_GPU
    return (torch.randint(-(2**62), 2**62, (count,), generator=generator) * 2 + 1).to(device)
