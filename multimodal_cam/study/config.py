"""Settings of a study: all that decides its numbers, and nothing else (no engine, workers or progress)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["captions", "vqa"]
Canvas = Literal["pixels", "layer"]
RUN = ("model", "method", "score", "span")  # columns that identify a run


@dataclass(frozen=True)
class Settings:
    """Settings of a study. Equal settings on equal files give the same table, up to rounding.

    Attributes:
        task: `captions` or `vqa`.
        images: Folder of the photos.
        models: Names that `load` takes.
        methods: Methods or variants of them (`grad_cam:pool=max`, see method_variants.py).
        scores: Names of scores.
        metrics: Names of metrics.
        controls: Names of controls; `other_photo` and `random_weights` cost as much as a method each.
        entities: Folder of Flickr30k Entities, or empty.
        own_captions: Explain the model's own captions instead of human ones.
        per_photo: Number of human captions of each photo.
        beam: Beam width of the model's own captions.
        max_words: Length at which captions are cut.
        one_at_a_time: Vary one thing at a time: variants run on the first model with the first score, other models and scores
            with plain methods.
        n_steps: Integration steps of `evidence`.
        canvas: What faithfulness metrics perturb: the photo or, at much lower cost, the layer's activations.
        seed: Seed of shuffled weights and of the bootstrap.
        batch_size: Photos in a batch.
        shard_size: Photos in a unit of work. Together with `batch_size` it decides which photo serves as `other_photo`.
        device: Device that `load` takes.
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
    n_steps: int = 8  # for the position of the peak 4 to 8 steps are as good as 64; `explain` takes 16 for completeness
    canvas: Canvas = "pixels"
    seed: int = 0
    batch_size: int = 32
    shard_size: int = 64
    device: str = "auto"

    def wanted(self, model: str, method: str, score: str) -> bool:
        """Whether the study includes this combination."""
        changes = (model != self.models[0]) + (score != self.scores[0]) + (":" in method)
        return changes < 2 or not self.one_at_a_time
