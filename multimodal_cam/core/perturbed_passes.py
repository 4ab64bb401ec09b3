"""Canvases of a model that is cut at a layer: its pixels, or the layer's activations; one pass scores all words of all rows."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..methods.canvas import Canvas
from ..metrics.faithfulness import blurred, mean_colour
from .forward_pass import CutModel, ForwardPass
from .gradients import wide
from .layer_view import LayerView

MAX_ROWS = 64  # perturbed rows in one pass
MAX_NUMEL = 2**26  # numbers that a pass's canvases, and its logits at every cell and token, may take: 256 MB in float32


def perturb(model: CutModel, forward: ForwardPass, baseline: Tensor) -> Tensor:
    """What the request's method finds, of `a` columns and `t` tokens: maps `(a, t, b, h, w)` of a linear method, else numbers of
    the layer's channels, `(a, t, b, c, 1, 1)`."""
    with torch.no_grad():
        found = model.request.method.perturb(model_canvas(model, forward, baseline), model.request.options)
    if not found.isfinite().all():
        raise ValueError("the scores of perturbed photos are not finite: check the model's weights and the photo's pixels")
    return found.view(len(forward.columns), -1, *found.shape[1:])


def model_canvas(model: CutModel, forward: ForwardPass, baseline: Tensor) -> Canvas:
    """The canvas that the options `where` and `fill` say."""
    if model.request.options.get("where", "layer") == "layer":
        return _layer_canvas(model, forward, baseline)
    return _pixel_canvas(model, forward)


def _pixel_canvas(model: CutModel, forward: ForwardPass) -> Canvas:
    inputs = model.inputs.expand_images()
    if inputs.pixels.ndim != 4 or inputs.placements[0].boxes:
        what = "regions" if inputs.placements[0].boxes else f"pixels {tuple(inputs.pixels.shape)}"
        name = model.adapter.name
        raise ValueError(f"where='pixels': expected a model that reads (b, c, H, W), {name} reads {what}: take where='layer'")
    empty = replace(inputs, pixels=inputs.pixels[..., :0])  # repeating costs nothing; the perturbed pixels follow

    def score(perturbed: Tensor) -> Tensor:
        n = len(perturbed)
        many = replace(empty.repeat(n), pixels=perturbed.flatten(0, 1))
        return _scores(forward, model.adapter.logits(many, model.ids.repeat(n, 1)), n)

    no_photo = model.adapter.baseline_inputs(inputs).pixels
    height, width = inputs.pixels.shape[-2:]
    return Canvas(
        (height, width),
        "pixels of the network's input",
        inputs.pixels,
        _pixel_fill(model.request.options["fill"], inputs.pixels, no_photo),
        lambda masks: masks,
        score,
        _scores(forward, forward.logits, 1)[0],
        _on_image(model.view, forward),
        _at_once(forward, model.view, inputs.pixels),
        model.request.report,
    )


def _layer_canvas(model: CutModel, forward: ForwardPass, baseline: Tensor) -> Canvas:
    activations, view = forward.activations, model.view
    height, width = view.to_image(view.cells(activations)[:1, 0]).shape[-2:]

    def score(perturbed: Tensor) -> Tensor:
        n = len(perturbed)
        return _scores(forward, model.logits_from(perturbed.flatten(0, 1), n), n)

    return Canvas(
        (height, width),
        f"cells of layer {model.request.layer_name!r}",
        activations,
        layer_fill(model.request.options["fill"], view, activations, baseline),
        lambda masks: spread_over(view, activations, masks),
        score,
        _scores(forward, forward.logits, 1)[0],
        _on_image(view, forward),
        _at_once(forward, view, activations),
        model.request.report,
    )


def spread_over(view: LayerView, activations: Tensor, masks: Tensor) -> Tensor:
    """Masks of the layer's grid on the image `(n, b or 1, c or 1, h, w)` as weights of its activations, `(n, b, ...)`.

    The adjoint of the view: an activation gets the share of its cell that the mask covers, 0 if it has no place on the image. A
    cell of a thumbnail lies on many cells of the grid, and is removed as far as they are.
    """
    with torch.enable_grad():
        leaf = torch.zeros_like(activations).requires_grad_()
        placed = view.to_image(view.cells(leaf))
    masks = masks.to(placed).expand(len(masks), *placed.shape)
    weights = [torch.autograd.grad(placed, leaf, mask, retain_graph=True)[0] for mask in masks]
    return torch.stack(weights)


def _on_image(view: LayerView, forward: ForwardPass) -> Tensor:
    """The layer's activations on the image, `(b, c, h, w)`."""
    return view.to_image(wide(view.cells(forward.activations)))


def _scores(forward: ForwardPass, logits: Tensor, n: int) -> Tensor:
    """Scores `(n, a t, b)` of logits `(n b, t, v)`."""
    each = torch.stack([column.scores(logits) for column in forward.columns])  # (a, n b, t)
    return each.view(len(each), n, -1, each.shape[-1]).permute(1, 0, 3, 2).flatten(1, 2)


def _pixel_fill(fill: str | float, pixels: Tensor, no_photo: Tensor) -> Tensor:
    if fill == "baseline":
        return no_photo.to(pixels)
    if isinstance(fill, str):
        return torch.stack([{"mean": mean_colour, "blur": blurred}[fill](image) for image in pixels])
    return torch.full_like(pixels, fill)


def layer_fill(fill: str | float, view: LayerView, activations: Tensor, baseline: Tensor) -> Tensor:
    if fill == "baseline":
        return baseline.to(activations)
    if fill == "mean":
        means = view.cells(activations).mean(dim=(-2, -1), keepdim=True)
        return spread_over(view, activations, means[None])[0]
    if fill == "blur":
        raise ValueError("fill='blur' blurs pixels: take baseline, mean or a number with where='layer'")
    return torch.full_like(activations, float(fill))


def _at_once(forward: ForwardPass, view: LayerView, values: Tensor) -> int:
    """Masks in a pass: its rows, its canvases, and its logits, for which each cell may be a token beside the text's."""
    b, t, v = forward.logits.shape
    cells = view.cells(forward.activations)[0, 0].numel()
    return max(1, min(MAX_ROWS // b, MAX_NUMEL // values.numel(), MAX_NUMEL // (b * (t + cells) * v)))
