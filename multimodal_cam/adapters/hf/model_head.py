"""The network cut at its layer: activations of the tower, and logits and text of the head from them on."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...core.hooks import overridden_output
from ..inputs import Inputs
from ..network_state import pass_state
from ..state_cache import StateCache
from .generation import stop_ids
from .image_input import ImageInput
from .loaded_model import TILES, LoadedModel
from .tower_cut import TowerCut

SMALL = 16  # numbers: a smaller extra input says which grid an image has, where the spec does not


class ModelHead:
    """Tower and head of a loaded model, run as its `Capabilities` say: apart or whole, in batches or row by row."""

    def __init__(self, loaded: LoadedModel, images: ImageInput) -> None:
        self.loaded, self.images = loaded, images
        self.capabilities = loaded.spec.capabilities
        self._cut = TowerCut(loaded.tower, loaded.layer)
        self._baselines = StateCache[Tensor]()

    def cache_key(self, inputs: Inputs) -> Hashable:
        """Inputs of the same key have the same grid: the shape of their pixels, and what else says it."""
        names = self.loaded.spec.grid_inputs
        grids = (
            (name, tuple(value[0].flatten().tolist()))
            for name, value in inputs.extra_inputs.items()
            if name == TILES or (value[0].numel() < SMALL if names is None else name in names)
        )
        return tuple(inputs.pixels.shape[1:]), *grids

    def layer_activations(self, inputs: Inputs) -> Tensor:
        """The layer's activations, one row a distinct image: the tower runs alone, and once."""
        return self._tower_to_layer(inputs) if self.capabilities.rows_in_one_batch else _row_by_row(self._tower_to_layer, inputs)

    def _tower_to_layer(self, inputs: Inputs) -> Tensor:
        loaded = self.loaded
        key, rows = self.cache_key(inputs), len(inputs.pixels)
        output = self._cut.run_to_layer(key, rows, lambda: loaded.spec.run_tower(loaded, inputs))
        return self.images.layer_view(inputs, loaded.layer).extract(output)

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """The layer's activations of a mean-colour image, kept until the tower or the inputs change."""
        loaded = self.loaded
        if not self.capabilities.tower_ignores_question:
            return self.layer_activations(self.images.baseline_inputs(inputs))
        blank = self.images.baseline_inputs(_first_image(inputs))
        state = pass_state(loaded.tower, blank.pixels, *blank.extra_inputs.values())
        return self._baselines.value(state, lambda: self.layer_activations(blank))

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None) -> Tensor:
        """Teacher-forced logits, from images or from the layer's activations."""
        ids, capabilities = ids.clamp(min=0), self.capabilities
        if activations is None and inputs.image_index is None:
            whole = partial(self.loaded.spec.logits, self.loaded)
            return whole(inputs, ids) if capabilities.rows_in_one_batch else _row_by_row(whole, inputs, ids)
        if activations is None:
            activations = inputs.to_rows(self.layer_activations(inputs))
        run = self._head_alone if capabilities.head_runs_alone else self._whole_network
        if capabilities.head_rows_in_one_batch:
            return run(inputs, ids, activations)
        return _row_by_row(run, inputs, ids, activations)

    def _head_alone(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        with self._from_layer(inputs, activations):
            return self.loaded.spec.logits(self.loaded, placeholder_inputs(inputs, len(ids)), ids)

    def _whole_network(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        view = self.images.layer_view(inputs, self.loaded.layer)
        with overridden_output(self.loaded.layer, lambda output: view.inject(activations, output)):
            return self.loaded.spec.logits(self.loaded, inputs.repeat(len(ids) // len(inputs)), ids)

    def _from_layer(self, inputs: Inputs, activations: Tensor) -> AbstractContextManager[None]:
        key = self.cache_key(inputs)
        if not self._cut.is_recorded(key):
            with torch.no_grad():
                self.layer_activations(_first_image(inputs))
        return self._cut.run_from_layer(key, activations, self.images.layer_view(inputs, self.loaded.layer))

    def generate(self, inputs: Inputs, **options: Any) -> Tensor:
        """The ids `(b, t)` that the network's own `generate` gives; from the layer, if it may, so that the tower runs once."""
        loaded, capabilities = self.loaded, self.capabilities
        if capabilities.head_runs_alone and capabilities.generates_from_layer:
            with self._from_layer(inputs, inputs.to_rows(self.layer_activations(inputs))):
                return loaded.spec.generate(loaded, placeholder_inputs(inputs, len(inputs)), **options)
        if capabilities.rows_in_one_batch:
            return loaded.spec.generate(loaded, inputs, **options)
        rows = [loaded.spec.generate(loaded, _single_row(inputs, i), **options)[0] for i in range(len(inputs))]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=min(stop_ids(loaded), default=0))


def _row_by_row(run: Callable[..., Tensor], inputs: Inputs, *rows: Tensor) -> Tensor:
    """What `run` gives for one row after the other."""
    inputs, count = inputs.expand_images(), len(rows[0]) if rows else len(inputs)
    return torch.cat([run(_single_row(inputs, i % len(inputs)), *(part[i : i + 1] for part in rows)) for i in range(count)])


def _single_row(inputs: Inputs, i: int) -> Inputs:
    part = slice(i, i + 1)
    question = None if inputs.question_ids is None else inputs.question_ids[part]
    extra = {name: value[part] for name, value in inputs.extra_inputs.items()}
    return Inputs(inputs.pixels[part], inputs.placements[part], question, extra_inputs=extra)


def _first_image(inputs: Inputs) -> Inputs:
    """The first distinct image, without a question."""
    extra = {name: value[:1] for name, value in inputs.extra_inputs.items()}
    return Inputs(inputs.pixels[:1], inputs.placements[:1], extra_inputs=extra)


def placeholder_inputs(inputs: Inputs, rows: int) -> Inputs:
    """Inputs of `rows` rows whose pixels are ones: the head reads their shape, never their values."""
    copies = rows // len(inputs)
    pixels = inputs.pixels.new_ones(()).expand(rows, *inputs.pixels.shape[1:])
    extra = {name: inputs.to_rows(value) for name, value in inputs.extra_inputs.items()}
    one = replace(inputs, pixels=inputs.pixels[:0], image_index=None, extra_inputs=extra)
    return replace(one.repeat(copies), pixels=pixels)
