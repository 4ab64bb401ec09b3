"""Memory that a checkpoint needs, read from the headers of its files before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch

from ...core.errors import BrokenFile, shown
from ...core.json_object import read_object

MARGIN = 1.2  # what a photo and its words need comes on top of the weights
STORED = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes of a number, by the name that safetensors has for its type
CGROUPS = (  # limit, what is used, and what of that can be had back, in Linux's two ways of containers
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def check_memory(folder: Path, config: Mapping[str, Any], dtype: torch.dtype | None, device: torch.device) -> None:
    """Raises MemoryError that says what is needed, what there is and what to do; nothing where it cannot be known.

    Weights come into the computer's memory first, wherever they go then.
    """
    weights = weights_size(folder, config, dtype)
    for place in dict.fromkeys((torch.device("cpu"), device)):
        free = available(place)
        if free is not None and MARGIN * weights > free:
            half = weights_size(folder, config, torch.bfloat16)
            ways = [f"dtype='bfloat16' makes that {_gigabytes(MARGIN * half)}"] if half < weights else []
            ways += ["device_map='auto' spreads it over all devices", "or take a smaller checkpoint of its family"]
            raise MemoryError(
                f"{folder} needs about {_gigabytes(MARGIN * weights)} of memory (weights {_gigabytes(weights)}), and on {place} "
                f"{_gigabytes(free)} are free: {', '.join(ways)}"
            )


def weights_size(folder: Path, config: Mapping[str, Any], dtype: torch.dtype | None = None) -> int:
    """How many bytes the weights have once they are loaded as `dtype`, by default as the checkpoint says.

    Raises ValueError for a file that is not what its name says, FileNotFoundError for one that is missing.
    """
    if "quantization_config" in config:
        wanted = None  # packed, whatever is asked for
    elif dtype is not None:
        wanted = dtype.itemsize
    else:
        named = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
        wanted = named.itemsize if isinstance(named, torch.dtype) else None
    if not any(folder.glob("*.safetensors")):
        return sum(file.stat().st_size for file in folder.glob("*.bin"))
    return sum(
        prod(tensor["shape"]) * wanted if wanted and tensor["dtype"] in STORED else _stored(tensor)
        for file in _files(folder)
        for tensor in _tensors(file)
    )


def available(device: torch.device) -> int | None:
    """How many bytes can still be had on `device`; None where nobody says."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for the next tensor
        return int(torch.cuda.mem_get_info(device)[0] + kept)
    if device.type != "cpu":
        return None
    limits = [found for found in (_machine_memory(), *(_container_memory(*names) for names in CGROUPS)) if found is not None]
    return min(limits, default=None)


def _machine_memory(file: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _container_memory(limit: str, used: str, spare: str, root: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        stat = dict(line.split() for line in (root / used).with_name("memory.stat").read_text().splitlines())
        return int((root / limit).read_text()) - int((root / used).read_text()) + int(stat[spare])
    except (OSError, KeyError, ValueError):  # ValueError: the limit is "max"
        return None


def _files(folder: Path) -> list[Path]:
    """The files that are loaded: others may hold the same weights once more."""
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    if index.is_file():
        names = sorted(set(read_object(index, "fetch it again").text_table("weight_map").values()))
        if outside := [name for name in names if "/" in name or "\\" in name]:
            raise BrokenFile(index, "names of files beside it", shown(outside), "fetch it again")
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f"{folder} lacks weights that its index names, {', '.join(missing)}: download them, too")
        return [folder / name for name in names]
    return list(folder.glob("*.safetensors"))


def _tensors(file: Path) -> Iterator[dict[str, Any]]:
    """What a file's head says of each tensor. Raises BrokenFile for what is cut off, or no safetensors file."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length <= size - 8:
            raise BrokenFile(
                file,
                "a safetensors file",
                f"{size} bytes that are none",
                "a pointer of Git LFS, or half a download? Fetch it again",
            )
        head = opened.read(length)
    try:
        tensors = [tensor for name, tensor in json.loads(head).items() if name != "__metadata__"]
        end = max((int(tensor["data_offsets"][1]) for tensor in tensors), default=0)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise BrokenFile(file, "the head of a safetensors file", f"something else ({error})", "fetch it again") from error
    if 8 + length + end > size:
        raise BrokenFile(file, f"{8 + length + end} bytes", f"{size}", "half a download? Fetch it again")
    yield from tensors


def _stored(tensor: Mapping[str, Any]) -> int:
    start, stop = tensor["data_offsets"]
    return int(stop - start)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
