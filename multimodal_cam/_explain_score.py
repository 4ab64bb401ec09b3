"""Grad-CAM of whatever is differentiable: a policy's action, a similarity, a regression, a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from ._layer_request import listed_layers
from .adapters.unwrapping import refuse_torchscript
from .core.call_scope import eval_mode_of_called_modules, unchanged_state
from .core.gradients import ProductLog, score_gradients, wide
from .core.hooks import ReadoutTap
from .core.layer_fusion import Fusion, fuse_maps
from .core.layout_measurement import has_pictures, rows_and_size
from .core.module_claims import exclusive
from .core.score_canvas import ScorePass, score_canvas
from .core.score_rows import ScoreRows
from .core.scored_layer import ScoredLayer, find_module, run_with
from .core.scored_pixels import ScoredPixels
from .methods.method_options import MethodOptions
from .methods.path import integrated_gradients, mean_gradients
from .methods.pixels import times_grad_cam
from .methods.spec import METHODS, CamMethod, MethodSpec, find_method

INDEPENDENT = "fn: the scores do not depend on the layer, {}: choose one that they come from"


def explain_score(
    fn: Callable[..., Tensor],
    layer: nn.Module | str | Sequence[nn.Module | str] | None,
    inputs: Tensor | Sequence[Any] | Mapping[str, Any],
    *,
    method: str | CamMethod = "grad_cam",
    baseline: Tensor | Sequence[Any] | Mapping[str, Any] | None = None,
    n_steps: int = 16,
    fuse: Fusion | None = None,
    layout: str | None = None,
    call: int | Literal["all"] | None = None,
    **options: Unpack[MethodOptions],
) -> Tensor:
    """One map for each score: where in `layer`'s grid the numbers come from that `fn(*inputs)` returns.

    All gradients come from one forward pass, in one batched product. Modules are in evaluation mode while they run; nothing else
    of the network is touched, no `.grad` either. The layer's axes are measured the first time: nine passes up to the layer.

    Args:
        fn: Runs the network once and returns a score for each of `b` images, `(b,)`, or several, `(b, m)`; a plain number is one
            image's. The scores of a row may depend on that image, or clip of frames, only.
        layer: A module that outputs a grid or tokens, or its dotted name in the network that `fn` runs. None for methods of
            pixels, except `guided_grad_cam` and `deconvolution_grad_cam`. The maps of a list of layers become one on the finest
            grid, where each keeps its sum.
        inputs: The arguments of `fn`: a tensor is its only one, a dict holds them by name.
        method: A name of `METHODS`, or a function `(activations (m, c, h, w), gradients (m, c, h, w)) -> (m, h, w)`.
        baseline: For `evidence` and `pixel_integrated_gradients`: the inputs that stand for nothing (a black screen, a mean
            image). The maps add up to `fn(*inputs) - fn(*baseline)`, but for what tokens without a place (CLS) add.
        n_steps: Steps of the path of `evidence` and `pixel_integrated_gradients`, noisy copies of `smooth_grad` and
            `smooth_grad_cam_pp`; one forward pass each.
        fuse: How: `"mean"` (for None), or `"product"`, the geometric mean of their positive parts.
        layout: What the layer's axes are (`channels_last`, `tokens`, `regions`, or letters such as `bhwc`, `b1+nc`, `bcthw`);
            `tchw` for rows that are the frames of one clip. None: they are measured, by changing parts of the pixels.
        call: Which run is explained of a layer that runs several times, from 0 (siamese networks: the first or second image);
            `"all"` for the maps of each, stacked.
        options: Options of the method: `window=`, `stride=`, `fill=`, `where=` of `occlusion`, whose `fill="baseline"` is that of
            `baseline=`. Perturbation methods run `fn` once a mask and need no gradient.

    Returns:
        Maps of the scores' shape and the grid behind it, `(b, h, w)` or `(b, m, h, w)`: signed, raw, float32, on the CPU.
        Methods of pixels give maps of the picture among the inputs, by channel: `(b, c, H, W)` or `(b, m, c, H, W)`.
        With `where="pixels"` of perturbation methods the grid is the photo's pixels.
        Frames and 3-D layers give `(..., t, h, w)`, regions `(..., r)`, `call="all"` `(calls, ...)`.
        `geometry.place` draws a map on an image; `adapters.transform_placement.TransformPlacement(transform)(width, height)` says
        where the pixels of your transform lie on it.

    Raises:
        ValueError: The scores have another shape, do not depend on `layer` or hang together over rows; or `layer` outputs no
            grid, does not run, or runs more than once.
    """
    spec = _method(method, baseline)
    layers = listed_layers(layer, fuse, spec)
    if len(layers) > 1:
        to_fuse = [
            explain_score(fn, one, inputs, method=method, baseline=baseline, n_steps=n_steps, layout=layout, call=call, **options)
            for one in layers
        ]
        return _fused(fn, inputs, to_fuse, fuse or "mean")
    one_layer: nn.Module | str | None = layers[0]
    asked = _Asked(spec, baseline, n_steps, spec.read_options(options))
    if not (call is None or call == "all" or isinstance(call, int)):
        raise TypeError(f'call: expected the number of a run, from 0, or "all", got {call!r}')
    if n_steps < 1:
        raise ValueError(f"n_steps: expected 1 or more, got {n_steps}")
    if spec.pixels is not None:
        _check_pixel_options(spec, one_layer, layout, call)
    elif one_layer is None:
        raise ValueError(f"layer: {spec.name} explains one of a network's: pass the module or its name")
    with unchanged_state(), eval_mode_of_called_modules():
        if one_layer is None:
            return _result(ScoredPixels.of(fn, inputs, spec.name).maps(spec, baseline, n_steps))
        module = find_module(fn, one_layer, inputs) if isinstance(one_layer, str) else one_layer
        refuse_torchscript(module, "layer")
        with exclusive(module):
            if spec.pixels is not None and call != "all":
                return _masked_pixels(ScoredLayer.of(fn, module, inputs, layout, call), inputs, spec)
            if call != "all":
                return _maps(ScoredLayer.of(fn, module, inputs, layout, call), inputs, asked)
            first = ScoredLayer.of(fn, module, inputs, layout, 0)
            each = [replace(first, call=i) for i in range(_runs(first, inputs))]
            maps = [_maps(one, inputs, asked) for one in each]
    if len({one.shape for one in maps}) > 1:
        shapes = ", ".join(str(tuple(one.shape)) for one in maps)
        raise ValueError(f'call="all": the maps of the runs differ in size, {shapes}: explain them one by one, call=0 and so on')
    return torch.stack(maps)


def _fused(fn: Callable[..., Tensor], inputs: Any, maps: Sequence[Tensor], fuse: Fusion) -> Tensor:
    """Maps of several layers in one. Raises ValueError unless all are grids `(h, w)` behind the scores."""
    with unchanged_state(), eval_mode_of_called_modules(), torch.no_grad():
        scores = run_with(fn, inputs).shape
    if any(one.shape[:-2] != scores for one in maps):
        shapes = " and ".join(str(tuple(one.shape)) for one in maps)
        raise ValueError(f"layer: expected layers with one grid (h, w) for each of the scores {tuple(scores)}, got maps {shapes}")
    return fuse_maps(maps, fuse)


def _runs(scored: ScoredLayer, inputs: Any) -> int:
    """How often the layer runs."""
    with torch.no_grad(), scored.tap() as tap:
        run_with(scored.fn, inputs)
    return tap.calls


@dataclass(frozen=True)
class _Asked:
    """The method and what it is given."""

    spec: MethodSpec
    baseline: Any
    n_steps: int
    options: Mapping[str, Any]


def _maps(scored: ScoredLayer, inputs: Any, asked: _Asked) -> Tensor:
    """Maps of the scores' shape and the grid behind it."""
    kind = asked.spec.kind
    if kind == "activations":
        return _result(_activation_maps(scored, inputs, asked.spec))
    return _result(_perturbed_maps(scored, inputs, asked) if kind == "perturbation" else _gradient_maps(scored, inputs, asked))


