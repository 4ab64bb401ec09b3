"""What a family of checkpoints is listed as, and how its models run: two frozen records that each family file fills in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base_model import HuggingFace


@dataclass(frozen=True)
class Capabilities:
    """How a model runs: what may be shared, batched or cut. The defaults are those of most families."""

    head_runs_alone: bool = True  # False: something goes around the layer, so the whole network runs, overridden there
    rows_in_one_batch: bool = True  # False: several images are packed into one row, so the network runs row by row
    head_rows_in_one_batch: bool = True  # the same of the head
    tower_ignores_question: bool = True  # False: baseline activations depend on the question
    tower_shared_by_questions: bool = True  # the tower runs once for all questions about one image
    question_before_layer: bool = False  # the layer's activations depend on the question
    grid_follows_image: bool = False  # images of different sizes have grids of different sizes, and run apart
    thumbnail_before_tiles: bool = False  # True: the small whole image is the first part, not the last
    prefix_after_patches: bool = False  # True: a part's CLS and registers are its last tokens
    tiles_in_one_dimension: bool = False  # True: the model takes the parts of all images as (parts, 3, H, W)


@dataclass(frozen=True)
class FamilySpec:
    """A family of checkpoints: its adapter's class, the `architectures` of its `config.json`, and its row in the listing.

    `memory` is the size of the weights of its smallest well-known checkpoint, about, from its published size.
    """

    name: str
    task: str
    architectures: tuple[str, ...]
    adapter: type[HuggingFace]
    layer: str
    grid: str
    tokenizer: str
    memory: str

    @property
    def capabilities(self) -> Capabilities:
        return self.adapter.capabilities
