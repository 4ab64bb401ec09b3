"""All hooks of the package: a network is cut at the tapped layer and before its readout.

    pixels -> backbone -> [layer] -> (head input layer) -> head -> [readout] -> logits -> score

The backbone runs without a graph; at the layer its output becomes a leaf. Every hook lives in a context manager, so that nothing
stays behind, after an exception either, and acts for the call that set it only: other threads run the same modules untouched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from .grad_modes import GradModeWatch, numpy_errors_explained
from .layer_view import ActivationSlice, GridView
from .ownership import OwnedHook, Owner

_registering = threading.RLock()  # PyTorch numbers hooks without one


class HookStack(ExitStack):
    """Hooks that act for whoever entered this stack, until it is left."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = Owner()

    def __enter__(self) -> Self:
        self.enter_context(self.owner)
        return self

    def add(self, register: Callable[..., Any], hook: Callable[..., Any], **options: Any) -> None:
        """`register(hook)` as PyTorch's methods and functions do it."""
        with _registering:
            self.callback(register(OwnedHook(self.owner, hook), **options).remove)

    def add_to_output(self, layer: nn.Module, hook: Callable[..., Any], **options: Any) -> None:
        """A forward hook on what the layer gives in the end: behind the user's hooks, so that what these change counts.

        It comes before those of transformers, which collect hidden states that some heads read, and before our own of outer
        contexts, which see what the inner ones make of the output.
        """
        with _registering:
            behind = [key for key, other in layer._forward_hooks.items() if not _is_users(other)]
            self.add(layer.register_forward_hook, hook, **options)
            keys = list(layer._forward_hooks)
            for key in keys[keys.index(behind[0]) : -1] if behind else []:
                layer._forward_hooks.move_to_end(key)  # type: ignore[attr-defined]


def _is_users(hook: Callable[..., Any]) -> bool:
    return not isinstance(hook, OwnedHook) and not getattr(hook, "__module__", "").startswith("transformers.")


