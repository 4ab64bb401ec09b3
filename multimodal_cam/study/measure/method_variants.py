"""Variants of methods, by name: `grad_cam:layer=encoder.tail.0`, `grad_cam:pool=max:relu=no`, `evidence:n_steps=4`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...methods import METHODS, MethodSpec, find_method

OPTIONS = (
    "layer=NAME, n_steps=N (evidence, smooth_grad, smooth_grad_cam_pp, pixel_integrated_gradients), pool=max or pool=abs "
    "(grad_cam), relu=no"
)


def max_pooled(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM with the maximum of each channel's gradient as its weight instead of the mean: an ablation of eq. 1 (Selvaraju
    et al., IJCV 2020, appendix)."""
    return torch.einsum("mc,mchw->mhw", gradients.amax(dim=(2, 3)), activations)


def absolute(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM with the mean magnitude of each channel's gradient as its weight: an ablation of eq. 1."""
    return torch.einsum("mc,mchw->mhw", gradients.abs().mean(dim=(2, 3)), activations)


POOLING = {"max": max_pooled, "abs": absolute}


@dataclass(frozen=True)
class MethodVariant:
    """A method with another layer, number of steps of `evidence`, pooling of gradients, or without ReLU."""

    method: str
    layer: str | None = None
    n_steps: int | None = None
    pool: str | None = None
    relu: bool = True

    @property
    def spec(self) -> MethodSpec:
        """Entry of the method for the engine."""
        return METHODS[self.method] if self.pool is None else find_method(POOLING[self.pool])

    def finish(self, map: Tensor) -> Tensor:
        """The map that metrics get. They cut negative relevance off; without ReLU the map's minimum is moved to 0 instead."""
        return map if self.relu else map - map.amin()


def parse_method(spec: str) -> MethodVariant:
    """Parse `method` or `method:option=value:...`. Raises ValueError that lists the choices."""
    method, *options = spec.split(":")
    if method not in METHODS:
        raise ValueError(f"unknown methods {method}; choose from {', '.join(METHODS)}")
    given = dict(option.partition("=")[::2] for option in options)
    layer, n_steps, pool, relu = (given.pop(name, None) for name in ("layer", "n_steps", "pool", "relu"))
    wrong = (
        bool(given)
        or (n_steps is not None and (not METHODS[method].takes_steps or not n_steps.isdigit() or int(n_steps) < 1))
        or (pool is not None and (method != "grad_cam" or pool not in POOLING))
        or relu not in (None, "no")
        or (layer is not None and (not layer or method == "attention" or not METHODS[method].uses_layer))
    )
    if wrong:
        raise ValueError(f"methods: cannot read {spec!r}; a method may be followed by {OPTIONS}, each after a colon")
    return MethodVariant(method, layer, None if n_steps is None else int(n_steps), pool, relu is None)
