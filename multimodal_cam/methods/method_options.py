"""Options of methods: name, default, meaning and check of each. Python, the command line and the study read the same table.

An option that several methods have is one entry here, so its name means the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

Size = tuple[int, int]  # height, width
Reader = Callable[[str, Any], Any]  # the option's name and what was given -> its value; raises ValueError or TypeError


class MethodOptions(TypedDict, total=False):
    """The options, for type checkers and editors; `OPTIONS` says what they are."""

    where: Literal["pixels", "layer"]
    window: int | tuple[int, int]
    stride: int | tuple[int, int]
    fill: Literal["baseline", "mean", "blur"] | float
    cells: int | tuple[int, int]
    samples: int
    seed: int


@dataclass(frozen=True)
class MethodOption:
    """An option of one or more methods.

    Attributes:
        name: Keyword of `explain`; `--name` on the command line; `method:name=value` in a study.
        help: One line: what it is, its unit, what None stands for.
        read: Check of a value.
        default: Value if none is given; None is worked out from the photo or the layer.
    """

    name: str
    help: str
    read: Reader
    default: Any = None

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def value(self, given: Any) -> Any:
        """The value of what was given, the default for None."""
        return self.default if given is None else self.read(self.name, given)


def whole(least: int) -> Reader:
    """Reader of whole numbers from `least`."""

    def read(name: str, given: Any) -> int:
        number = _number(given)
        if not isinstance(number, int) or number < least:
            raise ValueError(f"{name}: expected a whole number, {least} or more, got {given!r}")
        return number

    return read


def size(name: str, given: Any) -> Size:
    """Reader of a height and a width, or of one number for both; `32x48` is written for a height of 32."""
    sides = given.lower().split("x") if isinstance(given, str) else given
    sides = list(sides) if isinstance(sides, (tuple, list)) else [sides]
    numbers = [number for side in sides if isinstance(number := _number(side), int) and number >= 1]
    if len(numbers) != len(sides) or len(sides) not in (1, 2):
        raise ValueError(f"{name}: expected a whole number from 1, or (height, width), got {given!r}")
    return numbers[0], numbers[-1]


def choice(*choices: str, or_number: bool = False) -> Reader:
    """Reader of one of the words `choices`, or of a number if `or_number`."""

    def read(name: str, given: Any) -> str | float:
        number = _number(given) if or_number else None
        if number is not None and abs(number) < float("inf"):
            return float(number)
        if not isinstance(given, str) or given not in choices:
            raise ValueError(f"{name}: expected {', '.join(choices)}{' or a finite number' if or_number else ''}, got {given!r}")
        return given

    return read


def _number(given: Any) -> int | float | None:
    """A number, also one that is written out; None for anything else."""
    if isinstance(given, bool):
        return None
    if isinstance(given, str):
        for kind in (int, float):
            try:
                return kind(given)
            except ValueError:
                continue
        return None
    if hasattr(given, "__index__"):
        return int(given.__index__())
    return float(given) if hasattr(given, "__float__") and getattr(given, "ndim", 0) == 0 else None


WHERE = MethodOption(
    "where", "What is perturbed: the pixels that the network gets, or the layer.", choice("pixels", "layer"), "pixels"
)
FILL = MethodOption(
    "fill",
    "What removed places get: `baseline` (no photo), `mean` (of each channel), `blur` (pixels only) or a number, as the network "
    "gets pixels or the layer gives them.",
    choice("baseline", "mean", "blur", or_number=True),
    "baseline",
)
WINDOW = MethodOption(
    "window", "Height and width of what is removed at once, in pixels or cells [a seventh of the pixels; one cell].", size
)
STRIDE = MethodOption("stride", "Step from window to window [half the window; one cell].", size)
SAMPLES = MethodOption("samples", "Number of random masks.", whole(2), 1000)
SEED = MethodOption("seed", "Seed of the random masks.", whole(0), 0)
CELLS = MethodOption("cells", "Rows and columns of the grid of cells that are removed together.", size, (7, 7))
ABLATED = replace(FILL, default=0.0)  # a channel is switched off

OPTIONS: Mapping[str, MethodOption] = {option.name: option for option in (WHERE, FILL, WINDOW, STRIDE, CELLS, SAMPLES, SEED)}
