"""All tokens of a batch of images -> one map each: the Grad-CAM engine that serves every model and method."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from . import evidence
from .adapters import Inputs, TaskAdapter
from .methods import LINEAR, METHODS, CamMethod
from .scores import SCORES, ScoreFn, log_prob, refuse_mixing
from .tap import BUDGET, AffineTap, LayerTap, ReadoutTap, token_gradients


@dataclass(frozen=True)
class Request:
    """What is to be explained, resolved: functions and modules, no names to look up any more."""

    layer: nn.Module
    layer_name: str
    method: str | CamMethod
    score: str | ScoreFn
    nodes: int = 16


@dataclass
class TokenMaps:
    """What the engine found: `b` images, `t` tokens, padding is 0. `maps` for linear methods, else `gradients`."""

    activations: Tensor  # (b, c, h, w)
    scores: Tensor  # (b, t)
    log_probs: Tensor  # (b, t)
    reliance: Tensor  # (b, t)
    maps: Tensor | None = None  # (t, b, h, w)
    gradients: Tensor | None = None  # (t, b, c, h, w)
    changes: Tensor | None = None  # (b, t), evidence only
    notes: dict[str, str] = field(default_factory=dict)


class Batch:
    """A batch of images under teacher forcing; knows the photo's activations once the backbone has run."""

    def __init__(self, adapter: TaskAdapter, inputs: Inputs, question: str | None, ids: Tensor, request: Request) -> None:
        self.adapter, self.inputs, self.question, self.request = adapter, inputs, question, request
        self.ids, self.real = ids, ids >= 0
        self.batched = True
        self.score: ScoreFn = log_prob

    def explain(self, activations: Tensor | None = None) -> TokenMaps:
        """One backbone pass (none when `activations` are known), then head passes only."""
        with torch.no_grad():
            activations, logits, gradients = self._photo(activations)
            baseline = self._baseline(activations)
            nothing = self._logits(baseline.expand_as(activations))
        if gradients is None:
            gradients = self._path_gradients(activations, baseline)
        maps = self._maps(activations, baseline, gradients)
        _check(gradients, gradients if maps is None else maps, self.request.layer_name)
        scores, log_probs = self._masked(self.score, logits), self._masked(log_prob, logits)
        return TokenMaps(
            activations,
            scores,
            log_probs,
            reliance=log_probs - self._masked(log_prob, nothing),
            maps=maps,
            gradients=gradients if maps is None else None,
            changes=scores - self._masked(self.score, nothing) if self._along_path else None,
            notes={"products": "batched" if self.batched else "looped"},
        )

    def _photo(self, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The photo's activations, its logits, and the gradients there (None for `evidence`): one pass over the network."""
        differentiate = not self._along_path
        with ReadoutTap(self.adapter.readout) as cut:
            leaf: Tensor | None
            if known is not None and self._head_alone:
                activations, leaf = known, known.detach().requires_grad_(differentiate)
                with torch.set_grad_enabled(differentiate):
                    logits = self._head(leaf)
            else:
                with torch.no_grad(), self._tap(leaf=differentiate) as tap:
                    logits = self.adapter.logits(self.inputs, self.question, self.ids)
                activations, leaf = tap.activations, tap.leaf
            self.score = _resolve(self.request.score, logits.detach(), self.ids)
            if not differentiate or leaf is None:
                return activations, logits, None
            with torch.enable_grad():
                scores = self._masked(self.score, logits)
            return activations, logits.detach(), self._gradients(scores, leaf, cut)

    def _maps(self, activations: Tensor, baseline: Tensor, gradients: Tensor) -> Tensor | None:
        """Token maps `(t, b, h, w)`; None for a method whose maps do not add up."""
        if self._along_path:
            return evidence.evidence(activations, baseline, gradients)
        if self.request.method not in LINEAR:
            return None
        method = METHODS[str(self.request.method)]
        return torch.stack([method(_wide(activations), token) for token in gradients])

    def _path_gradients(self, activations: Tensor, baseline: Tensor) -> Tensor:
        room = max(1, BUDGET // (4 * activations.numel()))
        return evidence.mean_gradients(
            self._summed_gradients, activations, baseline, nodes=self.request.nodes, nodes_at_once=room
        )

    def _summed_gradients(self, points: Tensor) -> Tensor:
        """Gradients of all tokens `(t, b, c, h, w)`, summed over points `(n, b, c, h, w)`.

        One leaf of zeros is added to all points: its gradient is the sum, and none of size `(t, n, ...)` is kept.
        """
        n = len(points)
        affine = self.adapter.affine if self._head_alone else None
        with ReadoutTap(self.adapter.readout) as cut, torch.enable_grad():
            if affine is None:
                leaf = torch.zeros_like(points[0]).requires_grad_()
                scores = self._repeated_scores((points + leaf).flatten(0, 1), n)
                return self._gradients(scores, leaf, cut)
            with AffineTap(affine, n) as tap:
                scores = self._repeated_scores(points.flatten(0, 1), n)
            assert tap.leaf is not None
            return tap.pull_back(self._gradients(scores, tap.leaf, cut), points[0])

    def _repeated_scores(self, activations: Tensor, copies: int) -> Tensor:
        scores = self.score(_wide(self._logits(activations, copies)), self.ids.repeat(copies, 1))
        return scores * self.real.repeat(copies, 1)

    def _masked(self, score: ScoreFn, logits: Tensor) -> Tensor:
        return torch.where(self.real, score(_wide(logits), self.ids), 0)

    def _gradients(self, scores: Tensor, leaf: Tensor, cut: ReadoutTap) -> Tensor:
        gradients, batched = token_gradients(scores, leaf, cut)
        self.batched = self.batched and batched
        return _wide(gradients)

    def _logits(self, activations: Tensor, copies: int = 1) -> Tensor:
        """Logits from given activations of the tapped layer, `copies` times the batch."""
        if self._head_alone:
            return self._head(activations, copies)
        with self._tap(replace=activations):
            return self.adapter.logits(self.inputs.repeat(copies), self.question, self.ids.repeat(copies, 1))

    def _head(self, activations: Tensor, copies: int = 1) -> Tensor:
        own = activations.clone()  # heads may write on their input in place
        return self.adapter.logits(self.inputs, self.question, self.ids.repeat(copies, 1), own)

    def _baseline(self, activations: Tensor) -> Tensor:
        if self._head_alone:
            return self.adapter.baseline(self.inputs).to(activations)
        with self._tap() as tap:
            self.adapter.logits(self.adapter.blank(self.inputs), self.question, self.ids)
        return tap.activations

    @property
    def _along_path(self) -> bool:
        return self.request.method == "evidence"

    @property
    def _head_alone(self) -> bool:
        """Whether the adapter can start from the tapped layer; from another one the whole network runs, overridden there."""
        return self.request.layer is self.adapter.layer

    def _tap(self, *, leaf: bool = False, replace: Tensor | None = None) -> LayerTap:
        return LayerTap(self.request.layer, self.request.layer_name, leaf=leaf, replace=replace)


def span_map(found: TokenMaps, image: int, tokens: slice, method: CamMethod) -> Tensor:
    """The map `(h, w)` of a run of tokens by a method that is not linear: from the run's summed gradients."""
    assert found.gradients is not None
    gradients = found.gradients[tokens, image].sum(dim=0, keepdim=True)
    return method(_wide(found.activations[image : image + 1]), gradients)[0]


def _wide(tensor: Tensor) -> Tensor:
    """At least float32: sums over channels and words are not left to half precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _resolve(score: str | ScoreFn, logits: Tensor, ids: Tensor) -> ScoreFn:
    if isinstance(score, str):
        return SCORES[score][1](logits, ids)
    refuse_mixing(score, _wide(logits), ids)
    return score


def _check(gradients: Tensor, found: Tensor, layer: str) -> None:
    """Raises ValueError for gradients that are no numbers, or all 0. Looks at the smaller `found` first: it holds both."""
    if not found.isfinite().all():
        raise ValueError(f"the gradient at layer {layer!r} is not finite: check the model's weights and the photo's pixels")
    if not found.any() and not gradients.any():
        raise ValueError(
            f"the text does not depend on layer {layer!r}: its gradient is zero everywhere; choose a layer that the head reads"
        )
