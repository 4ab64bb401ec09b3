"""Device and dtype in which a network computes: its weights may be offloaded (accelerate) or packed (quantised)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

COMPUTE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # no float8, which weights are only kept in


def device_of(module: nn.Module) -> torch.device:
    """Where `module` computes. Accelerate brings weights there when they are needed, and says so in hooks of its own."""
    weight = next(_weights(module), None)
    if weight is None:
        return torch.get_default_device()
    if weight.device.type != "meta":
        return weight.device
    for part in module.modules():
        for hook in _hooks(part):
            if getattr(hook, "execution_device", None) is not None:
                return torch.device(hook.execution_device)
    raise ValueError(f"{type(module).__name__} has no weights: they are all on the device `meta`")


def dtype_of(module: nn.Module) -> torch.dtype:
    """What `module` computes in: what those of its weights hold that are no packed integers."""
    weights = (weight.dtype for weight in _weights(module) if weight.dtype in COMPUTE_DTYPES)
    return next(weights, torch.get_default_dtype())


def has_fixed_placement(model: nn.Module) -> bool:
    """Whether a model cannot be moved as a whole: it is spread over devices, or its weights are packed."""
    return any(True for part in model.modules() for _ in _hooks(part)) or bool(getattr(model, "is_quantized", False))


def _weights(module: nn.Module) -> Iterator[Tensor]:
    """Parameters, then buffers: some networks have no parameters."""
    yield from module.parameters()
    yield from module.buffers()


def _hooks(module: nn.Module) -> Iterator[Any]:
    hook = getattr(module, "_hf_hook", None)
    if hook is not None:
        yield from getattr(hook, "hooks", (hook,))