def _activation_maps(scored: ScoredLayer, inputs: Any, spec: MethodSpec) -> Tensor:
    run = ScorePass.of(scored, inputs, None)
    if torch.equal(run.with_layer(1 - run.activations), run.table(run.scores)):
        raise ValueError(INDEPENDENT.format(scored.name))
    cells = wide(scored.view.cells(run.activations))
    maps = spec.maps(cells, torch.zeros_like(cells))
    each = maps[:, None].expand(-1, run.scores[:1].numel() if run.scores.ndim else 1, -1, -1)
    return each.reshape(*run.scores.shape, *scored.grid_shape(cells, run.activations))


def _perturbed_maps(scored: ScoredLayer, inputs: Any, asked: _Asked) -> Tensor:
    run = ScorePass.of(scored, inputs, asked.baseline)
    with torch.no_grad():
        maps = asked.spec.perturb(score_canvas(run, asked.options), asked.options)
        cells = wide(scored.view.cells(run.activations))
        if not asked.spec.linear:
            at = cells.expand(len(maps), *cells.shape)
            maps = asked.spec.maps(at.flatten(0, 1), maps.flatten(0, 1)).view(*maps.shape[:2], *cells.shape[-2:])
        if not maps.isfinite().all():
            raise ValueError("fn: the scores of perturbed inputs are not finite: check the weights and the inputs")
        if not maps.any() and torch.equal(run.with_layer(1 - run.activations), run.table(run.scores)):
            raise ValueError(INDEPENDENT.format(scored.name))
    on_layer = maps.shape[-2:] == cells.shape[-2:]
    grid = scored.grid_shape(maps, run.activations) if on_layer else maps.shape[2:]
    return maps.transpose(0, 1).reshape(*run.scores.shape, *grid)


