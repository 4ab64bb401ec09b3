"""ILSVRC's localisation error (Russakovsky et al., IJCV 2015, section 4.2) of a classifier's maps.

A photo is localised at top 1 if the likeliest class is on it and the box of its map overlaps one of that class's boxes by .5 or
more; at top 5 if that holds for any of the likeliest five. Selvaraju et al. (IJCV 2020, section 4.1) make the boxes by 15 % of
each map's maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...adapters.contract import TaskAdapter, group_by_batch_key, reads_raw, score_of
from ...adapters.labels import LabelChooser
from ...adapters.layer_choice import resolve_layer
from ...core.attribution import attribute
from ...core.call_scope import unchanged_state
from ...core.forward_pass import AttributionRequest
from ...core.geometry import Placement
from ...core.images import load_image
from ...core.token_maps import TokenMaps
from ...data.readers.ilsvrc import LocalizedPhoto
from ...data.readers.voc_annotation import Box
from ...metrics.intervals import mean_intervals
from ...metrics.overlap import HIT, BoxRule, best_iou
from ...results.photo_boxes import map_boxes
from ...scores import find_score
from ..measure.method_variants import parse_method
from .localisation_error import BLIND, error_of, error_row

GUESSES = 5
Hits = dict[str, tuple[bool, bool]]  # source of the boxes -> whether a photo is localised at top 1, at top 5


@dataclass(frozen=True)
class _Guess:
    """One of the likeliest classes of a photo: the true boxes of that class, none if it is not there, and those of its map."""

    truth: tuple[Box, ...]
    found: tuple[Box, ...]

    def overlaps(self, boxes: Sequence[Box]) -> bool:
        """Whether the class is there, and one of `boxes` on it."""
        if not self.truth or not boxes:
            return False
        return bool((best_iou(torch.tensor(boxes, dtype=torch.float64), self.truth) >= HIT).any())


def class_errors(
    model: TaskAdapter,
    photos: Sequence[LocalizedPhoto],
    classes: Sequence[str],
    methods: Sequence[str],
    *,
    rule: BoxRule = "segment",
    batch_size: int = 16,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Rows with the top-1 and top-5 error of each method's boxes, and of boxes in their place: the centre, the whole image, the
    box of the next class's map, and no box at all (the error of classification).

    Args:
        classes: WordNet ids in the order of the network's outputs.

    Raises:
        ValueError: The model is no classifier, or has another number of classes.
    """
    if not isinstance(model, LabelChooser) or model.task != "classification":
        raise ValueError(f"{model.name} is no classifier: ILSVRC's error is of the likeliest classes")
    if len(model.labels) != len(classes):
        raise ValueError(f"{model.name} has {len(model.labels)} classes, LOC_synset_mapping.txt {len(classes)}: expected as many")
    rows = []
    for method in methods:
        hits: list[Hits] = []
        with unchanged_state(model.module):
            for start in range(0, len(photos), batch_size):
                hits += _measured(model, photos[start : start + batch_size], classes, method, rule)
                progress(min(batch_size, len(photos) - start))
        names = [str(photo.image) for photo in photos]
        for source in hits[0]:
            columns = {f"top-{k} error": [float(hit[source][i]) for hit in hits] for i, k in enumerate((1, GUESSES))}
            errors = {name: error_of(interval) for name, interval in mean_intervals(columns, names, seed=seed).items()}
            rows.append(error_row({"model": model.name, "method": method, "rule": rule, "boxes": source}, errors))
    return rows


def _measured(
    model: TaskAdapter, photos: Sequence[LocalizedPhoto], classes: Sequence[str], method: str, rule: BoxRule
) -> list[Hits]:
    """The hits of a batch of photos by a method."""
    variant = parse_method(method)
    layer, name = resolve_layer(model, variant.layer)
    score = score_of(model, find_score(model.default_score))
    request = AttributionRequest(layer, name, variant.spec, score, n_alternatives=GUESSES)
    images = [load_image(photo.image, raw=reads_raw(model)) for photo in photos]
    found: dict[int, Hits] = {}
    for group in group_by_batch_key(model, [(image, None) for image in images]):
        inputs = model.preprocess([images[i] for i in group])
        with torch.no_grad():
            ids = model.generate(inputs)
        tokens = attribute(model, inputs, ids, request)
        for row, i in enumerate(group):
            maps = _Maps(tokens, row, variant.finish, inputs.placements[row])
            found[i] = _hits(list(maps.guesses(method, photos[i], classes, rule)))
    return [found[i] for i in range(len(photos))]


@dataclass(frozen=True)
class _Maps:
    """The maps of one photo's likeliest classes."""

    tokens: TokenMaps
    row: int
    finish: Callable[[torch.Tensor], torch.Tensor]
    placement: Placement

    def guesses(self, method: str, photo: LocalizedPhoto, classes: Sequence[str], rule: BoxRule) -> Iterator[_Guess]:
        """The likeliest classes, best first, with the boxes of their maps in fractions of the photo."""
        sides = torch.tensor([self.placement.width, self.placement.height] * 2, dtype=torch.float64)
        for column, class_id in enumerate(self.tokens.ids[:GUESSES, self.row, 0].tolist()):
            spec = parse_method(method).spec
            map = self.finish(self.tokens.span_map(self.row, slice(0, 1), spec, column)).float().cpu()
            boxes = (map_boxes(map, self.placement, rule, of_pixels=spec.pixels is not None) / sides).tolist()
            yield _Guess(photo.boxes.get(classes[class_id], ()), tuple((a, b, c, d) for a, b, c, d in boxes))


def _hits(guesses: Sequence[_Guess]) -> Hits:
    """Whether the photo is localised by each source of boxes."""
    own = [guess.overlaps(guess.found) for guess in guesses]
    others = [guess.overlaps(guesses[(i + 1) % len(guesses)].found) for i, guess in enumerate(guesses)]
    by_source = {"map": own, "another class's map": others}
    by_source |= {name: [guess.overlaps([box]) for guess in guesses] for name, box in BLIND.items()}
    by_source["none: classification"] = [bool(guess.truth) for guess in guesses]
    return {name: (right[0], any(right)) for name, right in by_source.items()}
