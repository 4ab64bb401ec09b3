"""Maps of all targets of a batch by one method, and the costly controls that apply the same method where it must fail.

Calls the engine directly, because `explain` would repeat the backbone pass for every method and control.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...adapters.contract import HasAttention, TaskAdapter, layer_view_of, score_of, tap_layer
from ...adapters.inputs import Inputs
from ...adapters.layer_choice import resolve_layer
from ...core.attribution import attribute
from ...core.forward_pass import AttributionRequest
from ...core.layer_view import LayerView
from ...core.pixel_attribution import chunks_of_rows
from ...core.spans import Span
from ...core.token_maps import TokenMaps
from ...scores import find_score
from .method_variants import MethodVariant, parse_method

ROWS = 16  # texts of similar length in a batch: the cost grows with the square of the longest


@dataclass(frozen=True)
class TextRows:
    """`r` texts about the photos of a batch, with their inputs and the activations of each photo, encoded once.

    `spans` are the runs of each text's tokens that maps are wanted of: some methods compute each on its own.
    """

    inputs: Inputs
    ids: Tensor  # (r, t)
    photo: Tensor  # (r,): index of each text's photo
    activations: Tensor  # (p, c, h, w), or the form that the model's view extracts
    view: LayerView
    spans: Sequence[Sequence[Span]]  # one list a row

    def mean_activation(self, row: int) -> Tensor:
        """Mean over the channels, `(h, w)`: conspicuous places of this row's photo, whatever the text."""
        cells = self.view.cells(self.activations[int(self.photo[row])].float()).mean(dim=-3)
        return self.view.to_image(cells).cpu()

    def inputs_of(self, chosen: Sequence[int]) -> Inputs:
        """Inputs of the `chosen` rows."""
        rows = torch.tensor(chosen)
        return replace(
            self.inputs,
            placements=tuple(self.inputs.placements[i] for i in chosen),
            question_ids=None if self.inputs.question_ids is None else self.inputs.question_ids[rows],
            image_index=self.photo[rows],
        )

    def by_length(self) -> Iterator[list[int]]:
        """Rows in chunks of similar length."""
        lengths = (self.ids >= 0).sum(dim=1).tolist()
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        return (order[start : start + ROWS] for start in range(0, len(order), ROWS))


@dataclass(frozen=True)
class RowMaps:
    """Maps and numbers of one row's spans; numbers are sums over the tokens of a span that the model knows."""

    tokens: TokenMaps
    row: int
    variant: MethodVariant
    unknown: frozenset[int]

    def map(self, span: Span) -> Tensor:
        """Map of a span, `(h, w)` float32; NaN if the model knows none of its words."""
        kept = self._kept(span)
        if self.tokens.maps is None:
            found = self.tokens.span_map(self.row, slice(span.start, span.stop), self.variant.spec)
            return self.variant.finish(found if kept else found * torch.nan).float().cpu()
        return self.variant.finish(self._sum(self.tokens.maps[0, :, self.row], kept)).float().cpu()

    def alternative(self) -> Tensor | None:
        """Map of the likeliest other first token."""
        if self.tokens.maps is not None:
            return self.variant.finish(self.tokens.maps[1, 0, self.row]).float().cpu() if len(self.tokens.maps) > 1 else None
        if len(self.tokens.ids) < 2:
            return None
        found = self.tokens.span_map(self.row, slice(0, 1), self.variant.spec, column=1)
        return self.variant.finish(found).float().cpu()

    def reliance(self, span: Span) -> float:
        return float(self._sum(self.tokens.reliance[self.row], self._kept(span)))

    def log_prob(self, span: Span) -> float:
        return float(self._sum(self.tokens.log_probs[0, self.row], self._kept(span)))

    def _kept(self, span: Span) -> list[int]:
        return [i for i in range(span.start, span.stop) if i not in self.unknown]

    def _sum(self, values: Tensor, kept: list[int]) -> Tensor:
        return values[kept].sum(dim=0) if kept else torch.full_like(values[0], torch.nan)


def supports_method(model: TaskAdapter, method: str) -> bool:
    """Whether the model supports the method; not all models have attention."""
    return parse_method(method).spec.kind != "attention" or isinstance(model, HasAttention)


def text_rows(model: TaskAdapter, inputs: Inputs, ids: Tensor, activations: Tensor, spans: Sequence[Sequence[Span]]) -> TextRows:
    """Rows of a batch, one for each of `ids`."""
    photo = torch.arange(len(ids)) if inputs.image_index is None else inputs.image_index
    return TextRows(inputs, ids, photo, activations, layer_view_of(model, inputs, model.layer), spans)


def encode(model: TaskAdapter, inputs: Inputs, ids: Tensor) -> Tensor:
    """Activations `(p, c, h, w)` of each photo, from one pass of the backbone."""
    with torch.no_grad(), tap_layer(model, inputs) as tap:
        model.logits(inputs, ids)
    return tap.activations


def iterate_row_maps(
    model: TaskAdapter,
    rows: TextRows,
    words: Sequence[Sequence[Span]],
    method: str,
    score: str,
    *,
    n_steps: int,
    n_alternatives: int = 0,
) -> Iterator[tuple[int, RowMaps]]:
    """Yield each row's index and maps, a chunk at a time; `method` is a name that `parse_method` takes."""
    variant = parse_method(method)
    layer, name = resolve_layer(model, variant.layer)
    steps, scored = variant.n_steps or n_steps, score_of(model, find_score(score))
    request = AttributionRequest(layer, name, variant.spec, scored, steps, n_alternatives=n_alternatives)
    for chosen in (chunk for alike in rows.by_length() for chunk in chunks_of_rows(alike, request)):
        ids = rows.ids[chosen]
        ids = ids[:, : int((ids >= 0).sum(dim=1).max())]
        activations, spans = rows.activations[rows.photo[chosen]], [rows.spans[i] for i in chosen]
        tokens = attribute(model, rows.inputs_of(chosen), ids, request, activations=activations, spans=spans)
        for i, row in enumerate(chosen):
            unknown = frozenset(t for word in words[row] if not word.known for t in range(word.start, word.stop))
            yield row, RowMaps(tokens, i, variant, unknown)


def random_twin(model: TaskAdapter, rows: TextRows, seed: int) -> TaskAdapter | None:
    """Copy of the model whose head has shuffled weights, each tensor within itself; the encoder stays.

    The head is every parameter that the text's score depends on once the layer's activations are given; None when it has none.
    """
    twin = copy.deepcopy(model)
    parameters = list(twin.module.parameters())
    for parameter in parameters:
        parameter.requires_grad_()
    with torch.enable_grad():
        logits = twin.logits(rows.inputs_of([0]), rows.ids[:1], rows.activations[rows.photo[:1]])
        if not logits.requires_grad:
            return None
        gradients = torch.autograd.grad(logits.square().sum(), parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return twin
