"""Why a gradient is lost between a layer and the scores: where the user's forward leaves the graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .grad_modes import gradients_kept_on, is_own_frame, user_place
from .hooks import LayerTap
from .output_parts import tensors_in

# what takes a value out of its graph, as people write it
CUTS: dict[Any, str] = {
    Tensor.detach: ".detach()",
    Tensor.detach_: ".detach_()",
    Tensor.data.__get__: ".data",  # type: ignore[attr-defined]
    Tensor.numpy: ".numpy()",
    Tensor.__array__: "numpy",
    Tensor.item: ".item()",
    Tensor.tolist: ".tolist()",
    Tensor.argmax: ".argmax()",
    torch.argmax: "torch.argmax",
    torch.tensor: "torch.tensor",
    torch.bucketize: "torch.bucketize",
    torch.quantize_per_tensor: "torch.quantize_per_tensor",
}


class _CutRecorder(TorchFunctionMode):
    """Notes the first place where a value that depends on the layer leaves the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first: str | None = None

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        how = CUTS.get(func)
        cut = how is not None and self.first is None and any(isinstance(arg, Tensor) and arg.requires_grad for arg in args[:1])
        if cut and not is_own_frame(sys._getframe(1)):  # taps detach, too
            self.first = f"{user_place(sys._getframe())} ({how})"
        return func(*args, **(kwargs or {}))


def lost_gradient_reason(tap: LayerTap, run: Callable[[], Any]) -> str | None:
    """Why what `run()` returns has no gradient at the layer of `tap`, made with `leaf=True`; None if nothing is found.

    Runs the network once more, and again where a block of its own switches gradients off: one that has nothing to do with the
    layer (positions of a language model) is no reason. A result that does have a gradient, of zeros, has lost none.
    """
    try:
        with torch.no_grad(), tap, _CutRecorder() as cuts:
            result = run()
    except (RuntimeError, ValueError) as error:
        return str(error) if "leaves PyTorch" in str(error) else None
    if _reaches(result, tap):
        return None
    where = f"layer {tap.name!r}"
    places = tap.switched_off
    if places and _reaches_without_blocks(tap, run):
        guilty = next((place for place in places[:-1] if not _reaches_without_blocks(tap, run, but=place)), places[-1])
        return (
            f"your forward switches gradients off behind {where}, at {guilty}: nothing that is computed there has a "
            "gradient; choose a layer after that block, or take the block away"
        )
    if cuts.first is not None:
        return f"your forward cuts the gradient behind {where}, at {cuts.first}: choose a layer after that line"
    return None


def _reaches_without_blocks(tap: LayerTap, run: Callable[[], Any], but: str | None = None) -> bool:
    """Whether the result has a gradient when blocks behind the layer, except those opened at `but`, switch none off.

    True where that cannot be tried.
    """
    tap.calls = 0
    try:
        with torch.no_grad(), gradients_kept_on(but), tap:
            return _reaches(run(), tap)
    except (RuntimeError, ValueError):
        return True


def _reaches(result: Any, tap: LayerTap) -> bool:
    """Whether a graph leads from the result to the leaf of `tap`, be its gradient zero or not."""
    outputs = [tensor for _, tensor in tensors_in(result) if tensor.requires_grad]
    if tap.leaf is None or not outputs:
        return False
    seeds = [torch.ones_like(output) for output in outputs]
    return torch.autograd.grad(outputs, tap.leaf, seeds, allow_unused=True)[0] is not None
