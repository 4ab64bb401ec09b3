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
    """What a model takes: `b` rows, each an image, where the layer's grid lies on it, and the question if there is one.

    `pixels` `(p, 3, H, W)` holds every distinct image once; row `i` is about image `photo[i]`, or image `i` when `photo` is
    None. `question` holds the ids `(b, q)` of the questions, right-padded with `PAD`; where these are prompts, `asked` says from
    where to where the user's own words stand in them, in all rows. `more` is what else the model takes of each distinct image,
    `(p, ...)` each.
    """

    pixels: Tensor
    placements: tuple[Placement, ...]
    question: Tensor | None = None
    photo: Tensor | None = None
    more: Mapping[str, Tensor] = field(default_factory=dict)
    asked: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.placements)

    def ask(self, question: Tensor, asked: tuple[int, int] | None = None) -> Inputs:
        """The same with the questions' ids `(b, q)`."""
        return replace(self, question=question, asked=asked)

    def spread(self, per_image: Tensor) -> Tensor:
        """One row an image `(p, ...)` -> one row a question `(b, ...)`."""
        return per_image if self.photo is None else per_image[self.photo]

    def apart(self) -> Inputs:
        """The same with an image of its own for every row."""
        more = {name: self.spread(value) for name, value in self.more.items()}
        return replace(self, pixels=self.spread(self.pixels), photo=None, more=more)

    def repeat(self, n: int) -> Inputs:
        """All rows `n` times: the whole batch again and again, not each row."""
        question = None if self.question is None else self.question.repeat(n, 1)
        one = self.apart()
        more = {name: _times(value, n) for name, value in one.more.items()}
        return Inputs(_times(one.pixels, n), self.placements * n, question, more=more, asked=self.asked)


def _times(tensor: Tensor, n: int) -> Tensor:
    return tensor.repeat(n, *[1] * (tensor.ndim - 1))


def distinct(images: Sequence[Image]) -> tuple[list[Image], Tensor | None]:
    """Each image object once, and which of them every row is about; None when no image comes twice."""
    order: dict[int, int] = {}
    photo = [order.setdefault(id(image), len(order)) for image in images]
    if len(order) == len(images):
        return list(images), None
    return [images[photo.index(i)] for i in range(len(order))], torch.tensor(photo)


def pad_ids(rows: Sequence[Sequence[int]], device: torch.device | None = None) -> Tensor:
    """Lists of ids -> `(b, t)`, right-padded with `PAD`."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows], device=device)
