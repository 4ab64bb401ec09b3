"""Where a preprocessing puts a photo: measured, for any callable and any size of photo.

Photos with known patterns go through it; what comes out says of every pixel where it was. Two ramps, with black and white to
compare them with, tell it exactly whatever mean, scale, sign and order of channels the pixels have. Where colours change in
other ways (gamma, equalizing, one mean for each photo), random stripes tell it. Every photo's own pixels are then compared with
the part of the photo that they should show, so that crops by content are noticed; these are measured on the photo itself.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import message
from ..core.geometry import Placement
from .coordinate_field import ColourError, PlacementError, code_field, ramp_field, shade_between
from .photo_registration import shows
from .pixel_layout import pixels_of, run_on_copy
from .probe_photos import PhotoForm, PhotoValues, form_of, ramp, rgb_form, stripe_codes, stripes

Shade = np.ndarray | float
Run = Callable[[Shade], Tensor]
Frame = tuple[float, float, float, float]

SAME = 0.015  # fractions of the photo by which two measurements of one frame may differ
SAME_AT_RANDOM = 0.04  # the same where colours change at random, too
OWN_TOLERANCE = 0.06  # patterns on a photo are seen through its own detail and 8 bits
LINEAR = 0.015  # by how much a ramp of half the contrast may miss half of the ramp
SEEDS = 6  # measurements of a preprocessing that draws random numbers

AT_RANDOM = "moves or alters photos at random (runs of one photo differ; the transform of validation does not)"

_log = logging.getLogger("multimodal_cam")


class RandomPlacementError(PlacementError):
    """Places that differ from run to run."""


class TransformPlacement:
    """The placement of what `transform` makes of a photo: an RGB image, or an array as stored, -> pixels `(c, H, W)`.

    Called with a width and a height it gives the placement of RGB photos of that size. What was measured is kept.
    """

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform
        self._known: dict[Any, Frame | PlacementError] = {}
        self._said_random = False

    def __call__(self, width: int, height: int) -> Placement:
        """The placement on photos of that size. Raises ValueError where it cannot be measured."""
        return self._placement(self._of_form(rgb_form(width, height)), (width, height))

    def of(self, photo: PhotoValues, pixels: Tensor) -> Placement:
        """The placement of `pixels` `(c, H, W)`, which the transform made of `photo`.

        Raises ValueError where it cannot be said: the transform moves photos at random, by content and unlike patterns on them,
        mirrors, turns, warps or cuts them.
        """
        form = form_of(photo)
        frame = self._of_form(form)
        if isinstance(frame, tuple) and shows(photo, pixels, Placement(*form.size, frame)):
            return Placement(*form.size, frame)
        if not isinstance(frame, RandomPlacementError) and not self._makes_again(photo, pixels):
            frame = RandomPlacementError(AT_RANDOM)
        if isinstance(frame, RandomPlacementError):
            return self._placement(frame, form.size)
        own = self._of_photo(form, photo)
        if isinstance(frame, tuple) and _alike(own, frame):
            return Placement(*form.size, frame)
        if isinstance(own, tuple) and _is_inside(own) and shows(photo, pixels, Placement(*form.size, own)):
            return Placement(*form.size, own)
        if isinstance(frame, tuple):
            frame = PlacementError("moves photos by their content or at random, and not alike when patterns are laid over them")
        return self._placement(frame, form.size)

    def _placement(self, found: Frame | PlacementError, size: tuple[int, int]) -> Placement:
        if isinstance(found, PlacementError):
            raise ValueError(
                f"preprocess: it {found}, so where maps lie on a photo of {size[0]} x {size[1]} is unknown: "
                "leave that step out, or pass placement= (see multimodal_cam.core.geometry)"
            ) from found
        return Placement(*size, found)

    def _of_form(self, form: PhotoForm) -> Frame | PlacementError:
        if form.key not in self._known:
            self._known[form.key] = self._measured(form)
        return self._known[form.key]

    def _measured(self, form: PhotoForm) -> Frame | PlacementError:
        """The frame of all photos of a form; a PlacementError if there is none, or another one whenever the transform runs."""
        frame = self._tried(form.uniform, form)
        if self._repeats(form, 2 if isinstance(frame, tuple) else SEEDS):
            return frame
        others = [self._tried(form.uniform, form, seed) for seed in range(1, SEEDS)]
        if not all(_alike(one, frame, SAME_AT_RANDOM) for one in others):
            return RandomPlacementError(AT_RANDOM)
        if not self._said_random and self._changes(form):
            self._said_random = True
            _log.warning("preprocess draws random numbers: pixels, and maps with them, differ from run to run")
        return frame

    def _makes_again(self, photo: PhotoValues, pixels: Tensor) -> bool:
        """Whether more runs give the same pixels."""
        others = [pixels_of(run_on_copy(self.transform, photo)) for _ in range(SEEDS)]
        return all(pixels.shape == one.shape and torch.equal(pixels, one.to(pixels)) for one in others)

    def _changes(self, form: PhotoForm) -> bool:
        """Whether pixels change with the random state, and do not only draw from it."""
        first, *others = (self._seeded_run(form.uniform, seed)(ramp(form.size, 0)) for seed in range(SEEDS))
        return not all(torch.equal(first, one) for one in others)

    def _repeats(self, form: PhotoForm, times: int) -> bool:
        """Whether that many runs give the same and draw no random numbers."""
        photo = form.uniform(ramp(form.size, 0))
        with _seeded(0):
            before = _random_state()
            try:
                first = self._run(photo)
                drawn = not _same_state(before, _random_state())
                others = [self._run(photo) for _ in range(times - 1)]
            except PlacementError:
                return True
        return not drawn and all(first.shape == one.shape and torch.equal(first, one) for one in others)

    def _of_photo(self, form: PhotoForm, photo: PhotoValues) -> Frame | PlacementError:
        """Measured with patterns on the photo itself: they darken it, or else they lighten it."""
        found: Frame | PlacementError = PlacementError("")
        for inverted in (False, True):
            try:
                made = partial(form.darkened, photo, inverted=inverted)
                return _by_ramps_on(self._seeded_run(made, 0), form.size)
            except PlacementError as error:
                found = error
        return found

    def _tried(self, photo_of: Callable[[Shade], PhotoValues], form: PhotoForm, seed: int = 0) -> Frame | PlacementError:
        """The frame by ramps, else by stripes, else why there is none."""
        run = self._seeded_run(photo_of, seed)
        try:
            try:
                return _by_ramps(run, form.size)
            except ColourError as error:
                return _by_stripes(run, form.size, error)
        except PlacementError as error:
            return error

    def _seeded_run(self, photo_of: Callable[[Shade], PhotoValues], seed: int) -> Run:
        """Shade -> pixels. What draws random numbers draws the same ones each time, so that patterns are comparable."""

        def run(shade: Shade) -> Tensor:
            with _seeded(seed):
                return self._run(photo_of(shade))

        return run

    def _run(self, photo: PhotoValues) -> Tensor:
        """Pixels of a photo that was made up. Raises PlacementError where the transform fails on it."""
        try:
            made = run_on_copy(self.transform, photo)
        except Exception as error:
            raise PlacementError(f"fails on photos with patterns ({message(error)})") from error
        return pixels_of(made).detach().double().cpu()


def _by_ramps(run: Run, size: tuple[int, int]) -> Frame:
    across = ramp(size, 0)
    made = [run(shade) for shade in (0.0, 1.0, across, ramp(size, 1), across / 2)]
    _require_one_shape(made)
    black, white, *ramps, half = made
    gap = shade_between(black, white, half) - shade_between(black, white, ramps[0]) / 2
    if float(gap[~gap.isnan()].abs().mean()) > LINEAR:
        raise ColourError("changes colours by the photo's content")
    return ramp_field(black, white, ramps).frame()


def _by_ramps_on(run: Run, size: tuple[int, int]) -> Frame:
    """The same where the patterns lie on a photo, through whose detail and 8 bits they are seen less well."""
    made = [run(shade) for shade in (0.0, 1.0, ramp(size, 0), ramp(size, 1))]
    _require_one_shape(made)
    return ramp_field(made[0], made[1], made[2:]).frame(OWN_TOLERANCE)


def _by_stripes(run: Run, size: tuple[int, int], why: PlacementError) -> Frame:
    """The frame by random stripes. Raises `why`, the reason that ramps gave, where these do not tell either."""
    made = run(ramp(size, 0)).shape
    cells = max(6, min(48, min(made[1:]) // 4, *size))
    codes = stripe_codes(cells)
    sides = []
    for axis in (0, 1):
        photos = [run(stripes(size, axis, code)) for code in codes]
        _require_one_shape(photos)
        sides.append(torch.stack(photos))
    try:
        return code_field(codes, (sides[0], sides[1])).frame(max(0.02, 0.75 / cells))
    except PlacementError as error:
        raise error from why


def _require_one_shape(made: list[Tensor]) -> None:
    shapes = {tuple(one.shape) for one in made}
    if len(shapes) > 1:
        raise PlacementError("gives sizes that depend on the photo's content")


def _is_inside(frame: Frame) -> bool:
    return min(frame[:2]) >= 0 and max(frame[2:]) <= 1


def _alike(one: Frame | PlacementError, other: Frame | PlacementError, gap: float = SAME) -> bool:
    if isinstance(one, PlacementError) or isinstance(other, PlacementError):
        return False
    width, height = one[2] - one[0], one[3] - one[1]
    gaps = [abs(a - b) / side for a, b, side in zip(one, other, (width, height) * 2, strict=True)]
    return max(gaps) <= gap


def _random_state() -> tuple[Any, ...]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def _same_state(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    numpy_same = all(np.array_equal(a, b) for a, b in zip(one[1], other[1], strict=True))
    return torch.equal(one[0], other[0]) and numpy_same and one[2] == other[2]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Context in which the CPU's random numbers begin at `seed`; afterwards all random states are what they were."""
    state = _random_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs, too
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])
        random.setstate(state[2])
