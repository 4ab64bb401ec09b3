"""What is a call's own while it lasts: evaluation mode, the numbers' format, its place in the queue for the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from .eager_mode import eager_mode
from .hooks import HookStack, forward_hooks
from .module_claims import exclusive
from .ownership import disowned
from .random_state import undrawn_state
from .training_mode import is_compiled, reads_as_evaluation, switched_where_compiled

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def unchanged_state(module: nn.Module | None = None) -> Iterator[None]:
    """A call on `module`: no other call uses its parts, it reads as in evaluation mode; no inference mode and no autocast inside.

    Afterwards the random state is what it was.
    """
    with ExitStack() as stack:
        if module is not None:
            stack.enter_context(exclusive(module))
        stack.enter_context(disowned())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(eager_mode())
        for device in filter(torch.is_autocast_enabled, AUTOCAST_DEVICES):  # it moves maps of float32 models by up to 12 %
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))  # a backward pass is the call's own, too
        stack.enter_context(undrawn_state(module))
        if module is not None:
            stack.enter_context(evaluation_mode(module))
            stack.callback(_replace_inference_weights(module.modules()))
        yield


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for this call, and right gradients through batch norms on the CPU; nobody else sees either.

    Compiled code is left out: it neither asks for the mode nor runs hooks.
    """
    parts = list(module.modules())
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
    with eager_mode(), forward_hooks(norms, _contiguous_gradient), switched_where_compiled(module), reads_as_evaluation(parts):
        yield


@contextmanager
def eval_mode_of_called_modules() -> Iterator[None]:
    """`evaluation_mode` of a network that is not known: of every module that this call runs."""

    seen: set[nn.Module] = set()

    def switch(module: nn.Module, _args: Any) -> None:
        if is_compiled(module):
            stack.enter_context(switched_where_compiled(module))
        if module not in seen:
            seen.add(module)
            stack.callback(_replace_inference_weights([module]))

    def mend(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(module, nn.BatchNorm2d):
            _contiguous_gradient(module, args, output)

    with HookStack() as stack:
        stack.add(register_module_forward_pre_hook, switch)
        stack.add(register_module_forward_hook, mend)
        with reads_as_evaluation(None):
            yield


def _replace_inference_weights(modules: Iterable[nn.Module]) -> Callable[[], None]:
    """Put copies in the place of weights made in inference mode, which no graph may hold; returns what puts them back."""
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    for module in modules:
        registers: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in registers:
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_inference():
                    replaced.append((tensors, name, tensor))
    for tensors, name, tensor in replaced:
        copy = tensor.detach().clone()
        tensors[name] = nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy

    def put_back() -> None:
        for tensors, name, tensor in replaced:
            tensors[name] = tensor

    return put_back


def _contiguous_gradient(_module: nn.Module, _args: Any, output: Tensor) -> None:
    """PyTorch's CPU batch norm gives a wrong input gradient for one row when the incoming gradient is not contiguous."""
    if output.requires_grad and output.device.type == "cpu":
        output.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
