"""Canvases of a function that scores inputs: its photo, or the layer's activations; `fn` runs once for each mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..methods.canvas import Canvas
from ..metrics.faithfulness import blurred
from .gradients import wide
from .layout_measurement import photo_axes, pictures_in
from .output_parts import part_at, with_part
from .perturbed_passes import layer_fill, spread_over
from .scored_layer import ScoredLayer, run_with

NOTHING = "fill='baseline': pass baseline=, the inputs that stand for nothing, or fill='mean' or a number"
ROUNDING = 1e-3  # of its largest score, by which other rows of a batch may move


@dataclass(frozen=True)
class ScorePass:
    """`fn` on `inputs`, and the layer's activations `(b, ...)` then."""

    scored: ScoredLayer
    inputs: Any
    baseline: Any
    activations: Tensor
    scores: Tensor  # (), (b,) or (b, m)

    @classmethod
    def of(cls, scored: ScoredLayer, inputs: Any, baseline: Any) -> ScorePass:
        """Raises ValueError unless each image has one row of the layer and scores of its own."""
        with torch.no_grad(), scored.tap() as tap:
            scores = run_with(scored.fn, inputs)
        if not isinstance(scores, Tensor) or scores.ndim > 2:
            found = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(f"fn: expected a tensor of scores, (b,) or (b, m), got {found}")
        images = len(scores) if scores.ndim else 1
        if len(tap.activations) != images or scored.frames:
            raise ValueError(
                f"fn: expected one row of the layer for each of {images} scored images, got {len(tap.activations)}: methods "
                "without gradients take no frames of clips; choose a method of gradients"
            )
        return cls(scored, inputs, baseline, tap.activations, scores)

    def table(self, scores: Tensor) -> Tensor:
        """Scores as `(m, b)`."""
        return wide(scores.reshape(len(self.activations), -1)).T

    def on_image(self) -> Tensor:
        """The layer's activations on the image, `(b, c, h, w)`."""
        return self.scored.view.to_image(wide(self.scored.view.cells(self.activations)))

    def with_layer(self, activations: Tensor) -> Tensor:
        """Scores `(m, b)` of other activations of the layer."""
        with torch.no_grad(), self.scored.tap(replace=activations.clone()):  # a clone: what follows may write on it
            return self.table(run_with(self.scored.fn, self.inputs))


def score_canvas(run: ScorePass, options: Mapping[str, Any]) -> Canvas:
    """The canvas that the options `where` and `fill` say. Raises ValueError where rows hang together."""
    if options["fill"] == "baseline" and run.baseline is None:
        raise ValueError(NOTHING)
    canvas = (
        _layer_canvas(run, options["fill"]) if options.get("where", "layer") == "layer" else _photo_canvas(run, options["fill"])
    )
    _require_rows(canvas)
    return canvas


def _layer_canvas(run: ScorePass, fill: str | float) -> Canvas:
    view, activations = run.scored.view, run.activations
    no_photo = activations
    if fill == "baseline":
        with torch.no_grad(), run.scored.tap() as tap:
            run_with(run.scored.fn, run.baseline)
        no_photo = tap.activations
    height, width = view.to_image(view.cells(activations)[:1, 0]).shape[-2:]
    return Canvas(
        (height, width),
        f"cells of layer {run.scored.name!r}",
        activations,
        layer_fill(fill, view, activations, no_photo),
        lambda masks: spread_over(view, activations, masks),
        lambda perturbed: torch.stack([run.with_layer(one) for one in perturbed]),
        run.table(run.scores),
        run.on_image(),
    )


def _photo_canvas(run: ScorePass, fill: str | float) -> Canvas:
    found = pictures_in(run.inputs)
    if len(found) != 1 or found[0][1].ndim != 4:
        shapes = ", ".join(str(tuple(tensor.shape)) for _, tensor in found) or "none"
        raise ValueError(f"where='pixels': expected inputs with one picture (b, c, H, W), got {shapes}: take where='layer'")
    path, photo = found[0]
    axes = photo_axes(photo)
    (colours,) = {1, 2, 3} - {*axes}
    if len(photo) != len(run.activations):
        raise ValueError(f"where='pixels': expected a photo for each of {len(run.activations)} scores, got {len(photo)}")

    def score(perturbed: Tensor) -> Tensor:
        with torch.no_grad():
            found = [run_with(run.scored.fn, with_part(run.inputs, path, one.to(photo.dtype))) for one in perturbed]
        return torch.stack([run.table(scores) for scores in found])

    values = photo if photo.is_floating_point() else photo.float()
    return Canvas(
        (photo.shape[axes[0]], photo.shape[axes[1]]),
        "pixels of the photo",
        values,
        _photo_fill(fill, values, part_at(run.baseline, path) if fill == "baseline" else values, axes),
        lambda masks: masks.movedim(2, colours + 1),
        score,
        run.table(run.scores),
        run.on_image(),
    )


def _photo_fill(fill: str | float, photo: Tensor, no_photo: Tensor, axes: tuple[int, int]) -> Tensor:
    if fill == "baseline":
        return no_photo.to(photo)
    if fill == "mean":
        return photo.mean(dim=axes, keepdim=True)
    if fill == "blur":
        first = photo.movedim(axes, (-2, -1))
        return torch.stack([blurred(one) for one in first]).movedim((-2, -1), axes)
    return torch.full_like(photo, float(fill))


def _require_rows(canvas: Canvas) -> None:
    """Raises ValueError if removing an image changes the scores of another one."""
    if len(canvas.values) == 1:
        return
    masks = torch.zeros(1, len(canvas.values), 1, *canvas.size).to(canvas.values)
    masks[:, 0] = 1
    changed = canvas.score(canvas.perturbed(masks))[0, :, 1:] - canvas.scores[:, 1:]
    if bool((changed.abs() > ROUNDING * canvas.scores.abs().amax()).any()):
        raise ValueError(
            "fn: the scores of the rows hang together: an image's score depends on other images, so that a map would show their "
            "perturbations, too: pass one image at a time"
        )
