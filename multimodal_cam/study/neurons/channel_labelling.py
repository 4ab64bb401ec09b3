"""Names for the channels of a model's layer, from photos whose captions name things with boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...adapters.contract import ReadsQuestions, TaskAdapter, layer_view_of, reads_raw, tap_layer
from ...adapters.inputs import Inputs
from ...adapters.layer_choice import resolve_layer
from ...core.call_scope import unchanged_state
from ...core.channel_names import ChannelLabel, ChannelNames, weights_sha256
from ...core.images import load_image
from ...data.readers.flickr_entities import read_entities
from ...data.readers.voc_annotation import Box
from ...metrics.dissection import QUANTILE, TopCells, best_concepts, concept_ious
from ...metrics.localization import coverage
from ..sources.targets import head_noun, parse_texts

QUESTION = "what is in the picture?"  # for models that need one; the layer is in the vision backbone
MIN_COUNT = 10  # photos of a concept: an overlap with fewer is luck


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and the boxes of each concept on it."""

    image: Path
    boxes: dict[str, list[Box]]


def labelled_photos(images: Path, entities: Path, names: Sequence[str]) -> list[LabelledPhoto]:
    """Photos with the boxes of Flickr30k Entities, by the lemma of the head noun of their phrases.

    Raises FileNotFoundError or ValueError for a photo without a sound annotation.
    """
    sentences = [(i, sentence) for i, name in enumerate(names) for sentence in read_entities(entities, name) if sentence.words]
    found = [LabelledPhoto(images / name, {}) for name in names]
    for (i, sentence), doc in zip(sentences, parse_texts([sentence.words for _, sentence in sentences]), strict=True):
        for phrase in sentence.phrases:
            head = head_noun(doc[phrase.start : phrase.stop])
            if phrase.boxes and head is not None:
                found[i].boxes.setdefault(head.lemma_.lower(), []).extend(phrase.boxes)
    return found


def label_channels(
    model: TaskAdapter,
    photos: Sequence[LabelledPhoto],
    *,
    quantile: float = QUANTILE,
    min_count: int = MIN_COUNT,
    batch_size: int = 16,
    progress: Callable[[int], None] = lambda _: None,
) -> ChannelNames:
    """Name the channels of the model's own layer by Network Dissection (`metrics/dissection.py`), in one pass over the photos.

    Args:
        quantile: Share of all cells in which a channel counts as active.
        min_count: Photos in which a concept must be, to be tried.
        progress: Called with the number of photos done since its last call.

    Returns:
        The best concept of every channel that overlaps with one, whether or not it passes as a detector.

    Raises:
        ValueError: No concept is in `min_count` photos, the quantile is no share, or photos have grids of different sizes.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile: expected a share between 0 and 1, got {quantile}")
    counts: dict[str, int] = {}
    for photo in photos:
        for concept in photo.boxes:
            counts[concept] = counts.get(concept, 0) + 1
    concepts = {concept for concept, count in counts.items() if count >= min_count}
    if not concepts:
        raise ValueError(f"no concept is in {min_count} of the {len(photos)} photos: take more photos, or a smaller --min-count")
    labels: dict[str, list[tuple[int, Tensor]]] = {concept: [] for concept in sorted(concepts)}
    top: TopCells | None = None
    with unchanged_state(model.module):
        for start in range(0, len(photos), batch_size):
            batch = photos[start : start + batch_size]
            cells, inputs = _activations(model, batch)
            top = top or TopCells(math.ceil(quantile * len(photos) * cells.shape[2] * cells.shape[3]))
            top.add(cells)
            for i, photo in enumerate(batch):
                for concept in sorted(photo.boxes.keys() & concepts):
                    share = coverage(photo.boxes[concept], (cells.shape[2], cells.shape[3]), inputs.placements[i].frame)
                    labels[concept].append((start + i, share.half().flatten()))
            progress(len(batch))
    assert top is not None  # there are concepts, so there are photos
    best = best_concepts(concept_ious(top, labels, quantile))
    named = {channel: ChannelLabel(name, iou) for channel, (name, iou) in enumerate(best) if iou > 0}
    _, layer = resolve_layer(model, None)
    return ChannelNames(weights_sha256(model.module), layer, named, quantile, len(photos), len(concepts))


def _activations(model: TaskAdapter, batch: Sequence[LabelledPhoto]) -> tuple[Tensor, Inputs]:
    """The cells `(p, c, h, w)` of the model's layer, and the inputs."""
    images = [load_image(photo.image, raw=reads_raw(model)) for photo in batch]
    inputs = model.preprocess(images, [QUESTION] * len(batch) if isinstance(model, ReadsQuestions) else None)
    if inputs.placements[0].boxes:
        raise ValueError(f"{model.name} reads regions: channels are named on a grid")
    with torch.no_grad(), tap_layer(model, inputs) as tap:
        model.logits(inputs, torch.zeros(len(batch), 1, dtype=torch.long, device=inputs.pixels.device))
    view = layer_view_of(model, inputs, model.layer)
    return view.cells(tap.activations), inputs
