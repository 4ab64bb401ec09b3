"""One photo, one text, and what `check` tries with them: each trial gives whether it is so, and by how much, or why not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core.attribution import attribute
from ..core.forward_pass import AttributionRequest, CutModel, ScoredTokens
from ..core.layer_layout import has_regions
from ..core.stored_values import mirrored, stored_values, with_inverted_box
from ..methods import METHODS, find_method
from ..methods.spec import MethodSpec
from ..scores import SCORES
from .causality_check import check_causality
from .compute_device import dtype_of
from .contract import TaskAdapter, group_by_batch_key, layer_view_of, log_prob_of, reads_raw, score_of
from .inputs import PAD, Inputs
from .layer_choice import resolve_layer
from .placement_check import check_boxes, check_placement
from .probe_photos import PhotoValues, as_image
from .relative_gap import relative_gap

if TYPE_CHECKING:
    from PIL.Image import Image

Finding = tuple[bool, str]
QUICK_TOKENS = 6  # of a text, unless a check is thorough: its time grows with the square of the text's length
SAME = 1e-3  # by how much what is to be the same may differ, as a share of its spread
SAME_HALF = 0.1  # the same in half precision
SLOPES = 0.05  # by how much slopes may differ from finite differences
SLOPES_HALF = 0.5
STEPS = (1e-2, 3e-3, 1e-3, 3e-4)  # of those, as shares of the activations: far enough for the numbers, near enough for slopes
STEPS_HALF = (0.3, 0.1, 0.03)
ROUNDING = 16  # units in the last place by which two passes may differ
UNCLEAR = 0.5  # share of the strongest change: a quarter that changes as much as this may be the right one
QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))
ARRANGEMENTS = {
    "upside down": ((1, 0), (1, 1), (0, 0), (0, 1)),
    "mirrored": ((0, 1), (0, 0), (1, 1), (1, 0)),
    "turned by 180 degrees": ((1, 1), (1, 0), (0, 1), (0, 0)),
    "transposed": ((0, 0), (1, 0), (0, 1), (1, 1)),
}


@dataclass(frozen=True)
class TrialRequest:
    """What is tried: the text (None: the model's own), the question, the layer (None: the model's own), and whether all of it.

    `thorough`: with every token of the text and every step of the finite differences; otherwise with the first `QUICK_TOKENS`,
    and with steps until one shows that the slopes are right.
    """

    text: str | None = None
    question: str | None = None
    layer: str | nn.Module | None = None
    thorough: bool = False


class AdapterTrial:
    """One photo, one text, one layer of a model. Raises what the adapter raises when it reads them."""

    def __init__(self, model: TaskAdapter, photo: Image, request: TrialRequest) -> None:
        self.model, self.photo, self.question = model, photo, request.question
        self.asked = None if request.question is None else [request.question]
        self.layer, self.layer_name = resolve_layer(model, request.layer)
        self.inputs = model.preprocess([photo], self.asked)
        self.longest = None if request.thorough else QUICK_TOKENS
        self.own_words = request.text is None
        self.ids = self._greedy() if request.text is None else model.tokenize([request.text])[:, : self.longest]
        self.steps: tuple[float, ...]
        self.dtype = dtype_of(model.module)
        half = self.dtype in (torch.float16, torch.bfloat16)
        self.same, self.near, self.steps = (SAME_HALF, SLOPES_HALF, STEPS_HALF) if half else (SAME, SLOPES, STEPS)
        self.enough = 0.0 if request.thorough else self.near  # a gap that ends the search for a step

    def _greedy(self) -> Tensor:
        """The model's own words, by the likeliest at each position; not every decoder takes a limit, or any option."""
        limit = {} if self.longest is None else {"max_words": self.longest}
        for options in ({"beam": 1, **limit}, {"beam": 1}):
            try:
                said = self.model.generate(self.inputs, **options)
                break
            except (TypeError, ValueError):
                continue
        else:
            said = self.model.generate(self.inputs)
        return said[:, : int((said != PAD).sum(dim=1)[0])][:, : self.longest]

    def no_grid(self) -> str | None:
        """Why the layer has no grid to draw on, and which layers have one; None if it has."""
        try:
            self._activations(self.inputs)
        except ValueError as error:
            return f"{error}{self._advice()}"
        return None

    def _advice(self) -> str:
        from .catalog import layer_rows

        try:
            layers = [row["layer"] for row in layer_rows(self.model) if row["used"] is not False]
        except ValueError:  # nor can the layers be listed
            layers = []
        return f"; layers that do: {', '.join(reversed(layers[-5:]))}" if layers else ""

    def words(self) -> Finding:
        said = self.ids if self.own_words else self._greedy()
        logits = self.model.logits(self.inputs, said)
        count = said.shape[1]
        right = self._right(logits, said)
        # a first end token must not be: one word may be the second likeliest
        if right >= count - (count > 1):
            return True, f"{right} of {count} tokens"
        cause = "generate says others than logits scores: give both the same prompt, start token and question"
        for step, which in ((1, "before"), (-1, "behind")):
            if count > 2 and self._right(logits.roll(-step, dims=1), said) > right:
                cause = f"logits scores the token {which}: position i must score ids[:, i], shift its inputs by one"
        return False, f"{right} of {count} tokens: {cause}{self._randomness()}"

    def causality(self) -> Finding:
        right, found = check_causality(lambda ids: self.model.logits(self.inputs, ids), self.ids, self.same)
        return right, found if right else f"{found}{self._randomness()}"

    def _right(self, logits: Tensor, said: Tensor) -> int:
        """How many tokens are the likeliest: of all, or of those that the text has, for others may be forbidden to it."""
        likeliest = logits.argmax(dim=-1) == said
        if len(set(said.flatten().tolist())) > 1 or self.model.task == "captioning":
            among = logits.gather(-1, said[:, None].expand(-1, said.shape[1], -1))
            likeliest |= logits.gather(-1, said[..., None])[..., 0] >= among.amax(dim=-1)
        return int(likeliest.sum())

    def head(self) -> Finding:
        cut = self._cut(METHODS["grad_cam"])
        with cut.tap() as tap:
            whole = self.model.logits(cut.inputs, self.ids)
        twice = tap.activations.repeat(2, *[1] * (tap.activations.ndim - 1))
        alone = cut.logits_from(twice, copies=2)
        cause = "logits(..., activations) must run just what follows the layer, and read no more of the photo"
        return self._alike(alone, whole.repeat(2, 1, 1), cause)

    def slopes(self) -> Finding:
        kept = find_method(lambda _, gradients: gradients.sum(dim=1))  # not linear: the gradients are kept
        cut = self._cut(kept)
        activations = self._activations(cut.inputs)
        own = (None, activations) if cut.from_adapter_layer else (None,)
        worst = max(self._slope_gap(cut, activations, known) for known in own)
        found = f"they differ by {worst:.1%}"
        if worst <= self.near:
            return True, found
        cause = "take out what has no gradient behind the layer, or one of its own: detach, no_grad, numpy, argmax, rounding"
        return False, f"{found}: {cause}{self._randomness()}"

    def _slope_gap(self, cut: CutModel, activations: Tensor, known: Tensor | None) -> float:
        """By how much slopes differ from finite differences, along themselves and anywhere; `known` starts at the layer."""
        found = attribute(self.model, self.inputs, self.ids, cut.request, activations=known)
        assert found.gradients is not None
        slopes, column = found.gradients[0, :, 0], ScoredTokens(self.ids, log_prob_of(self.model))  # (t, c, h, w)
        anywhere = torch.randn(slopes.shape[1:], generator=torch.Generator().manual_seed(0)).to(slopes)
        size, worst = found.view.cells(activations).float().norm(), 0.0
        for way in (slopes.sum(dim=0), anywhere):
            gaps = []
            for step in self.steps:
                cells = way * step * size / way.norm().clamp(min=1e-30)
                moves = _back(found.view.cells, activations, cells[None])
                logits = [cut.logits_from(activations + sign * moves) for sign in (1, -1)]
                up, down = (column.scores(one.double())[0] for one in logits)
                rounding = ROUNDING * torch.finfo(self.dtype).eps * float(logits[0].abs().max())
                gaps.append(relative_gap((slopes * cells).sum(dim=(1, 2, 3)), (up - down) / 2, rounding))
                if gaps[-1] <= self.enough:
                    break
            worst = max(worst, min(gaps))
        return worst

    def batch(self) -> Finding:
        if self.inputs.pixels.ndim == 3:
            return True, "not tried: features of regions are known of this photo only"
        both = [self.photo, mirrored(self.photo)]
        if len(group_by_batch_key(self.model, [(photo, self.question) for photo in both])) > 1:
            return True, "they run one after the other"
        request = self._request(METHODS["grad_cam"])

        def maps(photos: list[Image]) -> Tensor:
            asked = None if self.question is None else [self.question] * len(photos)
            ids = self.ids.repeat(len(photos), 1)
            found = attribute(self.model, self.model.preprocess(photos, asked), ids, request)
            assert found.maps is not None
            return found.maps[0]  # (t, b, h, w)

        cause = (
            "rows act on each other: look for a mean over the batch, a softmax over dim 0, batch norm that is always in "
            "training, rows that are sorted and not put back"
        )
        return self._alike(maps(both), torch.cat([maps([photo]) for photo in both], dim=1), cause)

    def placement(self) -> Finding:
        if self._has_regions:
            return True, "regions lie in boxes, wherever preprocess puts the photo"

        def process(photo: PhotoValues) -> Tensor:
            return self.model.preprocess([as_image(photo)], self.asked).pixels

        photo = stored_values(self.photo) if reads_raw(self.model) else self.photo
        return check_placement(self.inputs.placements[0], photo, process)

    def places(self) -> Finding:
        if self._has_regions:
            return check_boxes(self.inputs.placements[0].pixel_boxes(), self._region_changes)
        changes = self._changes()
        strongest = {at: max(changes, key=lambda part: changes[part][at].item()) for at in QUARTERS}
        right = sum(strongest[at] == at for at in QUARTERS)
        if right == len(QUARTERS):
            return True, "4 of 4 quarters"
        if all(changes[at][at] >= UNCLEAR * changes[strongest[at]][at] for at in QUARTERS):
            return True, "not to be seen: every cell of this layer depends on all of the photo"
        for name, order in ARRANGEMENTS.items():
            if tuple(strongest[at] for at in QUARTERS) == order:
                return False, f"{right} of 4 quarters: the grid is {name}: turn it back, or say by layout= what its axes are"
        cause = (
            "the layer's cells are in another order than (rows, columns), or placement= is that of another preprocess: "
            "leave layout= and placement= out, they are measured"
        )
        return False, f"{right} of 4 quarters: {cause}"

    @property
    def _has_regions(self) -> bool:
        return has_regions(layer_view_of(self.model, self.inputs, self.layer))

    def _region_changes(self, box: tuple[int, int, int, int]) -> Tensor:
        """How much each region `(r,)` changes when a box of the photo is inverted; none for features that are looked up."""
        if self.inputs.pixels.ndim == 3:
            return torch.zeros(len(self.inputs.placements[0].boxes))
        view = layer_view_of(self.model, self.inputs, self.layer)
        other = self.model.preprocess([with_inverted_box(self.photo, box)], self.asked).pixels
        before, after = (self._activations(replace(self.inputs, pixels=one)) for one in (self.inputs.pixels, other))
        return view.cells(after - before)[0].float().square().sum(dim=0)[:, 0]

    def _changes(self) -> Mapping[tuple[int, int], Tensor]:
        """For each quarter of what the model sees: how the change of the layer's grid is spread when it is inverted, (2, 2)."""
        view = layer_view_of(self.model, self.inputs, self.layer)

        def cells(photo: Image) -> Tensor:
            return view.cells(self._activations(self.model.preprocess([photo], self.asked)))[0].float()

        x0, y0, x1, y1 = self.inputs.placements[0].frame
        width, height = self.photo.size
        before, changes = cells(self.photo), {}
        for i, j in itertools.product((0, 1), (0, 1)):
            across = sorted(round(width * min(max(x0 + (x1 - x0) * side / 2, 0), 1)) for side in (j, j + 1))
            down = sorted(round(height * min(max(y0 + (y1 - y0) * side / 2, 0), 1)) for side in (i, i + 1))
            other = with_inverted_box(self.photo, (across[0], down[0], across[1], down[1]))
            change = view.to_image((cells(other) - before).square().sum(dim=0)[None])
            quarters = torch.nn.functional.adaptive_avg_pool2d(change, 2)[0]
            changes[i, j] = quarters / quarters.sum().clamp(min=1e-30)  # some parts of a photo matter more than others
        return changes

    def _activations(self, inputs: Inputs) -> Tensor:
        cut = self._cut(METHODS["grad_cam"], inputs)
        with cut.tap() as tap:
            self.model.logits(cut.inputs, self.ids)
        return tap.activations

    def _cut(self, method: MethodSpec, inputs: Inputs | None = None) -> CutModel:
        own, inputs = self.layer is self.model.layer, inputs or self.inputs
        view = layer_view_of(self.model, inputs, self.layer)
        return CutModel(self.model, inputs if own else inputs.expand_images(), self.ids, self._request(method), view, own)

    def _request(self, method: MethodSpec) -> AttributionRequest:
        return AttributionRequest(self.layer, self.layer_name, method, score_of(self.model, SCORES["log_prob"]))

    def _alike(self, found: Tensor, expected: Tensor, cause: str) -> Finding:
        if found.shape != expected.shape:
            return False, f"shapes {tuple(found.shape)} and {tuple(expected.shape)}, expected the same: {cause}"
        gap = relative_gap(found, expected)
        text = f"they differ by {gap:.2g} of their spread"
        return (True, text) if gap <= self.same else (False, f"{text}: {cause}{self._randomness()}")

    def _randomness(self) -> str:
        """A cause behind all others: the preprocessing, or the network, gives something else each time."""
        again = self.model.preprocess([self.photo], self.asked).pixels
        if again.shape != self.inputs.pixels.shape or not torch.equal(again, self.inputs.pixels):
            return ". First of all, preprocess gives other pixels each time: leave out what draws random numbers (RandomErasing)"
        first, second = (self.model.logits(self.inputs, self.ids) for _ in range(2))
        if relative_gap(first, second) <= self.same:
            return ""
        return ". First of all, it gives other logits each time: F.dropout needs training=self.training, noise an end"


def _back(take: Callable[[Tensor], Tensor], activations: Tensor, cells: Tensor) -> Tensor:
    """What is to be added to `activations` so that the cells which `take` finds in them move by `cells`."""
    with torch.enable_grad():
        leaf = activations.detach().requires_grad_()
        (moves,) = torch.autograd.grad(take(leaf), leaf, cells.to(activations))
    return moves
