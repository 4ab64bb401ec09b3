"""How far a photo is from those that a model was trained on. A leaf: models, results and pictures share it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Familiarity:
    """Distance of a photo from the training photos of the model that explained it.

    Attributes:
        distance: Mahalanobis distance of the photo's mean cell from those of the training photos (Lee et al., NeurIPS 2018).
        threshold: Distance that 97.5 % of photos stay below which are like the training photos but were not among them.
    """

    distance: float
    threshold: float

    @property
    def familiar(self) -> bool:
        """Whether the model was trained on photos like this one; False for a distance that is no number."""
        return self.distance <= self.threshold

    @property
    def warning(self) -> str | None:
        """One line for readers of the maps; None for a familiar photo."""
        if self.familiar:
            return None
        return f"The model has seen nothing like this photo (distance {self.distance:.3g}, threshold {self.threshold:.3g})."
