"""A function that scores inputs, as a function of the one picture among them: maps of its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..methods.pixels import noisy_copies
from ..methods.spec import MethodSpec
from .gradients import ProductLog
from .layout_measurement import pictures_in
from .output_parts import Path, part_at, with_part
from .pixel_gradients import PixelScores
from .score_rows import ScoreRows
from .scored_layer import run_with

NOT_FINITE = "fn: the gradient of the scores is not finite: check the weights and the inputs"
INDEPENDENT = (
    "fn: the scores do not depend on the pixels in a way that can be differentiated: return what is computed from them, before "
    "argmax, detach, item or numpy"
)


@dataclass
class ScoredPixels:
    """`fn` of `inputs`, whose picture `pixels` `(b, ...)` stands at `path`; `shape` is that of the scores, once known."""

    fn: Callable[..., Any]
    inputs: Any
    path: Path
    pixels: Tensor
    shape: tuple[int, ...] = ()
    log: ProductLog = field(default_factory=lambda: ProductLog(NOT_FINITE, INDEPENDENT))

    @classmethod
    def of(cls, fn: Callable[..., Any], inputs: Any, method: str) -> ScoredPixels:
        """Raises ValueError unless `inputs` hold one picture, of floating-point numbers."""
        pictures = pictures_in(inputs)
        if len(pictures) != 1:
            raise ValueError(
                f"{method}: expected inputs with one picture (b, c, H, W), got {len(pictures)}: close over "
                "those that are not explained"
            )
        path, pixels = pictures[0]
        if not pixels.is_floating_point():
            raise ValueError(f"{method}: expected pixels of floating-point numbers, got {pixels.dtype}: inputs.float()")
        return cls(fn, inputs, path, pixels.detach())

    def maps(self, spec: MethodSpec, baseline: Any, n_steps: int) -> Tensor:
        """Maps of the scores' shape and the shape of a picture behind it, `(b, ..., c, H, W)`."""
        assert spec.pixels is not None
        scores = PixelScores(self._run, self._scores_of, spec.name, spec.pixels, self.log, lambda: 1)
        gradients = scores.mean_gradients(self.pixels, self._baseline(baseline), n_steps)
        if spec.pixels.relu is None and (self.log.depends is None or not self.log.depends.any()):
            raise ValueError(INDEPENDENT)
        return gradients.transpose(0, 1).reshape(*self.shape, *self.pixels.shape[1:])

    def noisy_inputs(self, number: int) -> Any:
        """The inputs with copy `number` of noisy ones in the place of the picture."""
        return with_part(self.inputs, self.path, noisy_copies(self.pixels, number, number + 1)[0])

    def _run(self, points: Tensor) -> tuple[Any, Tensor]:
        return run_with(self.fn, with_part(self.inputs, self.path, points)), points

    def _scores_of(self, outputs: tuple[Any, Tensor]) -> Tensor:
        scores, points = outputs
        if not isinstance(scores, Tensor):
            raise ValueError(f"fn: expected a tensor of scores, got {type(scores).__name__}")
        if not scores.requires_grad:
            raise ValueError(INDEPENDENT)
        ScoreRows.of(scores, points, images=len(points), frames=False)
        self.shape = tuple(scores.shape)
        return scores.reshape(len(points), -1)

    def _baseline(self, given: Any) -> Tensor:
        """Pixels that stand for nothing, of the picture's shape; zeros where a method needs none."""
        if given is None:
            return torch.zeros_like(self.pixels)
        found = given if isinstance(given, Tensor) else part_at(given, self.path)
        if not isinstance(found, Tensor):
            raise ValueError("baseline: expected pixels, or inputs with the picture in the same place")
        return found.to(self.pixels).expand_as(self.pixels)
