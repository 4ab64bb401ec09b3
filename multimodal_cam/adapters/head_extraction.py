"""Any network cut at one of its layers: the head behind it on its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core.call_scope import evaluation_mode
from ..core.grad_modes import GradModeWatch
from ..core.hooks import has_foreign_hooks, overridden_output
from ..core.layer_layout import AxesView
from ..core.layer_view import LayerView
from ..core.output_parts import tensors_in
from ..core.ownership import Owner
from .network_state import network_structure
from .state_cache import StateCache

_Trace = tuple[fx.Graph | None, frozenset[nn.Module]]


class Head:
    """What follows `layer` in `network`: `head(activations (n b, ...), pixels (b, 3, H, W), view)` -> the network's output.

    The backbone does not run where the network's own `forward` can be traced (torch.fx) and reads nothing from before the layer
    behind it; `alone` says whether. Otherwise the whole network runs, overridden at the layer; so it does while somebody's hooks
    are on a module that contains the layer. Nothing is copied: weights and modules are at every call the network's own of that
    time.
    """

    def __init__(self, network: nn.Module, layer: nn.Module) -> None:
        self.network = network
        self.layer_name = {module: name for name, module in network.named_modules()}[layer]
        self._traces = StateCache[_Trace](size=1)
        self._trace()

    @property
    def layer(self) -> nn.Module:
        """The layer as it is now: who replaces it replaces it by name. Raises ValueError if the network has none of that name."""
        try:
            return self.network.get_submodule(self.layer_name)
        except AttributeError:
            raise ValueError(
                f"this {type(self.network).__name__} no longer has the layer {self.layer_name!r}: make the model anew from it"
            ) from None

    @property
    def alone(self) -> bool:
        return self._trace()[0] is not None

    @property
    def parts_behind(self) -> frozenset[nn.Module]:
        """Parts of the network on which the layer's output does not depend; none where that cannot be said."""
        return self._trace()[1]

    def __call__(self, activations: Tensor, pixels: Tensor, view: LayerView) -> Any:
        """The network's output from `activations`, as `view` extracts them from the layer's output."""
        graph, _ = self._trace()
        is_output = not isinstance(view, AxesView) or view.is_output
        if graph is not None and is_output and not self._is_hooked_around():
            return fx.Interpreter(self.network, graph=graph).run(activations)
        with overridden_output(self.layer, lambda output: view.inject(activations, output)):
            return self.network(pixels.repeat(len(activations) // len(pixels), 1, 1, 1))

    def _is_hooked_around(self) -> bool:
        path = self.layer_name.split(".")
        return any(has_foreign_hooks(self.network.get_submodule(".".join(path[:i]))) for i in range(len(path)))

    def _trace(self) -> _Trace:
        """The graph behind the layer and the parts that run only there, of the network as it is now."""
        return self._traces.value(network_structure(self.network), self._trace_anew)

    def _trace_anew(self) -> _Trace:
        with evaluation_mode(self.network):
            return _graph_behind(self.network, self.layer_name)


def is_followed_by_relu(head: Head, activations: Tensor, pixels: Tensor, view: LayerView) -> bool:
    """Whether the head drops negative activations before it does anything else: a ReLU, as a function, follows the layer."""
    outputs = [head(values, pixels, view) for values in (activations, activations.relu())]
    tensors = [[tensor for _, tensor in tensors_in(output)] for output in outputs]
    return bool((activations < 0).any()) and all(torch.equal(one, other) for one, other in zip(*tensors, strict=True))


_tracing = threading.Lock()  # torch.fx swaps nn.Module's methods meanwhile, for the whole process


class _Tracer(fx.Tracer):
    """Looks into the modules that contain `layer`, and into no others: these stay what they are, hooks and modes included.

    Other threads, whose calls torch.fx sends here too while it traces, get what they would have had.
    """

    def __init__(self, layer: nn.Module, watch: GradModeWatch) -> None:
        super().__init__()
        self.layer, self.watch, self.owner = layer, watch, Owner()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.owner.is_calling:
            return forward(*args, **kwargs)
        inside = not self.is_leaf_module(m, "")
        result = super().call_module(m, m.forward if inside else forward, args, kwargs)  # without hooks, which may go again
        if m is self.layer:
            self.watch.reach_layer(wanted=True)
        return result

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return super().getattr(attr, attr_val, parameter_proxy_cache) if self.owner.is_calling else attr_val

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m is self.layer or self.layer not in m.modules()


def _graph_behind(network: nn.Module, name: str) -> _Trace:
    """`activations` -> the network's output, as a graph of calls, or None; and the modules that run behind the layer only."""
    nothing: _Trace = None, frozenset()
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        return nothing  # offloaded: accelerate's hooks bring the weights, and a graph has none
    if "forward" in vars(network):
        return nothing  # somebody put another forward on the object (autocast around it): torch.fx reads that of the class
    try:
        with torch.enable_grad(), GradModeWatch() as watch:
            tracer = _Tracer(network.get_submodule(name), watch)
            with _tracing, tracer.owner:
                whole = tracer.trace(network)
    except Exception:  # somebody's forward may do anything with its input, and fail in any way when that is a symbol
        return nothing
    if watch.switched_off:  # a graph does not hold the modes in which it was traced
        return nothing
    calls = [node for node in whole.nodes if node.op == "call_module" and node.target == name]
    if len(calls) != 1:
        return nothing
    behind = set(calls)  # not only what the output needs: what is written in place counts, too
    for node in whole.nodes:
        if behind.intersection(node.all_input_nodes):
            behind.add(node)
    parts = _parts_of(network, behind - set(calls)) - _parts_of(network, set(whole.nodes) - behind | set(calls))
    needed = _with_ancestors(behind - set(calls), calls[0])
    if any(node.op == "placeholder" for node in needed) or next(iter(reversed(whole.nodes))) not in needed:
        return None, parts
    graph, copies = fx.Graph(), {}
    copies[calls[0]] = graph.placeholder("activations")
    for node in whole.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    return graph, parts


def _parts_of(network: nn.Module, nodes: set[fx.Node]) -> frozenset[nn.Module]:
    """The modules that are called at these nodes."""
    return frozenset(network.get_submodule(str(node.target)) for node in nodes if node.op == "call_module")


def _with_ancestors(nodes: set[fx.Node], cut: fx.Node) -> set[fx.Node]:
    """The nodes and all that they are computed from, up to `cut`."""
    found, waiting = set(nodes), list(nodes)
    while waiting:
        for node in waiting.pop().all_input_nodes:
            if node is not cut and node not in found:
                found.add(node)
                waiting.append(node)
    return found