def _gradient_maps(scored: ScoredLayer, inputs: Any, asked: _Asked) -> Tensor:
    spec, baseline, n_steps = asked.spec, asked.baseline, asked.n_steps
    log = ProductLog(
        "fn: the gradient of the scores is not finite: check the weights and the inputs",
        INDEPENDENT.format(scored.name),
    )
    activations, scores, leaf = scored.run(inputs)
    rows = ScoreRows.of(scores, leaf, images=rows_and_size(inputs)[0] if has_pictures(inputs) else None, frames=scored.frames)
    cells = scored.view.cells(activations)
    if spec.kind == "path":
        start, _, _ = scored.run(baseline)
        gradients = _path_gradients(scored, inputs, activations, start, n_steps, log)
        begin = scored.view.cells(start.expand_as(activations))
        maps = integrated_gradients(cells, begin, scored.view.cells(gradients))
    else:
        noisy = spec.kind == "noise"
        gradients = _noisy_gradients(scored, inputs, asked, log) if noisy else scored.view.cells(_gradients(scores, leaf, log))
        at = cells.to(gradients.dtype).expand(len(gradients), *cells.shape)
        maps = spec.maps(at.flatten(0, 1), gradients.flatten(0, 1)).view(*gradients.shape[:2], *cells.shape[-2:])
    nothing = log.depends is None or not log.depends.any()
    reason = scored.lost_gradient(inputs) if nothing else None
    if reason is not None or log.is_lost(reads_leaf=lambda: _rows_that_read(scored, inputs, activations, scores, log)):
        raise ValueError(log.independent if reason is None else f"fn: {reason}")
    maps = rows.by_image(maps.flatten(2))
    shape = (*scores.shape, *([rows.each] if rows.frames else []), *scored.grid_shape(cells, activations))
    return maps.reshape(shape)


def _masked_pixels(scored: ScoredLayer, inputs: Any, spec: MethodSpec) -> Tensor:
    """Maps of the pixels times the layer's Grad-CAM, `(b, ..., c, H, W)`."""
    cams = _maps(scored, inputs, _Asked(METHODS["grad_cam"], None, 1, {}))
    pixels = _result(ScoredPixels.of(scored.fn, inputs, spec.name).maps(spec, None, 1))
    if pixels.ndim != cams.ndim + 1 or pixels.shape[-2:] != rows_and_size(inputs)[1]:
        raise ValueError(
            f"{spec.name}: expected a picture (b, c, H, W) and a layer with a grid, got maps {tuple(pixels.shape)} and "
            f"Grad-CAM {tuple(cams.shape)}"
        )
    return times_grad_cam(pixels, cams)


