"""Networks that have forgotten: weights drawn anew, from the head down, and given back afterwards.

For the model parameter randomisation test of Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018, section 3.1,
cascading randomisation).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .random_state import drawing


@contextmanager
def cascade(module: nn.Module, names: Sequence[str], seed: int = 0) -> Iterator[Iterator[str]]:
    """The names of submodules, one by one, while `module` forgets them: those yielded so far have random weights.

        with cascade(model.module, ["readout", "hidden_gates", "project", "encoder"]) as stages:
            for name in stages:
                maps = explain(model, photo, text=caption).maps

    `names` go from the head to the encoder, "" is the whole network. A layer draws its weights as PyTorch initialises its
    kind (`reset_parameters`, statistics of a batch norm included); parameters of a module without one are permuted. Weights
    that are shared with another layer are random there, too. Afterwards, whatever happened inside, all weights and statistics
    are those of before, bit for bit; modes, flags and the random state are not touched.

    Raises ValueError, before anything is changed, for a name that the network does not have.
    """
    modules = _find(module, names)
    saved = [(tensor, tensor.detach().clone()) for tensor in _tensors(modules)]
    try:
        yield _forget(modules, names, seed)
    finally:
        with torch.no_grad():
            for tensor, before in saved:
                tensor.copy_(before)


def _find(module: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    found = dict(module.named_modules())
    for name in names:
        if name not in found:
            near = ", ".join(difflib.get_close_matches(name, found, n=5, cutoff=0.3))
            raise ValueError(f"{type(module).__name__} has no submodule {name!r}; near: {near or ', '.join(list(found)[1:6])}")
    return [found[name] for name in names]


def _tensors(modules: Sequence[nn.Module]) -> list[Tensor]:
    """All parameters and buffers, each once."""
    return list({id(tensor): tensor for own in modules for tensor in [*own.parameters(), *own.buffers()]}.values())


def _forget(modules: Sequence[nn.Module], names: Sequence[str], seed: int) -> Iterator[str]:
    for step, (name, own) in enumerate(zip(names, modules, strict=True)):
        with drawing(own), torch.no_grad():
            torch.manual_seed(seed + step)  # a stage's weights do not depend on what was drawn in between
            for part in own.modules():
                _redraw(part)
        yield name


def _redraw(module: nn.Module) -> None:
    """New weights for the parameters that the module holds itself."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in module.parameters(recurse=False):
        shuffled = torch.randperm(parameter.numel(), device=parameter.device)
        parameter.copy_(parameter.flatten()[shuffled].view_as(parameter))
