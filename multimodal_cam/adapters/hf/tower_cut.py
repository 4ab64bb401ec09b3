"""Run a network from one of its layers on, by its own `forward`, without computing what comes before the layer.

A head seldom stands alone in transformers: what lies between the vision tower and the words (projections, prompts with places
for the image, positions, masks) is spread over several forwards. So the model's own forward runs, and the modules that would
run before the layer return zeros of the right shape, which cost nothing; the layer returns the activations.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor, nn

from ...core.forward_replacement import replaced_forward
from ...core.hooks import final_output_hook, forward_hooks, has_foreign_hooks
from .token_views import TokenView

Recording = dict[nn.Module, list[tuple[Any, int, int]]]  # of each module: outputs in order, with their numbers of rows and images


class LayerReached(Exception):  # noqa: N818 - no error
    """Stops the tower at the layer, whose `output` it carries."""

    def __init__(self, output: Any) -> None:
        self.output = output


class TowerCut:
    """A cut of `tower` at `layer`. For each `key` of inputs, `run_to_layer` records what `run_from_layer` needs."""

    def __init__(self, tower: nn.Module, layer: nn.Module) -> None:
        self.tower, self.layer = tower, layer
        self._modules_before = _modules_before(tower, layer)
        self._recordings: dict[Hashable, Recording] = {}

    def is_recorded(self, key: Hashable) -> bool:
        return key in self._recordings

    def run_to_layer(self, key: Hashable, rows: int, run: Callable[[], Any]) -> Any:
        """The layer's output when `run()` runs the tower on `rows` images; what is behind the layer does not run.

        Records the shapes of all outputs up to the layer's own. Raises ValueError where the tower does not run the layer.
        """
        before: Recording = {}

        def note(module: nn.Module, args: Any, options: dict[str, Any], output: Any) -> None:
            before.setdefault(module, []).append((_without_values(output), _count_rows(args, options, rows), rows))

        def stop(module: nn.Module, args: Any, options: dict[str, Any], output: Any) -> None:
            note(module, args, options, output)
            raise LayerReached(output)

        with forward_hooks(self._modules_before, note, with_kwargs=True), final_output_hook(self.layer, stop):
            try:
                run()
            except LayerReached as reached:
                self._recordings[key] = before
                return reached.output
        raise ValueError(f"the vision tower, {type(self.tower).__name__}, does not run the layer that is to be explained")

    @contextmanager
    def run_from_layer(self, key: Hashable, activations: Tensor, view: TokenView) -> Iterator[None]:
        """Inside, the layer returns `activations` `(rows, n, c)`, and nothing before it is computed.

        Rows are repeated where the network repeats its own (beams).
        """
        with ExitStack() as stack:
            for module, outputs in self._recordings[key].items():
                if module is not self.layer:
                    stack.enter_context(replaced_forward(module, _replaying_forward(outputs, activations)))
            outputs = self._recordings[key][self.layer]
            if has_foreign_hooks(self.layer):  # they have had their say in the activations: here they may look at a copy
                final = _injecting_forward(outputs, activations, view)
                stack.enter_context(final_output_hook(self.layer, lambda _, args, options, __: final(*args, **options)))
                activations = activations.detach().clone()
            stack.enter_context(replaced_forward(self.layer, _injecting_forward(outputs, activations, view)))
            yield


def _modules_before(tower: nn.Module, layer: nn.Module) -> list[nn.Module]:
    """The modules beside `layer` and beside those that hold it: any of them may run before it."""
    if layer is tower:
        return []
    holders = [part for part in tower.modules() if part is not layer and any(inner is layer for inner in part.modules())]
    if not holders:
        raise ValueError("the layer is not a part of the vision tower")
    lists = (nn.ModuleList, nn.ModuleDict)
    around: list[nn.Module] = []
    waiting = [child for holder in holders for child in holder.children()]
    for child in waiting:
        if child is layer or child in holders or child in around:
            continue
        if isinstance(child, lists):
            waiting.extend(child.children())
        else:
            around.append(child)
    return around


def _replaying_forward(outputs: list[tuple[Any, int, int]], like: Tensor) -> Callable[..., Any]:
    """A forward that returns the recorded outputs in order, for as many rows as it gets."""
    calls = 0

    def forward(*args: Any, **options: Any) -> Any:
        nonlocal calls
        output, recorded, images = outputs[calls % len(outputs)]
        calls += 1
        return _resized(output, _count_rows(args, options, len(like) * recorded // images), recorded, like)

    return forward


def _injecting_forward(outputs: list[tuple[Any, int, int]], activations: Tensor, view: TokenView) -> Callable[..., Any]:
    """The recorded forward with `activations` injected."""
    forward = _replaying_forward(outputs, activations)
    _, recorded, images = outputs[0]

    def inject(*args: Any, **options: Any) -> Any:
        copies = _count_rows(args, options, len(activations) * recorded // images) * images // recorded // len(activations)
        own = activations if copies <= 1 else activations.repeat_interleave(copies, dim=0)
        return view.inject(own, forward(*args, **options))

    return inject


def _count_rows(args: Any, options: dict[str, Any], otherwise: int) -> int:
    """Number of rows of the first tensor among a module's arguments, `otherwise` without one."""
    return next((len(arg) for arg in (*args, *options.values()) if isinstance(arg, Tensor) and arg.ndim), otherwise)


def _without_values(output: Any) -> Any:
    """The same structure with tensors of one stored 0."""
    return _map_tensors(output, lambda tensor: tensor.new_zeros(()).expand(tensor.shape))


def _resized(output: Any, rows: int, recorded: int, like: Tensor) -> Any:
    """The structure for another number of rows; tensors get the device and, if floating, the type of `like`."""

    def grow(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or tensor.shape[0] % recorded:
            return tensor
        zero = tensor.new_zeros((), device=like.device, dtype=like.dtype if tensor.is_floating_point() else tensor.dtype)
        return zero.expand(tensor.shape[0] // recorded * rows, *tensor.shape[1:])

    return _map_tensors(output, grow)


def _map_tensors(output: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(output, Tensor):
        return function(output)
    if isinstance(output, (tuple, list)):
        return type(output)([_map_tensors(part, function) for part in output])
    if is_dataclass(output) and not isinstance(output, type):
        values = {f.name: _map_tensors(getattr(output, f.name), function) for f in fields(output)}
        return replace(output, **values)
    return output
