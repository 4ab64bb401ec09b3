"""All tokens of a batch of images -> one map each: the Grad-CAM engine that serves every model and method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..adapters.contract import TaskAdapter
from ..adapters.inputs import Inputs
from ..methods import path as evidence
from ..methods.gradient import LINEAR, METHODS, CamMethod
from ..scores import SCORES, ScoreFn, contrast_with, log_prob, most_likely_others, refuse_mixing, reversed_sign
from .gradients import token_gradients
from .hooks import HeadInputTap, LayerTap, ReadoutTap
from .layer_view import ActivationSlice, GridView, LayerView

CROWDED = 4  # the nodes of the question's path lie at u**4: networks that normalise what they read change most near 0
GRAPHS = 2**25  # numbers that the graphs of an evidence's nodes may keep at once: 128 MB in float32


@dataclass(frozen=True)
class Request:
    """What is to be explained, resolved: functions and modules, no names to look up any more."""

    layer: nn.Module
    layer_name: str
    method: str | CamMethod
    score: str | ScoreFn
    n_steps: int = 16
    counterfactual: bool = False
    n_alternatives: int = 0


@dataclass
class TokenMaps:
    """What the engine found: `b` rows, `t` tokens, `a` columns, padding is 0. `maps` for linear methods, else `gradients`.

    Column 0 holds the tokens themselves, the others the likeliest alternatives at each position. `unplaced` is what the tokens'
    own scores got from activations that have no place on the grid: `maps` and it add up to `changes`. `activations` and
    `gradients` are the cells as `view` gives them; it also lays maps of them out.
    """

    view: LayerView
    activations: Tensor  # (b, c, h, w)
    ids: Tensor  # (a, b, t)
    scores: Tensor  # (a, b, t)
    log_probs: Tensor  # (a, b, t)
    reliance: Tensor  # (b, t)
    maps: Tensor | None = None  # (a, t, b, h, w)
    gradients: Tensor | None = None  # (a, t, b, c, h, w)
    changes: Tensor | None = None  # (b, t), evidence only
    unplaced: Tensor | None = None  # (b, t), evidence only; None where everything has a place
    question: Tensor | None = None  # (t, b, q): what each token of the question adds to the score
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """One token for each position, and the score that is explained of it."""

    ids: Tensor  # (b, t)
    score: ScoreFn

    def scores(self, logits: Tensor) -> Tensor:
        """`(rows, t)`, 0 at padding; rows are repeats of the batch."""
        ids = self.ids.repeat(len(logits) // len(self.ids), 1)
        return torch.where(ids >= 0, self.score(_wide(logits), ids), 0)


class Batch:
    """A batch of rows (image, question, text) under teacher forcing.

    `rivals` `(b, t)`: tokens that the explained ones are compared with, `PAD` where the likeliest other one is.
    """

    def __init__(
        self, adapter: TaskAdapter, inputs: Inputs, ids: Tensor, request: Request, contrast_ids: Tensor | None = None
    ) -> None:
        self.adapter, self.inputs, self.request = adapter, inputs, request
        self.ids, self.real, self.contrast_ids = ids, ids >= 0, contrast_ids
        self.batched, self.depends = True, False
        self.graph = 0  # numbers that the graph of one pass keeps
        self.columns: list[Column] = []
        self.words: Tensor | None = None
        self.view = layer_view_of(adapter, inputs, request.layer)
        self.asked = question_view_of(adapter, inputs)

    def explain(self, activations: Tensor | None = None) -> TokenMaps:
        """One backbone pass (none when `activations` are known), then head passes only."""
        with torch.no_grad():
            if not self._head_alone:
                activations, self.inputs = None, self.inputs.expand_images()
            elif activations is None and self.inputs.image_index is not None:
                activations = self._shared()
            baseline = self._baseline()  # first: its pass over the backbone should not come on top of the photo's graph
            activations, logits, gradients = self._photo(activations)
            baseline = baseline.to(activations)
            nothing = self._logits(baseline.expand_as(activations))
        maps = unplaced = None
        if self.request.method == "attention":
            maps = self._attention(activations)
        elif self._along_path:
            maps, unplaced = self._unpack(self._path_maps(activations, baseline), activations)
            unplaced = None if self.view.unplaced(activations) is None else unplaced
        elif self._linear:
            maps, _ = self._unpack(gradients, activations)
            gradients = None
        if self.request.method != "attention":
            self._check_dependence()
        said = self.columns[0]
        log_probs = [Column(column.ids, log_prob).scores(logits) for column in self.columns]
        return TokenMaps(
            self.view,
            self.view.cells(activations),
            ids=torch.stack([column.ids for column in self.columns]),
            scores=torch.stack([column.scores(logits) for column in self.columns]),
            log_probs=torch.stack(log_probs),
            reliance=log_probs[0] - Column(said.ids, log_prob).scores(nothing),
            maps=maps,
            gradients=None if gradients is None else self.view.cells(gradients),
            unplaced=unplaced,
            changes=said.scores(logits) - said.scores(nothing) if self._along_path else None,
            question=self._question(activations),
            notes={"products": "batched" if self.batched else "looped"},
        )

    def _shared(self) -> Tensor:
        """The activations `(b, c, h, w)` when several rows are about one image: the backbone runs once for each image."""
        with self._tap() as tap:
            self.adapter.logits(self.inputs, self.ids)
        activations = rows_of_tap(self.inputs, tap)
        if activations is None:
            rows = len(tap.activations)
            raise RuntimeError(f"{self.adapter.name}: the layer gave {rows} rows for {len(self.inputs)} questions")
        return activations

    def _photo(self, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The photo's activations, its logits, and what is kept of the gradients there (None for `evidence`): one pass."""
        differentiate = self.request.method not in ("evidence", "attention")
        with ReadoutTap(self.adapter.readout) as cut, self._reading():
            leaf: Tensor | None
            if known is not None:
                activations, leaf = known, known.detach().requires_grad_(differentiate)
                with torch.set_grad_enabled(differentiate):
                    logits = self._head(leaf)
            else:
                with torch.no_grad(), self._tap(leaf=differentiate) as tap:
                    logits = self.adapter.logits(self.inputs, self.ids)
                activations, leaf = tap.activations, tap.leaf
            self.columns = self._columns(logits.detach())
            if not differentiate or leaf is None:
                return activations, logits, None
            with torch.enable_grad():
                scores = self._scores(logits)
            return activations, logits.detach(), self._gradients(scores, leaf, cut, self._kept(activations))

    def _columns(self, logits: Tensor) -> list[Column]:
        """The tokens themselves, then the likeliest alternatives at each position, each with its score."""
        return [Column(ids, self._score(logits, ids)) for ids in (self.ids, *self._alternatives(logits))]

    def _alternatives(self, logits: Tensor) -> tuple[Tensor, ...]:
        """The likeliest other tokens at each position: with the explained ones these hold the likeliest `alternatives`."""
        count = min(self.request.n_alternatives, logits.shape[-1])
        if count == 0:
            return ()
        own = self.ids.clamp(min=0)[..., None]
        likely = logits.topk(count, dim=-1).indices
        if count == logits.shape[-1] or bool(((likely == own).any(dim=-1) | ~self.real).all()):
            count -= 1  # the explained tokens are among them
        others = logits.scatter(-1, own, -torch.inf).topk(count, dim=-1).indices
        return torch.where(self.real[..., None], others, self.ids[..., None]).unbind(dim=-1)

    def _score(self, logits: Tensor, ids: Tensor) -> ScoreFn:
        """The requested score of `ids`, resolved at the photo's logits: rivals stay what they are there."""
        score = self.request.score
        if self.contrast_ids is not None:
            score = contrast_with(torch.where(self.contrast_ids >= 0, self.contrast_ids, most_likely_others(logits, ids)))
        elif isinstance(score, str):
            score = SCORES[score][1](logits, ids)
        else:
            refuse_mixing(score, _wide(logits), ids)
        return reversed_sign(score) if self.request.counterfactual else score

    def _scores(self, logits: Tensor) -> Tensor:
        """The scores `(rows, a, t)` of all columns."""
        return torch.stack([column.scores(logits) for column in self.columns], dim=1)

    def _kept(self, activations: Tensor, baseline: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """What is kept of a chunk of gradients `(m, b, ...)`: for linear methods `(m, b, h w + 1)`, else the gradients.

        The numbers are the cells of the maps, and what has no place: so memory does not grow with gradients of many words.
        """
        view = self.view
        if baseline is None and not self._linear:
            return self._checked
        at = _wide(activations)
        away = None if baseline is None else _wide(baseline)

        def kept(gradients: Tensor) -> Tensor:
            rest = None
            if away is None:
                method = METHODS[str(self.request.method)]
                maps = torch.stack([method(view.cells(at), view.cells(token)) for token in gradients])
            else:
                maps = evidence.evidence(view.cells(at), view.cells(away), view.cells(gradients))
                placeless, slopes = view.unplaced(at - away), view.unplaced(gradients)
                rest = None if placeless is None or slopes is None else (placeless * slopes).sum(dim=(-2, -1))
            self._checked(gradients, maps)
            rest = maps.new_zeros(maps.shape[:2]) if rest is None else rest
            return torch.cat([view.to_image(maps).flatten(-2), rest[..., None]], dim=-1)

        return kept

    def _unpack(self, kept: Tensor | None, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Token maps `(a, t, b, h, w)`, and what has no place adds this to the tokens' own scores `(b, t)`."""
        assert kept is not None
        h, w = self.view.to_image(self.view.cells(activations)[:, 0]).shape[-2:]
        return kept[..., :-1].unflatten(-1, (h, w)), kept[0, ..., -1].T  # type: ignore[no-untyped-call]

    def _attention(self, activations: Tensor) -> Tensor:
        """The model's own attention as token maps `(a, t, b, h, w)`: the same for all alternatives."""
        with torch.no_grad():
            maps: Tensor = self.adapter.attention(self.inputs, self.ids, activations)  # type: ignore[attr-defined]
        return (_wide(maps) * self.real[..., None, None]).transpose(0, 1).expand(len(self.columns), -1, -1, -1, -1)

    def _path_maps(self, activations: Tensor, baseline: Tensor) -> Tensor:
        """What is kept of the mean gradients on the way from `baseline`: evidence is linear in them, so its means do."""
        kept = self._kept(activations, baseline)
        return evidence.mean_gradients(
            lambda points: self._summed(points, kept),
            activations,
            baseline,
            n_steps=self.request.n_steps,
            steps_at_once=self._room,
        )

    def _summed(self, points: Tensor, kept: Callable[[Tensor], Tensor]) -> Tensor:
        """What is kept of the gradients of all scores, `(a, t, b, ...)`, summed over points `(n, b, c, h, w)`.

        One leaf of zeros is added to all points: its gradient is the sum, and none of size `(t, n, ...)` is kept.
        """
        n = len(points)
        module = self.adapter.head_input_layer if self._head_alone else None
        with ReadoutTap(self.adapter.readout) as cut, torch.enable_grad():
            if module is None:
                leaf = torch.zeros_like(points[0]).requires_grad_()
                scores = self._scores(self._logits((points + leaf).flatten(0, 1), n))
                return self._gradients(scores, leaf, cut, kept)
            with HeadInputTap(module, n) as tap:
                scores = self._scores(self._logits(points.flatten(0, 1), n))
            assert tap.leaf is not None
            return self._gradients(scores, tap.leaf, cut, lambda gradients: kept(tap.pull_back(gradients, points[0])))

    def _question(self, activations: Tensor) -> Tensor | None:
        """What each token of the question adds to the scores, `(t, b, q)`: the same along the question's embeddings.

        Integrated gradients from embeddings of 0 where the maps are evidence, else gradient times input. One leaf scales each
        token's embedding, so that its gradient is the share.
        """
        if self.words is None:
            return None
        words, grade = _wide(self.words), CROWDED if self._along_path else 1
        self.graph = 0  # another one, larger than the map's where the question is read before the layer

        def shares_at(steps: Tensor) -> Tensor:
            leaf, steps = torch.zeros_like(words[..., :1]).requires_grad_(), steps.view(-1, 1, 1, 1)
            with torch.enable_grad():
                points = (steps**grade + grade * steps ** (grade - 1) * leaf) * words
                with ReadoutTap(self.adapter.readout) as cut, self._question_tap(points.flatten(0, 1).to(self.words)):
                    scores = self.columns[0].scores(self._asked_logits(activations, len(points)))[:, None]
                return self._gradients(scores, leaf, cut, lambda chunk: chunk)[0, ..., 0]

        one = words.new_ones(())
        if not self._along_path:
            return shares_at(one)
        n_steps = self.request.n_steps
        return evidence.mean_gradients(shares_at, one, one - one, n_steps=n_steps, steps_at_once=self._room)

    def _asked_logits(self, activations: Tensor, copies: int) -> Tensor:
        """Logits of `copies` of the batch, from the layer's activations unless the question is read before it."""
        if getattr(self.adapter, "question_before_layer", False):
            return self.adapter.logits(self.inputs.repeat(copies), self.ids.repeat(copies, 1))
        return self._logits(activations.repeat(copies, *[1] * (activations.ndim - 1)), copies)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Keeps the embeddings `(b, q, d)` of the question's tokens when the network reads them inside."""
        if self.asked is None:
            yield
            return
        with self._question_tap() as tap:
            yield
        self.words = tap.activations

    def _room(self) -> int:
        """How many nodes may run at once: one, until it is known what its graph keeps."""
        return max(1, GRAPHS // self.graph) if self.graph else 1

    def _question_tap(self, replace: Tensor | None = None) -> LayerTap:
        assert self.adapter.question_layer is not None
        return LayerTap(self.adapter.question_layer, "question", replace=replace, view=self.asked)

    def _gradients(self, scores: Tensor, leaf: Tensor, cut: ReadoutTap, kept: Callable[[Tensor], Tensor]) -> Tensor:
        self.graph = self.graph or cut.graph.kept
        found, batched = token_gradients(scores, leaf, cut, lambda chunk: kept(_wide(chunk)))
        self.batched = self.batched and batched
        return found

    def _checked(self, gradients: Tensor, maps: Tensor | None = None) -> Tensor:
        """The gradients. Raises ValueError for what is no number. Looks at the maps first: they are smaller, and hold both."""
        found = gradients if maps is None else maps
        if not found.isfinite().all():
            layer = self.request.layer_name
            raise ValueError(f"the gradient at layer {layer!r} is not finite: check the model's weights and the photo's pixels")
        self.depends = self.depends or bool(found.any()) or bool(gradients.any())
        return gradients

    def _check_dependence(self) -> None:
        if not self.depends:
            raise ValueError(
                f"the text does not depend on layer {self.request.layer_name!r}: its gradient is zero everywhere; "
                "choose a layer that the head reads (weights that some libraries quantise give no gradient at all)"
            )

    def _logits(self, activations: Tensor, copies: int = 1) -> Tensor:
        """Logits from given activations of the tapped layer, `copies` times the batch."""
        if self._head_alone:
            return self._head(activations, copies)
        with self._tap(replace=activations):
            return self.adapter.logits(self.inputs.repeat(copies), self.ids.repeat(copies, 1))

    def _head(self, activations: Tensor, copies: int = 1) -> Tensor:
        own = activations.clone()  # heads may write on their input in place
        return self.adapter.logits(self.inputs, self.ids.repeat(copies, 1), own)

    def _baseline(self) -> Tensor:
        if self._head_alone:
            return self.adapter.baseline_activations(self.inputs)
        with self._tap() as tap:
            self.adapter.logits(self.adapter.baseline_inputs(self.inputs), self.ids)
        return tap.activations

    @property
    def _along_path(self) -> bool:
        return self.request.method == "evidence"

    @property
    def _linear(self) -> bool:
        return self.request.method in LINEAR

    @property
    def _head_alone(self) -> bool:
        """Whether the adapter can start from the tapped layer; from another one the whole network runs, overridden there."""
        return self.request.layer is self.adapter.layer

    def _tap(self, *, leaf: bool = False, replace: Tensor | None = None) -> LayerTap:
        return LayerTap(self.request.layer, self.request.layer_name, leaf=leaf, replace=replace, view=self.view)


def layer_view_of(adapter: TaskAdapter, inputs: Inputs, layer: nn.Module) -> LayerView:
    """How the adapter sees `layer`; as a tensor `(b, c, h, w)` unless it says otherwise."""
    own = getattr(adapter, "layer_view", None)
    return GridView() if own is None else own(inputs, layer)


def question_view_of(adapter: TaskAdapter, inputs: Inputs) -> ActivationSlice | None:
    """Which embeddings are the question's: all that its layer gives, unless the adapter says otherwise; None without any."""
    if adapter.question_layer is None or inputs.question_ids is None:
        return None
    own = getattr(adapter, "question_view", None)
    return GridView(3) if own is None else own(inputs)


def tap_layer(adapter: TaskAdapter, inputs: Inputs) -> LayerTap:
    """A tap on the adapter's own layer, seen as the adapter sees it."""
    return LayerTap(adapter.layer, view=layer_view_of(adapter, inputs, adapter.layer))


def rows_of_tap(inputs: Inputs, tap: LayerTap) -> Tensor | None:
    """The tapped activations, one row for each of `inputs`; None when the layer ran several times, or on other rows (beams)."""
    if tap.calls != 1:
        return None
    activations = tap.activations
    if len(activations) == len(inputs.pixels):
        return inputs.to_rows(activations)
    return activations if len(activations) == len(inputs) else None


def span_map(found: TokenMaps, row: int, tokens: slice, method: CamMethod, column: int = 0) -> Tensor:
    """The map `(h, w)` of a run of tokens by a method that is not linear: from the run's summed gradients."""
    assert found.gradients is not None
    gradients = found.gradients[column, tokens, row].sum(dim=0, keepdim=True)
    return found.view.to_image(method(_wide(found.activations[row : row + 1]), gradients))[0]


def _wide(tensor: Tensor) -> Tensor:
    """At least float32: sums over channels and words are not left to half precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
