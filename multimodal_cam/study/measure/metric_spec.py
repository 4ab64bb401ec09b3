"""Records of metrics, controls and columns of numbers; the tables are in placement.py, perturbation.py and controls.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

Better = Literal["high", "low"]
_SEPARATOR = "__"


@dataclass(frozen=True)
class MetricSpec:
    """A metric: a number of a map and a target.

    Attributes:
        name: What `--metrics` takes, and the column of the table.
        function: Of a placement metric `(maps (k, h, w), boxes, placement) -> (k,)`; of a metric of faithfulness
            `(probe) -> ((k,), ...)`, several metrics of one pass, of which this is number `output`.
        unit: Its interval or unit.
        text: What it is.
        paper: Where it is from.
        better: Whether a high or a low number speaks for the map.
        median: Whether it is reported as a median: a ratio may be infinite.
        default: Whether it is measured unless `--metrics` says otherwise.
        perturbs: Whether the model runs again on perturbed photos: opt-in, by `--faithfulness`.
        output: Which of the function's results it is.
    """

    name: str
    function: Callable[..., Any]
    unit: str
    text: str
    paper: str
    better: Better = "high"
    median: bool = False
    default: bool = False
    perturbs: bool = False
    output: int = 0


@dataclass(frozen=True)
class ControlSpec:
    """A control: a map that is measured in place of a method's.

    Attributes:
        name: What `--controls` takes.
        text: What it is.
        by_method: Whether each method makes its own; otherwise it is one map for all methods.
        perturbed: Whether metrics of faithfulness are measured of it, too: each costs as much as the map.
    """

    name: str
    text: str
    by_method: bool = True
    perturbed: bool = False


@dataclass(frozen=True)
class MetricColumn:
    """Column of a metric, of the method's map or of a `control` in its place."""

    metric: str
    control: str | None = None

    @property
    def name(self) -> str:
        """Name of the column in `results.parquet`: `energy`, `energy__centre`."""
        return self.metric if self.control is None else f"{self.metric}{_SEPARATOR}{self.control}"

    @classmethod
    def parse(cls, name: str) -> Self:
        metric, _, control = name.partition(_SEPARATOR)
        return cls(metric, control or None)
