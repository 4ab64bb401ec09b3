"""What a study is asked to do: everything that decides its numbers, and nothing that does not (engine, workers, progress)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["captions", "vqa"]
Canvas = Literal["pixels", "layer"]
RUN = ("model", "method", "score", "span")  # columns of the tables that name a run


@dataclass(frozen=True)
class Settings:
    """Two runs with equal settings, on equal files, write the same table up to rounding.

    `images` and `entities` are folders. `per_photo` human captions of each photo are read (`own_captions`: what the model says
    itself, with a beam search of width `beam`), cut after `max_words`. Of the `controls`, `other_photo` and `random_weights`
    cost as much as a method each. `methods` may be variants (`grad_cam:pool=max`, see method_variants.py); with
    `one_at_a_time` these run on the first model with the first score, and other models with that score, too. `n_steps` are the
    steps of `evidence`. `canvas` is what metrics of faithfulness perturb: the photo, or the layer's activations, which costs
    much less. `batch_size` photos run together, `shard_size` are one unit of work; both decide which photo lends its map to the
    control `other_photo`.
    """

    task: Task
    images: str
    models: tuple[str, ...]
    methods: tuple[str, ...]
    scores: tuple[str, ...]
    metrics: tuple[str, ...]
    controls: tuple[str, ...]
    entities: str = ""
    own_captions: bool = False
    per_photo: int = 1
    beam: int = 3
    max_words: int = 20
    one_at_a_time: bool = False
    n_steps: int = 8  # for where a map peaks 4 to 8 are as good as 64; `explain` takes 16, for the sum
    canvas: Canvas = "pixels"
    seed: int = 0
    batch_size: int = 32
    shard_size: int = 64
    device: str = "auto"

    def wanted(self, model: str, method: str, score: str) -> bool:
        """Whether this is one of the runs."""
        changes = (model != self.models[0]) + (score != self.scores[0]) + (":" in method)
        return changes < 2 or not self.one_at_a_time