class LayerTap(HookStack):
    """Records or replaces the output of `layer` while a network runs: `with LayerTap(layer, "name") as tap: network(...)`.

    Args:
        leaf: The network continues from a leaf with a graph, `tap.leaf`.
        replace: The network continues from this tensor instead of the layer's output.
        call: The run that is tapped of a layer that runs several times, from 0; None: it runs once.
        view: Extracts the activations from the output; `(b, c, h, w)` by default.

    Raises ValueError, while the network runs, for an output that the view cannot read.
    """

    def __init__(
        self,
        layer: nn.Module,
        name: str = "layer",
        *,
        leaf: bool = False,
        replace: Tensor | None = None,
        view: ActivationSlice | None = None,
        call: int | None = None,
    ) -> None:
        super().__init__()
        self.layer, self.name, self.wants_leaf, self.replace, self.view = layer, name, leaf, replace, view or GridView()
        self.call = call
        self.calls = 0
        self.leaf: Tensor | None = None
        self._activations: Tensor | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        self._wanted = self.wants_leaf or torch.is_grad_enabled()
        self._watch = self.enter_context(GradModeWatch())
        self.enter_context(numpy_errors_explained(self.name))
        self.add_to_output(self.layer, self._hook)
        return self

    def _hook(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        self.calls += 1
        if self.call not in (None, self.calls - 1):
            return None
        if self.replace is not None:
            self._watch.reach_layer(self._wanted)
            return self.view.inject(self.replace, output)
        try:
            taken = self.view.extract(output)
        except ValueError as error:
            raise ValueError(f"layer {self.name!r} gives {error}") from None
        if not self.wants_leaf:
            self._activations = taken.detach().clone()  # what follows may write on the output in place
            return None
        self.leaf = taken.detach().requires_grad_()
        self._activations = self.leaf.detach()
        self._watch.reach_layer(True)  # until the surrounding no_grad() of the caller ends
        return self.view.inject(self.leaf.clone(), output)

    @property
    def switched_off(self) -> list[str]:
        """Where the user's forward switched gradients off behind the layer, in order."""
        return self._watch.switched_off

    @property
    def activations(self) -> Tensor:
        """The activations, detached. Raises ValueError if the layer did not run exactly once."""
        if self.calls == 0:
            raise ValueError(f"layer {self.name!r} never ran: choose one that this model uses")
        if (self.calls != 1 and self.call is None) or self._activations is None:
            raise ValueError(
                f"layer {self.name!r} ran {self.calls} times in one forward pass, expected once: choose a layer that "
                "the model runs once per image"
            )
        return self._activations


@dataclass(eq=False)
class GraphSizeCounter:
    """Counts the numbers that a graph keeps of activations, `kept`, and those of the largest tensor among them.

    A separate object: a graph holds the hooks that it is built with, and would hold whatever they belong to.
    """

    kept: int = 0
    largest: int = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        base = tensor if tensor._base is None else tensor._base  # a transposed weight is a view of it
        if not base.is_leaf:  # no weight of the network
            self.kept += tensor.numel()
            self.largest = max(self.largest, tensor.numel())
        return tensor.detach()  # else the graph holds itself


class ReadoutTap(HookStack):
    """The second cut: makes the input of `readout` a leaf, so that one product gives all tokens' gradients there.

    `graph` counts what the graphs built inside the context keep.
    """

    def __init__(self, readout: nn.Module | None) -> None:
        super().__init__()
        self.readout = readout
        self.hidden: Tensor | None = None
        self.leaf: Tensor | None = None
        self.graph = GraphSizeCounter()

    def __enter__(self) -> Self:
        super().__enter__()
        self.enter_context(saved_tensors_hooks(self.graph, lambda tensor: tensor))
        if self.readout is not None:
            self.add(self.readout.register_forward_pre_hook, self._hook)
        return self

    def _hook(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        hidden = args[0]
        if not torch.is_grad_enabled() or not hidden.requires_grad:
            return None
        if self.hidden is not None or hidden.ndim != 3:
            raise RuntimeError("a readout must run once, on hidden states (b, t, d): use an adapter without one")
        self.hidden = hidden
        self.leaf = hidden.detach().requires_grad_()
        return (self.leaf, *args[1:])

    def pull_back(self, scores: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The tensor that products start from, and the gradient there of each of the `a` columns of `scores` `(rows, a, t)`.

        That tensor is the input of the readout, where a token's gradient is 0 at other positions; without a readout, the scores.
        """
        if self.hidden is None:
            return scores, torch.ones_like(scores).unbind(1)
        assert self.leaf is not None
        ones = torch.ones_like(scores)
        columns = [ones * (torch.arange(scores.shape[1], device=ones.device) == i)[:, None] for i in range(scores.shape[1])]
        return self.hidden, tuple(torch.autograd.grad(scores, self.leaf, column, retain_graph=True)[0] for column in columns)


class HeadInputTap(HookStack):
    """Adds one leaf of zeros to the output of the affine module that reads the layer, for all `copies` of a batch.

    The leaf's gradient is the sum over the copies, taken behind that module, where tensors are small; `pull_back` brings it to
    the module's input: an affine map has the same derivative at every copy.
    """

    def __init__(self, affine: nn.Module, copies: int) -> None:
        super().__init__()
        self.affine, self.copies = affine, copies
        self.leaf: Tensor | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        self.add(self.affine.register_forward_hook, self._hook)
        return self

    def _hook(self, _module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        output = output.detach()
        self.leaf = torch.zeros_like(output[: len(output) // self.copies]).requires_grad_()
        return output + self.leaf.repeat(self.copies, *[1] * (output.ndim - 1))

    def pull_back(self, gradients: Tensor, activations: Tensor) -> Tensor:
        """Gradients `(m, b, ...)` behind the module -> `(m, b, c, h, w)` at its input."""
        leaf = activations.detach().requires_grad_()
        with torch.enable_grad():
            output = self.affine(leaf)
        batched = len(gradients) > 1  # else products are looped, perhaps because batched ones are refused
        (pulled,) = torch.autograd.grad(output, leaf, gradients if batched else gradients[0], is_grads_batched=batched)
        return pulled if batched else pulled[None]


@contextmanager
def forward_hooks(modules: Iterable[nn.Module], hook: Callable[..., Any], *, with_kwargs: bool = False) -> Iterator[None]:
    """Run `hook(module, args, output)`, or `hook(module, args, kwargs, output)`, after the forward of each of `modules`."""
    with HookStack() as stack:
        for module in modules:
            stack.add(module.register_forward_hook, hook, with_kwargs=with_kwargs)
        yield


@contextmanager
def forward_pre_hooks(modules: Iterable[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """`hook(module, args)` before the forward of each of `modules`, as long as this lasts."""
    with HookStack() as stack:
        for module in modules:
            stack.add(module.register_forward_pre_hook, hook)
        yield


@contextmanager
def hooks_around(modules: Iterable[nn.Module], before: Callable[..., Any], after: Callable[..., Any]) -> Iterator[None]:
    """`before(module, args, kwargs)` and `after(module, args, output)` around the forward of each of `modules`."""
    with HookStack() as stack:
        for module in modules:
            stack.add(module.register_forward_pre_hook, before, with_kwargs=True)
            stack.add(module.register_forward_hook, after, prepend=True)
        yield


@contextmanager
def final_output_hook(layer: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Run `hook(module, args, kwargs, output)` on what the layer gives in the end, behind the user's hooks."""
    with HookStack() as stack:
        stack.add_to_output(layer, hook, with_kwargs=True)
        yield


@contextmanager
def overridden_output(layer: nn.Module, override: Callable[[Any], Any]) -> Iterator[None]:
    """`layer` gives `override(output)`; the graph, where one is wanted, begins there: what runs before the layer builds none."""
    wanted = torch.is_grad_enabled()

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        watch.reach_layer(wanted)  # until no_grad() below ends
        return override(output)

    with torch.no_grad(), GradModeWatch() as watch, HookStack() as stack:
        stack.add_to_output(layer, hook)
        yield


def has_foreign_hooks(module: nn.Module) -> bool:
    """Whether the user's forward hooks are on this module: neither ours nor those of transformers, which change nothing."""
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    return any(map(_is_users, hooks))
