"""Measurement of layouts: strips of the photo are changed, and it is seen which axes of the layers' outputs move."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from .axis_roles import Responses, find_layout, layout_by_size
from .hooks import forward_hooks
from .layer_layout import LayerLayout
from .output_parts import Path, map_tensors, tensors_in, with_part

STRIPS = 4
COLOURS = (1, 3, 4)  # channels of a photo, for pixels that have them last


class LayersSeenError(BaseException):
    """Stops a pass when all measured layers have run; no `except Exception` of a user's forward may catch it."""


@dataclass(frozen=True)
class MeasuredLayer:
    """What a measurement found of a layer.

    Attributes:
        calls: Runs in one forward pass.
        form: What it gives, with empty tensors; None if it never ran.
        shapes: Shapes of its tensors for one photo, by their paths.
        layouts: Layouts of the tensors that follow the photo.
    """

    calls: int
    form: Any
    shapes: Mapping[Path, tuple[int, ...]]
    layouts: tuple[LayerLayout, ...]


@dataclass
class _Record:
    """What a layer gave for the flat photo, when, and how its tensors changed since."""

    calls: int = 0
    output: Any = None
    ended: int = -1
    responses: dict[Path, Responses] = field(default_factory=dict)


def measure_layers(
    run: Callable[[Any], Any], inputs: Any, layers: Collection[nn.Module], *, call: int = 0, folded: bool = False
) -> dict[nn.Module, MeasuredLayer]:
    """Layouts of the outputs of `layers` when `run(inputs)` runs the network: nine passes, after the first up to the layers only.

    `inputs` are a tensor of pixels, or any structure that holds some: `(b, 3, H, W)`, `(b, H, W, 3)` or frames of those.
    `call` says which of a layer's runs is measured; `folded` whether a layer may have several rows an image, such as frames.
    """
    pictures = [path for path, tensor in tensors_in(inputs) if _is_picture(tensor)]
    records = {layer: _Record() for layer in layers}
    flat = inputs
    for path, tensor in tensors_in(inputs):
        if path in pictures:
            flat = with_part(flat, path, _flat(tensor))
    with torch.no_grad():
        _pass(run, flat, records, call, _noting_flat())
        ran = [layer for layer in records if records[layer].ended >= 0]
        last = max(ran, key=lambda layer: records[layer].ended, default=None)
        for direction, changed in _changes(inputs, flat, pictures) if ran else ():
            _pass(run, changed, {layer: records[layer] for layer in ran}, call, _noting(direction), stop_at=last)
    rows, size = rows_and_size(inputs)
    return {layer: _measured(record, rows, size, folded) for layer, record in records.items()}


def rows_and_size(inputs: Any) -> tuple[int, tuple[int, int]]:
    """Images, and their height and width in pixels, of the first picture in `inputs`; (1, (1, 1)) if there is none."""
    for _, tensor in tensors_in(inputs):
        if _is_picture(tensor):
            down, across = photo_axes(tensor)
            return len(tensor), (tensor.shape[down], tensor.shape[across])
    return 1, (1, 1)


def has_pictures(inputs: Any) -> bool:
    """Whether `inputs` hold pixels."""
    return bool(pictures_in(inputs))


def pictures_in(inputs: Any) -> list[tuple[Path, Tensor]]:
    """The pictures in `inputs` and their paths."""
    return [(path, tensor) for path, tensor in tensors_in(inputs) if _is_picture(tensor)]


def _measured(record: _Record, rows: int, size: tuple[int, int], folded: bool) -> MeasuredLayer:
    layouts = []
    for path, responses in record.responses.items():
        layout = find_layout(responses, rows, size)
        if layout is None and folded and responses.shape[0] % rows == 0:
            layout = find_layout(responses, responses.shape[0], size)
        if layout is None and responses.undecided:
            layout = layout_by_size(responses.shape, rows, size)
        if layout is not None:
            layouts.append(replace(layout, path=path))
    shapes = {path: tuple(tensor.shape) for path, tensor in tensors_in(record.output)}
    form = map_tensors(record.output, lambda tensor: tensor.new_empty(0))
    return MeasuredLayer(record.calls, form, shapes, tuple(layouts))


def _pass(
    run: Callable[[Any], Any],
    inputs: Any,
    records: Mapping[nn.Module, _Record],
    call: int,
    note: Callable[[_Record, Any], None],
    *,
    stop_at: nn.Module | None = None,
) -> None:
    """One pass of the network, in which `note` sees the output of the wanted call of each layer."""
    calls = dict.fromkeys(records, 0)

    def hook(module: nn.Module, _args: Any, output: Any) -> None:
        calls[module] += 1
        if calls[module] == call + 1:
            note(records[module], output)
            if module is stop_at:
                raise LayersSeenError

    with forward_hooks(list(records), hook):
        try:
            run(inputs)
        except LayersSeenError:
            return
    for layer, runs in calls.items():
        records[layer].calls = runs