def _check_pixel_options(spec: MethodSpec, layer: Any, layout: str | None, call: Any) -> None:
    """Raises ValueError for a layer where there is no use for one, and the other way round."""
    if spec.uses_layer and (layer is None or call == "all"):
        raise ValueError(
            f"{spec.name} multiplies with the Grad-CAM of one run of a layer: pass the module or its name, and no call='all'"
        )
    if not spec.uses_layer and not (layer is None and layout is None and call is None):
        raise ValueError(
            f"{spec.name} is of the picture's pixels, not of a layer: pass layer=None, and neither layout= nor call="
        )


def _result(maps: Tensor) -> Tensor:
    return maps.detach().to("cpu", torch.float32, copy=True)


def _method(method: str | CamMethod, baseline: Any) -> MethodSpec:
    """The method's entry. Raises ValueError for attention, and for a path without a baseline."""
    spec = find_method(method, ("gradient", "path", "noise", "activations", "pixels", "perturbation"))
    along_path = spec.kind == "path" or (spec.pixels is not None and spec.pixels.at == "path")
    if along_path and baseline is None:
        raise ValueError(f"{spec.name} is counted from something: pass baseline=, the inputs that stand for nothing")
    return spec


def _rows_that_read(scored: ScoredLayer, inputs: Any, activations: Tensor, scores: Tensor, log: ProductLog) -> Tensor:
    """Whether the scores of each of the layer's rows are others for a layer of zeros: their slope may be 0 all the same.

    One answer for all where images have several rows, some of which may be no part of any score.
    """
    with torch.no_grad(), scored.tap(replace=torch.zeros_like(activations)):
        changed: Tensor = run_with(scored.fn, inputs) != scores
    if len(activations) == (len(scores) if scores.ndim else 1):
        return changed.reshape(len(activations), -1).any(dim=1)
    assert log.depends is not None
    return changed.any() | log.depends.any()


def _path_gradients(
    scored: ScoredLayer, inputs: Any, activations: Tensor, start: Tensor, n_steps: int, log: ProductLog
) -> Tensor:
    """Mean gradients `(m, r, ...)` from `start` to `activations`: the whole network runs for each step, overridden there."""

    def gradients_at(points: Tensor) -> tuple[Tensor]:
        leaf = points[0].detach().requires_grad_()
        with torch.enable_grad(), scored.tap(replace=leaf.clone()):  # a clone: what follows may write on it
            return (_gradients(run_with(scored.fn, inputs), leaf, log),)

    (gradients,) = mean_gradients(
        gradients_at, activations, start.expand_as(activations), n_steps=n_steps, steps_at_once=lambda: 1
    )
    return gradients


def _noisy_gradients(scored: ScoredLayer, inputs: Any, asked: _Asked, log: ProductLog) -> Tensor:
    """Gradients `(m, r, n c, h, w)` of each score at the layer of noisy copies of the picture, one after the other."""
    picture = ScoredPixels.of(scored.fn, inputs, asked.spec.name)
    runs = (scored.run(picture.noisy_inputs(i)) for i in range(asked.n_steps))
    return torch.cat([scored.view.cells(_gradients(scores, leaf, log)) for _, scores, leaf in runs], dim=-3)


def _gradients(scores: Tensor, leaf: Tensor, log: ProductLog) -> Tensor:
    """The gradient of each score `(m, r, ...)`, at least float32, summed over the images, each of which has rows of its own."""
    images = len(scores) if scores.ndim else 1
    with ReadoutTap(None) as cut:
        (gradients,) = score_gradients(scores.reshape(images, -1, 1), leaf, cut, log.checked, log)
    return gradients[:, 0]
