"""check(): what must be true of any adapter, tried on a photo. For people who add a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.attribution import attribute
from ..core.call_scope import unchanged_state
from ..core.forward_pass import AttributionRequest, ScoredTokens
from ..core.images import load_image
from ..core.stored_values import mirrored, stored_values, with_inverted_box
from ..methods import METHODS, find_method
from ..scores import SCORES
from .compute_device import dtype_of
from .contract import TaskAdapter, group_by_batch_key, layer_view_of, log_prob_of, reads_raw, score_of, tap_layer
from .inputs import PAD
from .layer_choice import resolve_layer
from .placement_check import check_placement
from .probe_photos import PhotoValues, as_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..core.images import ImageSource

SAME = 1e-3  # by how much what is to be the same may differ, as a share of its size
SAME_HALF = 0.1  # the same in half precision
SLOPES = 0.05  # by how much slopes may differ from finite differences
SLOPES_HALF = 0.5
STEPS = (1e-2, 3e-3, 1e-3, 3e-4)  # of those, as shares of the activations: far enough for the numbers, near enough for slopes
STEPS_HALF = (0.3, 0.1, 0.03)


@dataclass(frozen=True)
class Check:
    """What was tried, whether it is so, and by how much."""

    name: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok    ' if self.passed else 'FAILED'} {self.name}: {self.detail}"


def check(model: TaskAdapter, image: ImageSource, *, text: str | None = None, question: str | None = None) -> tuple[Check, ...]:
    """Tries on one photo what must be true of a model's adapter; maps of a model that fails are wrong.

    - Its own words are the likeliest ones where `logits` scores them: no position is off by one.
    - `logits` from the layer's activations are those from the photo: the head is the rest of the network.
    - The slopes at the layer are finite differences.
    - Two photos at once are each photo alone.
    - The stated placement is the one that is measured with photos of known patterns.
    - A quarter of the photo changes its own quarter of the layer's grid most: cells stand where the placement says.

    `text` is what is explained, by default what the model says. `print(*check(...), sep="\\n")` shows what was found, and
    `all(one.passed for one in check(...))` is for a test. What an adapter raises fails the check in which it does.
    """
    photo = load_image(image, raw=reads_raw(model))
    with unchanged_state(model.module), torch.no_grad():
        try:
            work = _Work(model, photo, text, question)
        except Exception as error:
            return (Check("preprocess, generate and tokenize", False, _message(error)),)
        tries: dict[str, Callable[[], tuple[bool, str]]] = {
            "its own words are the likeliest": work.words,
            "the head is the rest of the network": work.head,
            "slopes are finite differences": work.slopes,
            "two photos at once are each alone": work.batch,
            "the placement is where preprocess puts the photo": work.placement,
            "cells lie where the placement says": work.places,
        }
        return tuple(_tried(name, run) for name, run in tries.items())


def _tried(name: str, run: Callable[[], tuple[bool, str]]) -> Check:
    try:
        return Check(name, *run())
    except Exception as error:
        return Check(name, False, _message(error))


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Work:
    """One photo, one text, and what is tried with them: each gives whether it is so, and by how much."""

    def __init__(self, model: TaskAdapter, photo: Image, text: str | None, question: str | None) -> None:
        self.model, self.photo, self.question = model, photo, question
        self.asked = None if question is None else [question]
        self.inputs = model.preprocess([photo], self.asked)
        self.own_words = text is None
        self.ids = _greedy(model, self.inputs) if text is None else model.tokenize([text])
        self.steps: tuple[float, ...]
        half = dtype_of(model.module) in (torch.float16, torch.bfloat16)
        self.same, self.near, self.steps = (SAME_HALF, SLOPES_HALF, STEPS_HALF) if half else (SAME, SLOPES, STEPS)

    def words(self) -> tuple[bool, str]:
        said = self.ids if self.own_words else _greedy(self.model, self.inputs)
        likeliest = self.model.logits(self.inputs, said).argmax(dim=-1)
        right, count = int((likeliest == said).sum()), said.shape[1]
        # a first end token must not be: one word may be the second likeliest
        return right >= count - (count > 1), f"{right} of {count} tokens"

    def head(self) -> tuple[bool, str]:
        with tap_layer(self.model, self.inputs) as tap:
            whole = self.model.logits(self.inputs, self.ids)
        twice = tap.activations.repeat(2, *[1] * (tap.activations.ndim - 1))
        alone = self.model.logits(self.inputs, self.ids.repeat(2, 1), twice)
        return self._alike(alone, whole.repeat(2, 1, 1))

    def slopes(self) -> tuple[bool, str]:
        layer, name = resolve_layer(self.model, None)
        with tap_layer(self.model, self.inputs) as tap:
            self.model.logits(self.inputs, self.ids)
        kept = find_method(lambda _, gradients: gradients.sum(dim=1))  # not linear: the gradients are kept
        request = AttributionRequest(layer, name, kept, score_of(self.model, SCORES["log_prob"]))
        worst = max(self._slopes(request, tap.activations, known) for known in (None, tap.activations))
        return worst <= self.near, f"they differ by {worst:.1%}"

    def _slopes(self, request: AttributionRequest, activations: Tensor, known: Tensor | None) -> float:
        """By how much slopes differ from finite differences, along themselves and anywhere; `known` starts at the layer."""
        found = attribute(self.model, self.inputs, self.ids, request, activations=known)
        assert found.gradients is not None
        slopes, column = found.gradients[0, :, 0], ScoredTokens(self.ids, log_prob_of(self.model))  # (t, c, h, w)
        anywhere = torch.randn(slopes.shape[1:], generator=torch.Generator().manual_seed(0)).to(slopes)
        size, worst = found.view.cells(activations).float().norm(), 0.0
        for way in (slopes.sum(dim=0), anywhere):
            gaps = []
            for step in self.steps:
                cells = way * step * size / way.norm()
                moves = _back(found.view.cells, activations, cells[None])
                logits = [self.model.logits(self.inputs, self.ids, activations + sign * moves) for sign in (1, -1)]
                up, down = (column.scores(one.double())[0] for one in logits)
                gaps.append(_difference((slopes * cells).sum(dim=(1, 2, 3)), (up - down) / 2))
            worst = max(worst, min(gaps))
        return worst

    def batch(self) -> tuple[bool, str]:
        both = [self.photo, mirrored(self.photo)]
        if len(group_by_batch_key(self.model, [(photo, self.question) for photo in both])) > 1:
            return True, "they run one after the other"
        layer, name = resolve_layer(self.model, None)
        request = AttributionRequest(layer, name, METHODS["grad_cam"], score_of(self.model, SCORES["log_prob"]))

        def maps(photos: list[Image]) -> Tensor:
            asked = None if self.question is None else [self.question] * len(photos)
            ids = self.ids.repeat(len(photos), 1)
            found = attribute(self.model, self.model.preprocess(photos, asked), ids, request)
            assert found.maps is not None
            return found.maps[0]  # (t, b, h, w)

        return self._alike(maps(both), torch.cat([maps([photo]) for photo in both], dim=1))

    def placement(self) -> tuple[bool, str]:
        def process(photo: PhotoValues) -> Tensor:
            return self.model.preprocess([as_image(photo)], self.asked).pixels

        photo = stored_values(self.photo) if reads_raw(self.model) else self.photo
        return check_placement(self.inputs.placements[0], photo, process)

    def places(self) -> tuple[bool, str]:
        inputs = self.inputs
        view = layer_view_of(self.model, inputs, self.model.layer)

        def cells(photo: Image) -> Tensor:
            with tap_layer(self.model, seen := self.model.preprocess([photo], self.asked)) as tap:
                self.model.logits(seen, self.ids)
            return view.cells(tap.activations)[0].float()

        x0, y0, x1, y1 = inputs.placements[0].frame
        width, height = self.photo.size
        before, changes = cells(self.photo), {}
        for i in (0, 1):
            for j in (0, 1):
                across = sorted(round(width * min(max(x0 + (x1 - x0) * side / 2, 0), 1)) for side in (j, j + 1))
                down = sorted(round(height * min(max(y0 + (y1 - y0) * side / 2, 0), 1)) for side in (i, i + 1))
                box = (across[0], down[0], across[1], down[1])
                other = with_inverted_box(self.photo, box)
                change = view.to_image((cells(other) - before).square().sum(dim=0)[None])
                quarters = torch.nn.functional.adaptive_avg_pool2d(change, 2)[0]
                changes[i, j] = quarters / quarters.sum()  # some parts of a photo matter more than others
        right = sum(max(changes, key=lambda part: changes[part][at].item()) == at for at in changes)
        return right == 4, f"{right} of 4 quarters"

    def _alike(self, found: Tensor, expected: Tensor) -> tuple[bool, str]:
        if found.shape != expected.shape:
            return False, f"shapes {tuple(found.shape)} and {tuple(expected.shape)}"
        gap = _difference(found, expected)
        return gap <= self.same, f"they differ by {gap:.2g} of their spread"


def _greedy(model: TaskAdapter, inputs: Any) -> Tensor:
    """The model's own words, by the likeliest at each position; a model that chooses an answer has no options."""
    try:
        said = model.generate(inputs, beam=1)
    except TypeError:
        said = model.generate(inputs)
    return said[:, : int((said != PAD).sum(dim=1)[0])]


def _back(take: Callable[[Tensor], Tensor], activations: Tensor, cells: Tensor) -> Tensor:
    """What is to be added to `activations` so that the cells which `take` finds in them move by `cells`."""
    with torch.enable_grad():
        leaf = activations.detach().requires_grad_()
        (moves,) = torch.autograd.grad(take(leaf), leaf, cells.to(activations))
    return moves


def _difference(found: Tensor, expected: Tensor) -> float:
    """As a share of what is expected, its mean taken off where it has several values."""
    found, expected = found.double(), expected.double()
    spread = expected - expected.mean() if expected.numel() > 1 else expected
    real = expected.isfinite() & found.isfinite()
    gap = torch.where(real, found - expected, 0).norm() / torch.where(real, spread, 0).norm().clamp(min=1e-30)
    return float(gap)
