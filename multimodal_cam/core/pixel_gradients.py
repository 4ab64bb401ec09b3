"""Gradients of scores with respect to pixels, through the whole network: at the photo, at noisy copies of it, or along a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..methods.path import mean_over_points
from ..methods.pixels import gradient_points
from ..methods.spec import PixelRule
from .grad_modes import gradients_from_inputs
from .gradients import ProductLog, score_gradients
from .hooks import ReadoutTap
from .relu_rules import apply_relu_rule

PIXELS_NOT_FINITE = "the gradient at the pixels is not finite: check the model's weights and the photo's pixels"


@dataclass(frozen=True)
class PixelScores:
    """A network as a function of its pixels.

    Attributes:
        run: Runs the network on pixels `(n b, c, H, W)`, the whole batch `n` times.
        scores_of: Takes what `run` gave -> scores `(n b, k)`; those of a row depend on its pixels only.
        method: Name of the method, for its errors.
        rule: Its rule.
        log: What the products have shown.
        points_at_once: Number of points that may run together.
    """

    run: Callable[[Tensor], Any]
    scores_of: Callable[[Any], Tensor]
    method: str
    rule: PixelRule
    log: ProductLog
    points_at_once: Callable[[], int]

    def mean_gradients(self, pixels: Tensor, baseline: Tensor, n_steps: int) -> Tensor:
        """Gradients `(k, b, c, H, W)` of all scores, the mean over the rule's points, times what the rule says but Grad-CAM."""
        points, count = gradient_points(self.rule, pixels, baseline, n_steps)
        (gradients,) = mean_over_points(self._summed, points, count, self.points_at_once)
        if self.rule.times != "pixels":
            return gradients
        return (pixels - baseline if self.rule.at == "path" else pixels) * gradients

    def _summed(self, points: Tensor) -> tuple[Tensor]:
        """Gradients `(k, b, c, H, W)` summed over points `(n, b, c, H, W)`: one leaf of zeros is added to all of them."""
        leaf = torch.zeros_like(points[0]).requires_grad_()
        with ReadoutTap(None) as cut:
            with gradients_from_inputs():
                outputs = self.run((points + leaf).flatten(0, 1))
            with torch.enable_grad():
                scores = self.scores_of(outputs)
        if self.rule.relu is not None:
            apply_relu_rule(scores, leaf, self.rule.relu, self.method)
        (gradients,) = score_gradients(scores[:, None], leaf, cut, self.log.checked, self.log)
        return (gradients[0],)
