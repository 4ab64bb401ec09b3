"""A bridge to Quantus (Hedström et al., JMLR 2023): its metrics on the maps of words. `pip install multimodal-cam[quantus]`.

    import quantus
    e = mc.explain(model, "photo.jpg")
    batch = words_as_classes(model, e, boxes={"dog": [(0.2, 0.1, 0.7, 0.9)]})
    quantus.PointingGame()(**batch)

Quantus measures classifiers: a model from pixels to numbers, and which of them is explained. Under a fixed text a captioner is
one: its classes are the words of that text, each given the words before it. Quantus itself is not imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._explanation import Explanation
from ..adapters.contract import TaskAdapter, log_prob_of, score_of
from ..adapters.inputs import Inputs
from ..adapters.layer_choice import resolve_layer
from ..core.attribution import attribute
from ..core.call_scope import evaluation_mode
from ..core.forward_pass import AttributionRequest
from ..core.geometry import Placement
from ..core.spans import Span
from ..methods import METHODS
from ..metrics.localization import Box
from ..scores import find_score


class WordClassifier(nn.Module):
    """Pixels `(n, 3, H, W)` -> log-probabilities `(n, k)` of the `k` words of one text, each given the words before it.

    A copy, as Quantus makes them to randomise weights, has a network of its own.
    """

    def __init__(
        self, adapter: TaskAdapter, inputs: Inputs, ids: Tensor, words: Sequence[Span], request: AttributionRequest
    ) -> None:
        super().__init__()
        self.network = adapter.module  # registered: Quantus looks for layers among the submodules
        self.adapter, self.inputs, self.ids, self.words, self.request = adapter, inputs, ids, tuple(words), request
        self.training = False  # of this module only: Quantus asks for it, and the network is put back after each pass

    def forward(self, pixels: Tensor) -> Tensor:
        inputs, ids = self._rows(pixels)
        with evaluation_mode(self.network):
            tokens = log_prob_of(self.adapter)(self.adapter.logits(inputs, ids), ids)
        return torch.stack([tokens[:, word.start : word.stop].sum(dim=1) for word in self.words], dim=1)

    def maps(self, pixels: Tensor, words: Sequence[int]) -> Tensor:
        """The map of word `words[i]` on photo `i`, by the explanation's method, score and layer: `(n, h, w)`."""
        inputs, ids = self._rows(pixels)
        with evaluation_mode(self.network):
            found = attribute(self.adapter, inputs, ids, self.request, spans=[self.words] * len(ids))
        rows = []
        for row, index in enumerate(words):
            tokens = slice(self.words[index].start, self.words[index].stop)
            rows.append(found.span_map(row, tokens, self.request.method))
        return torch.stack(rows)

    def _rows(self, pixels: Tensor) -> tuple[Inputs, Tensor]:
        n, one = len(pixels), self.inputs
        question = None if one.question_ids is None else one.question_ids.repeat(n, 1)
        inputs = replace(one, pixels=pixels.to(one.pixels), placements=one.placements * n, question_ids=question)
        return inputs, self.ids.repeat(n, 1)


def words_as_classes(
    model: TaskAdapter, explanation: Explanation, boxes: Mapping[str | int, Sequence[Box]] | None = None
) -> dict[str, Any]:
    """The arguments of a Quantus metric, one row a word: `metric(**words_as_classes(...))`.

    `x_batch` `(k, 3, H, W)` is the photo as the network takes it, `y_batch` `(k,)` which word of the text is explained,
    `a_batch` `(k, 1, H, W)` its map drawn at that size, `s_batch` the masks of its boxes (fractions of the photo), `model` a
    `WordClassifier`, `explain_func` explains it anew, as metrics of randomisation and robustness need. With `boxes` the rows are
    their words, in their order; without, all words that the model knows, and no `s_batch`: metrics of localisation need boxes.

    Raises ValueError when `explanation` is not this model's, WordError for a word that it does not have.
    """
    if explanation.placement.boxes:
        raise ValueError("maps of regions are no pictures, which Quantus measures: it needs a network with a grid")
    chosen = [explanation.find(word) for word in boxes] if boxes else [word for word in explanation.words if word.known]
    question = None if explanation.question is None else [explanation.question]
    inputs = model.preprocess([explanation.image], question)
    classifier = WordClassifier(model, inputs, _ids(model, explanation), explanation.words, _request(model, explanation))
    size = (inputs.pixels.shape[-2], inputs.pixels.shape[-1])
    maps = torch.stack([explanation.map(word) for word in chosen])
    batch: dict[str, Any] = {
        "model": classifier,
        "x_batch": inputs.pixels.expand(len(chosen), -1, -1, -1).cpu().numpy().copy(),
        "y_batch": np.array([explanation.words.index(word) for word in chosen]),
        "a_batch": _drawn(maps, size),
        "explain_func": _explain,
    }
    if boxes:
        batch["s_batch"] = np.stack([_mask(own, inputs.placements[0], size) for own in boxes.values()])
    return batch


def _ids(model: TaskAdapter, explanation: Explanation) -> Tensor:
    ids = model.tokenize([explanation.text], "unk")
    tokens = tuple(model.tokens(ids[0].tolist()))
    if tokens != explanation.tokens:
        raise ValueError(f"{model.name} reads {explanation.text!r} as {tokens}, it was explained as {explanation.tokens}")
    return ids


def _request(model: TaskAdapter, explanation: Explanation) -> AttributionRequest:
    if explanation.instead_of:
        raise ValueError("instead_of compares with words of the user's choice, which Quantus cannot repeat: explain without it")
    score, method = score_of(model, find_score(explanation.score)), explanation.method
    if method not in METHODS:
        raise ValueError(f"method {method!r} is a function of yours: Quantus needs one of {', '.join(METHODS)}")
    layer, name = resolve_layer(model, explanation.layer if METHODS[method].uses_layer else None)
    n_steps = int(explanation.provenance.get("n_steps", AttributionRequest.n_steps))
    return AttributionRequest(layer, name, METHODS[method], score, n_steps, explanation.counterfactual)


def _explain(model: WordClassifier, inputs: Any, targets: Any, **_: Any) -> NDArray[np.float32]:
    """Quantus' `explain_func`: photos `(n, 3, H, W)` and word indices `(n,)` -> maps `(n, 1, H, W)`."""
    pixels = torch.as_tensor(np.asarray(inputs))
    return _drawn(model.maps(pixels, [int(target) for target in targets]), (pixels.shape[-2], pixels.shape[-1]))


def _drawn(maps: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """At the network's input, all of which the grid covers, whatever part of the photo that is."""
    drawn = nn.functional.interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)
    pixels: NDArray[np.float32] = drawn.cpu().numpy()
    return pixels


def _mask(boxes: Sequence[Box], placement: Placement, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels of the network's input have their centres in a box of the photo: `(1, H, W)`."""
    left, top, right, bottom = placement.frame
    ys = top + (np.arange(size[0])[:, None] + 0.5) / size[0] * (bottom - top)
    xs = left + (np.arange(size[1])[None, :] + 0.5) / size[1] * (right - left)
    mask = np.zeros((1, *size), dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask |= (x0 <= xs) & (xs <= x1) & (y0 <= ys) & (ys <= y1)
    return mask
