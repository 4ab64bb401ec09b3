"""Hooks and autograd, and nowhere else: the network is cut at the tapped layer and before its readout.

    pixels -> backbone -> [layer] -> (affine) -> head -> [readout] -> logits -> score

The backbone runs without a graph. At the layer its output becomes a leaf; `token_gradients` gives the gradient of every
token's score with respect to that leaf: one product through the readout for all tokens, then one through the head for each,
batched. Nothing stays behind: no hook, no `.grad`, no flag, no mode, after an exception either.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

log = logging.getLogger(__name__)

VMAP_REFUSALS = ("vmap", "Batching rule", "batching rule", "doesn't have storage")  # what PyTorch's errors say
BUDGET = 2**23  # numbers that a batch of products may hold: 32 MB in float32
INSIDE = 8  # a product holds, at its worst moment, as many tensors of the size of the largest that the graph keeps


class Part(Protocol):
    """What of a layer's output is looked at: layers give tuples, tokens, tiles."""

    def take(self, output: Any) -> Tensor:
        """The layer's output -> activations `(b, ...)`, one row an image. Raises ValueError for an output that is no grid."""

    def put(self, activations: Tensor, output: Any) -> Any:
        """The reverse: what the layer gives when it holds `activations`; `output` shows the form."""


class View(Part, Protocol):
    """And where it lies: some tokens have no place, tiles overlap."""

    def grid(self, activations: Tensor) -> Tensor:
        """Activations, or gradients with more dimensions in front, `(..., *one)` -> what lies on the image `(..., c, h, w)`."""

    def lay(self, maps: Tensor) -> Tensor:
        """Maps over the cells that `grid` gives -> maps on the image `(..., h, w)`, which add up to the same: tiles overlap."""

    def rest(self, activations: Tensor) -> Tensor | None:
        """What has no place, `(..., u, c)`; None where everything has one."""


class Grid:
    """A layer that gives a tensor `(b, c, h, w)` (`ndim` dimensions): everything has its place."""

    def __init__(self, ndim: int = 4) -> None:
        self.ndim = ndim

    def take(self, output: Any) -> Tensor:
        if isinstance(output, Tensor) and output.ndim == self.ndim:
            return output
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        wanted = "a grid (b, c, h, w): choose a convolutional layer" if self.ndim == 4 else f"{self.ndim} dimensions"
        raise ValueError(f"{what}, expected {wanted}")

    def put(self, activations: Tensor, output: Any) -> Tensor:  # noqa: ARG002
        return activations

    def grid(self, activations: Tensor) -> Tensor:
        return activations

    def lay(self, maps: Tensor) -> Tensor:
        return maps

    def rest(self, activations: Tensor) -> Tensor | None:  # noqa: ARG002
        return None


