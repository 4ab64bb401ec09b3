"""What a model takes: a batch of rows, each an image and perhaps a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL.Image import Image
from torch import Tensor

from ..core.geometry import Placement

PAD = -1  # right padding of ids, in every family


@dataclass(frozen=True)
class Inputs:
    """Model inputs of `b` rows; each row is an image and, if the model takes one, a question about it.

    `pixels` `(p, 3, H, W)` holds every distinct image once; row `i` is about image `image_index[i]`, or about image `i` if
    `image_index` is None. `placements` says where the layer's grid lies on each row's image. `question_ids` `(b, q)` are
    right-padded with `PAD`; if they are prompts, `question_slice` holds the start and stop of the user's own words, equal in all
    rows. `extra_inputs` are further model inputs of each distinct image, `(p, ...)` each.
    """

    pixels: Tensor
    placements: tuple[Placement, ...]
    question_ids: Tensor | None = None
    image_index: Tensor | None = None
    extra_inputs: Mapping[str, Tensor] = field(default_factory=dict)
    question_slice: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.placements)

    def with_questions(self, question_ids: Tensor, question_slice: tuple[int, int] | None = None) -> Inputs:
        """The inputs with the questions' ids `(b, q)`."""
        return replace(self, question_ids=question_ids, question_slice=question_slice)

    def to_rows(self, per_image: Tensor) -> Tensor:
        """A tensor with a row for each distinct image, `(p, ...)`, with a row for each row of the batch instead, `(b, ...)`."""
        return per_image if self.image_index is None else per_image[self.image_index]

    def expand_images(self) -> Inputs:
        """The inputs with an image of its own for every row."""
        extra_inputs = {name: self.to_rows(value) for name, value in self.extra_inputs.items()}
        return replace(self, pixels=self.to_rows(self.pixels), image_index=None, extra_inputs=extra_inputs)

    def repeat(self, n: int) -> Inputs:
        """All rows `n` times: the whole batch again and again, not each row."""
        question_ids = None if self.question_ids is None else self.question_ids.repeat(n, 1)
        one = self.expand_images()
        extra_inputs = {name: _times(value, n) for name, value in one.extra_inputs.items()}
        return Inputs(
            _times(one.pixels, n),
            self.placements * n,
            question_ids,
            extra_inputs=extra_inputs,
            question_slice=self.question_slice,
        )


def _times(tensor: Tensor, n: int) -> Tensor:
    return tensor.repeat(n, *[1] * (tensor.ndim - 1))


def deduplicate_images(images: Sequence[Image]) -> tuple[list[Image], Tensor | None]:
    """Each image object once, and which of them every row is about; None when no image comes twice."""
    order: dict[int, int] = {}
    image_index = [order.setdefault(id(image), len(order)) for image in images]
    if len(order) == len(images):
        return list(images), None
    return [images[image_index.index(i)] for i in range(len(order))], torch.tensor(image_index)


def pad_ids(rows: Sequence[Sequence[int]], device: torch.device | None = None) -> Tensor:
    """Lists of ids -> `(b, t)`, right-padded with `PAD`."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows], device=device)
