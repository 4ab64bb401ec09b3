"""A model and a batch of rows, runnable from the activations of a layer; taps on its layer and on its question's embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from ..adapters.contract import ReadsQuestions, TaskAdapter, layer_view_of, question_view_of
from ..adapters.inputs import Inputs
from .hooks import LayerTap
from .layer_view import LayerView


@dataclass(frozen=True)
class CutModel:
    """A batch of rows (image, question, text) under teacher forcing, and the model cut at a layer.

    `from_adapter_layer`: the adapter itself can start from this layer; from another one the whole network runs, overridden there.
    """

    adapter: TaskAdapter
    inputs: Inputs
    ids: Tensor  # (b, t)
    layer: nn.Module
    layer_name: str
    view: LayerView

    @classmethod
    def at(cls, adapter: TaskAdapter, inputs: Inputs, ids: Tensor, layer: nn.Module, layer_name: str) -> CutModel:
        view = layer_view_of(adapter, inputs, layer)
        return cls(adapter, inputs if layer is adapter.layer else inputs.expand_images(), ids, layer, layer_name, view)

    @property
    def from_adapter_layer(self) -> bool:
        return self.layer is self.adapter.layer

    def tap(self, *, leaf: bool = False, replace: Tensor | None = None) -> LayerTap:
        return LayerTap(self.layer, self.layer_name, leaf=leaf, replace=replace, view=self.view)

    def logits(self) -> Tensor:
        """Logits `(b, t, v)` from the images."""
        return self.adapter.logits(self.inputs, self.ids)

    def logits_from(self, activations: Tensor, copies: int = 1) -> Tensor:
        """Logits `(copies b, t, v)` from activations of the layer, `copies` times the batch."""
        ids = self.ids.repeat(copies, 1)
        if self.from_adapter_layer:
            return self.adapter.logits(self.inputs, ids, activations.clone())  # heads may write on their input in place
        with self.tap(replace=activations):
            return self.adapter.logits(self.inputs.repeat(copies), ids)

    def baseline(self) -> Tensor:
        """The layer's activations without a photo, `(b, ...)` or broadcastable to it."""
        if self.from_adapter_layer:
            return self.adapter.baseline_activations(self.inputs)
        with self.tap() as tap:
            self.adapter.logits(self.adapter.baseline_inputs(self.inputs), self.ids)
        return tap.activations

    def row_activations(self) -> Tensor:
        """Activations `(b, ...)` of images that several rows share: the backbone runs once for each image."""
        with self.tap() as tap:
            self.logits()
        activations = rows_of_tap(self.inputs, tap)
        if activations is None:
            rows = len(tap.activations)
            raise RuntimeError(f"{self.adapter.name}: the layer gave {rows} rows for {len(self.inputs)} questions")
        return activations


def tap_layer(adapter: TaskAdapter, inputs: Inputs) -> LayerTap:
    """A tap on the adapter's own layer, through the adapter's view of it."""
    return LayerTap(adapter.layer, view=layer_view_of(adapter, inputs, adapter.layer))


def rows_of_tap(inputs: Inputs, tap: LayerTap) -> Tensor | None:
    """The tapped activations, one row for each of `inputs`; None if the layer ran several times, or on other rows (beams)."""
    if tap.calls != 1:
        return None
    activations = tap.activations
    if len(activations) == len(inputs.pixels):
        return inputs.to_rows(activations)
    return activations if len(activations) == len(inputs) else None


@contextmanager
def question_embeddings_tap(model: CutModel) -> Iterator[LayerTap | None]:
    """A tap on the embeddings `(b, q, d)` of the question's tokens; None if there are none to be seen."""
    if question_view_of(model.adapter, model.inputs) is None:
        yield None
        return
    with question_tap(model) as tap:
        yield tap


def question_tap(model: CutModel, replace: Tensor | None = None) -> LayerTap:
    adapter, view = model.adapter, question_view_of(model.adapter, model.inputs)
    assert isinstance(adapter, ReadsQuestions)
    assert adapter.question_layer is not None
    return LayerTap(adapter.question_layer, "question", replace=replace, view=view)