class LayerTap:
    """Watches `layer` while a network runs: `with LayerTap(layer, "name") as tap: network(...)`.

    `activations` is what `view` takes of the layer's output, `(b, c, h, w)` by default, detached. With `leaf=True` the network
    goes on from a leaf with a graph, `tap.leaf`; with `replace` it goes on from that tensor instead. Raises ValueError when
    the output is no grid.
    """

    def __init__(
        self,
        layer: nn.Module,
        name: str = "layer",
        *,
        leaf: bool = False,
        replace: Tensor | None = None,
        view: Part | None = None,
    ) -> None:
        self.layer, self.name, self.wants_leaf, self.replace, self.view = layer, name, leaf, replace, view or Grid()
        self.calls = 0
        self.leaf: Tensor | None = None
        self._activations: Tensor | None = None

    def __enter__(self) -> LayerTap:
        # first of all hooks: transformers collects hidden states by hooks of its own, and some heads read those
        self._handle = self.layer.register_forward_hook(self._hook, prepend=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _hook(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        self.calls += 1
        if self.replace is not None:
            return self.view.put(self.replace, output)
        try:
            taken = self.view.take(output)
        except ValueError as error:
            raise ValueError(f"layer {self.name!r} gives {error}") from None
        if not self.wants_leaf:
            self._activations = taken.detach().clone()  # what follows may write on the output in place
            return None
        self.leaf = taken.detach().requires_grad_()
        self._activations = self.leaf.detach()
        torch.set_grad_enabled(True)  # until the surrounding no_grad() ends
        return self.view.put(self.leaf.clone(), output)

    @property
    def activations(self) -> Tensor:
        """The layer's output. Raises ValueError when the layer did not run exactly once."""
        if self.calls == 0:
            raise ValueError(f"layer {self.name!r} never ran: choose one that this model uses")
        if self.calls != 1 or self._activations is None:
            raise ValueError(
                f"layer {self.name!r} ran {self.calls} times in one forward pass, expected once: choose a layer that "
                "the model runs once per image"
            )
        return self._activations


class Weight:
    """How many numbers a graph keeps of activations, and how many the largest of them has.

    An object of its own: graphs hold the hooks that they are built with, and would hold whatever those belong to.
    """

    def __init__(self) -> None:
        self.kept = self.largest = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        base = tensor if tensor._base is None else tensor._base  # a transposed weight is a view of it
        if not base.is_leaf:  # no weight of the network
            self.kept += tensor.numel()
            self.largest = max(self.largest, tensor.numel())
        return tensor.detach()  # else the graph holds itself


class ReadoutTap:
    """The second cut: makes the input of `readout` a leaf, so that one product gives all tokens' gradients there.

    `graph` weighs what is built while it lasts.
    """

    def __init__(self, readout: nn.Module | None) -> None:
        self.readout = readout
        self.hidden: Tensor | None = None
        self.leaf: Tensor | None = None
        self.graph = Weight()

    def __enter__(self) -> ReadoutTap:
        self._stack = ExitStack()
        self._stack.enter_context(saved_tensors_hooks(self.graph, lambda tensor: tensor))
        if self.readout is not None:
            self._stack.callback(self.readout.register_forward_pre_hook(self._hook).remove)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _hook(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        hidden = args[0]
        if not torch.is_grad_enabled() or not hidden.requires_grad:
            return None
        if self.hidden is not None or hidden.ndim != 3:
            raise RuntimeError("a readout must run once, on hidden states (b, t, d): use an adapter without one")
        self.hidden = hidden
        self.leaf = hidden.detach().requires_grad_()
        return (self.leaf, *args[1:])


class AffineTap:
    """Makes one leaf of zeros, added to the output of `affine` for all `copies` of a batch.

    Its gradient is the sum over the copies, taken behind the head's first, affine module, where tensors are small;
    `pull_back` brings it to the module's input: an affine map has the same derivative at every copy.
    """

    def __init__(self, affine: nn.Module, copies: int) -> None:
        self.affine, self.copies = affine, copies
        self.leaf: Tensor | None = None

    def __enter__(self) -> AffineTap:
        self._handle = self.affine.register_forward_hook(self._hook)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _hook(self, _module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        output = output.detach()
        self.leaf = torch.zeros_like(output[: len(output) // self.copies]).requires_grad_()
        return output + self.leaf.repeat(self.copies, *[1] * (output.ndim - 1))

    def pull_back(self, gradients: Tensor, activations: Tensor) -> Tensor:
        """Gradients `(m, b, ...)` behind the affine module -> `(m, b, c, h, w)` before it."""
        leaf = activations.detach().requires_grad_()
        with torch.enable_grad():
            output = self.affine(leaf)
        (pulled,) = torch.autograd.grad(output, leaf, gradients, is_grads_batched=True)
        return pulled


def token_gradients(
    scores: Tensor, leaf: Tensor, cut: ReadoutTap, kept: Callable[[Tensor], Tensor] = lambda chunk: chunk
) -> tuple[Tensor, bool]:
    """Gradient of each score with respect to `leaf`, summed over the rows of `scores` that depend on it.

    `scores` is `(rows, a, t)`, `a` of them for each of `t` tokens; the result is `(a, t, *leaf.shape)` and whether the products
    were batched (False: looped, because some operation has no batching rule or memory was short). `kept` says what is kept of
    gradients `(m, *leaf.shape)`, one row a score, where that is less than all; the result is `(a, t, ...)` of it.
    """
    _, a, t = scores.shape
    if cut.hidden is None:
        outputs, sources = scores, torch.ones_like(scores).unbind(1)
    else:
        assert cut.leaf is not None
        outputs, ones = cut.hidden, torch.ones_like(scores)
        kinds = [ones * (torch.arange(a, device=ones.device) == i)[:, None] for i in range(a)]
        sources = tuple(torch.autograd.grad(scores, cut.leaf, kind, retain_graph=True)[0] for kind in kinds)
    room = max(1, BUDGET // max(leaf.numel(), INSIDE * cut.graph.largest * len(leaf) // len(scores)))
    results, batched, start = [], True, 0
    while start < a * t:
        stop = min(a * t, start + room) if batched else start + 1
        cotangents = outputs.new_zeros((stop - start, *outputs.shape))
        for row, column in enumerate(range(start, stop)):
            i, position = divmod(column, t)
            at = cotangents[row] if cut.hidden is not None else cotangents[row, :, i]
            at[:, position] = sources[i][:, position]
        try:
            results.append(kept(_products(outputs, leaf, cotangents, batched and len(cotangents) > 1)))
        except torch.OutOfMemoryError:
            if stop - start == 1:
                raise
            room = (stop - start) // 2
            continue
        except RuntimeError as error:
            if not batched or not any(sign in str(error) for sign in VMAP_REFUSALS):
                raise
            log.info("products are looped, not batched: %s", error)
            batched = False
            continue
        start = stop
    gradients = results[0] if len(results) == 1 else torch.cat(results)
    return gradients.view(a, t, *gradients.shape[1:]), batched


def _products(outputs: Tensor, leaf: Tensor, cotangents: Tensor, batched: bool) -> Tensor:
    """Vector-Jacobian products `(m, *leaf.shape)` for `m` cotangents; the graph stays. 0 where there is no graph."""
    if not outputs.requires_grad:
        return leaf.new_zeros((len(cotangents), *leaf.shape))
    (gradient,) = torch.autograd.grad(
        outputs,
        leaf,
        grad_outputs=cotangents if batched else cotangents[0],
        retain_graph=True,
        allow_unused=True,
        is_grads_batched=batched,
    )
    if gradient is None:
        return leaf.new_zeros((len(cotangents), *leaf.shape))
    return gradient if batched else gradient[None]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every submodule's own mode afterwards; right gradients through batch norms on the CPU."""
    with ExitStack() as stack:
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                stack.callback(part.register_forward_hook(_contiguous_gradient).remove)
        stack.enter_context(evaluation_mode(module))
        yield


@contextmanager
def evaluating_what_runs() -> Iterator[None]:
    """`evaluating` where nobody names the network: a module is in evaluation mode from its first call on, until the end."""
    training: list[nn.Module] = []
    here = threading.get_ident()  # these hooks are everybody's: other threads may be training

    def quieten(module: nn.Module, _args: Any) -> None:
        if module.training and threading.get_ident() == here:
            training.append(module)
            module.training = False

    def mend(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(module, nn.BatchNorm2d) and threading.get_ident() == here:
            _contiguous_gradient(module, args, output)

    with ExitStack() as stack:
        stack.callback(register_module_forward_pre_hook(quieten).remove)
        stack.callback(register_module_forward_hook(mend).remove)
        try:
            yield
        finally:
            for module in training:
                module.training = True


def _contiguous_gradient(_module: nn.Module, _args: Any, output: Tensor) -> None:
    """PyTorch's CPU batch norm gives a wrong input gradient for one row when the incoming gradient is not contiguous."""
    if output.requires_grad and output.device.type == "cpu":
        output.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]


@contextmanager
def forward_hooks(modules: list[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """`hook` on all of `modules`, as long as this lasts."""
    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(hook).remove)
        yield


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every submodule's own mode afterwards, whatever happened."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True