def _noting_flat() -> Callable[[_Record, Any], None]:
    order = count()

    def note(record: _Record, output: Any) -> None:
        record.ended = next(order)
        record.output = map_tensors(output, lambda tensor: tensor.detach().clone())
        for path, tensor in tensors_in(output):
            if tensor.ndim in (3, 4, 5) and tensor.is_floating_point():
                record.responses[path] = Responses(tuple(tensor.shape))

    return note


def _noting(direction: str) -> Callable[[_Record, Any], None]:
    def note(record: _Record, output: Any) -> None:
        before, after = dict(tensors_in(record.output)), dict(tensors_in(output))
        for path, responses in record.responses.items():
            if path in after and after[path].shape == before[path].shape:
                change = (after[path].double() - before[path].double()).square().cpu()
                responses.add(direction, change)

    return note


# ---- pictures that are changed strip by strip ----------------------------------------------------------------------------------


def _is_picture(tensor: Tensor) -> bool:
    return tensor.ndim in (4, 5) and tensor.dtype not in (torch.bool, torch.int64, torch.int32) and tensor.numel() > 0


def photo_axes(tensor: Tensor) -> tuple[int, int]:
    """The axes down and across a picture: the last two, or those before colours that stand last."""
    last = tensor.shape[-1] in COLOURS and tensor.shape[-3] not in COLOURS and tensor.shape[-2] > tensor.shape[-1]
    return (tensor.ndim - 3, tensor.ndim - 2) if last else (tensor.ndim - 2, tensor.ndim - 1)


def _strip_axes(tensor: Tensor) -> dict[str, int]:
    """The axis along which the strips of each direction follow each other."""
    axes = dict(zip(("down", "across"), photo_axes(tensor), strict=True))
    if tensor.ndim == 5:
        first, second = [axis for axis in range(1, 5) if axis not in axes.values()]
        axes["frames"] = first if tensor.shape[second] in COLOURS and tensor.shape[first] not in COLOURS else second
    return axes


def _flat(tensor: Tensor) -> Tensor:
    """The picture's mean colour everywhere."""
    return tensor.double().mean(dim=photo_axes(tensor), keepdim=True).expand(tensor.shape).to(tensor.dtype).clone()


def _changes(inputs: Any, flat: Any, pictures: Collection[Path]) -> Iterator[tuple[str, Any]]:
    """The flat pictures with noise in one strip: strips below each other, side by side, and one frame behind the other."""
    photos, blanks = dict(tensors_in(inputs)), dict(tensors_in(flat))
    for direction in ("down", "across", "frames"):
        axes = {path: _strip_axes(photos[path]).get(direction) for path in pictures}
        longest = max((photos[path].shape[axis] for path, axis in axes.items() if axis is not None), default=1)
        for strip in range(min(STRIPS, longest) if longest > 1 else 0):
            changed = flat
            for path, axis in axes.items():
                if axis is not None:
                    changed = with_part(changed, path, _with_noise(blanks[path], photos[path], axis, strip))
            yield direction, changed


def _with_noise(flat: Tensor, photo: Tensor, axis: int, strip: int) -> Tensor:
    """The flat picture with noise as strong as the photo's contrast in strip `strip` along `axis`: the same in every strip."""
    size = flat.shape[axis]
    strips = min(STRIPS, size)
    start, stop = strip * size // strips, (strip + 1) * size // strips
    spread = float(photo.double().std())
    whole_numbers = not photo.is_floating_point()
    spread = (
        spread
        if math.isfinite(spread) and spread > 1e-3 * max(1.0, float(photo.double().abs().max()))
        else (50.0 if whole_numbers else 1.0)
    )
    shape = [*flat.shape]
    shape[axis] = -(-size // strips)
    noise = spread * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = noise + spread * _coarse(noise, photo_axes(flat))
    changed = flat.clone()
    place = changed.narrow(axis, start, stop - start)
    values = place.double() + noise.narrow(axis, 0, stop - start).to(flat.device)
    place.copy_(values.clamp(0, 255) if whole_numbers else values)
    return changed


def _coarse(noise: Tensor, axes: tuple[int, int]) -> Tensor:
    """Noise in blocks: networks that look at means only see it, too."""
    for axis in axes:
        blocks = torch.arange(noise.shape[axis]) // max(1, noise.shape[axis] // 4)
        noise = noise.index_select(axis, (blocks * max(1, noise.shape[axis] // 4)).clamp(max=noise.shape[axis] - 1))
    return noise
