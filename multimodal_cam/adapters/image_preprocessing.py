"""From photos to pixels, and where these lie: the preprocessing around a user's own network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.errors import message
from ..core.geometry import Placement, squeeze
from ..core.stored_values import stored_values, with_stored_values
from ..models.encoder import to_pixels
from .pixel_layout import pixels_of, run_on_copy
from .probe_photos import PhotoValues, as_stored
from .region_boxes import RegionBoxes, Regions
from .transform_placement import TransformPlacement

IMAGENET_MEAN = tuple(255 * x for x in (0.485, 0.456, 0.406))
IMAGENET_STD = tuple(255 * x for x in (0.229, 0.224, 0.225))
MEAN_COLOUR = tuple(round(x) for x in IMAGENET_MEAN)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
KEPT = 64  # photos whose pixels wait for the batch that they were made for


class ImagePreprocessing:
    """How images become pixels, and where these lie on the image.

    Args:
        transform: One image -> pixels `(c, H, W)`; None squeezes it to `image_size`, with ImageNet's mean and deviation.
        raw: Hand the transform arrays `(H, W)` or `(H, W, bands)` as they are stored, instead of RGB images.
        image_size: Side of the square in pixels, without a `transform`.
        placement: Placement of the pixels on an image of the given width and height; None: measured.
        regions: Boxes of the regions that the network reads; the transform may then give features `(r, d)` of these.
    """

    def __init__(
        self,
        transform: Callable[[Any], Any] | None = None,
        image_size: int = 224,
        placement: Callable[[int, int], Placement] | None = None,
        raw: bool = False,
        regions: Regions | None = None,
    ) -> None:
        if raw and transform is None:
            raise ValueError(
                "raw=True hands photos as stored to preprocess: pass preprocess=, which makes pixels (c, H, W) of them"
            )
        self.raw = raw
        self.transform, self.image_size, self.placement = transform, image_size, placement
        self.measured = None if transform is None else TransformPlacement(transform)
        self.regions = None if regions is None else RegionBoxes(regions)
        self._waiting: dict[int, tuple[Image.Image, Tensor]] = {}  # id of an image -> the image, which keeps the id its own

    def pixels(self, image: Image.Image) -> Tensor:
        """One image -> `(c, H, W)`, or features `(r, d)` of its regions."""
        if self.transform is None:
            return to_pixels([image], self.image_size, IMAGENET_MEAN, IMAGENET_STD)[0]
        pixels = pixels_of(run_on_copy(self.transform, self._values(image)))
        if self.regions is not None and len(pixels) == 1 and pixels.shape[1] == len(self.regions.of(image)):
            return pixels[0]  # features, a row for each box
        return pixels

    def _values(self, image: Image.Image) -> PhotoValues:
        """What the transform and its measurement get."""
        return stored_values(image) if self.raw else image

    def trial_photo(self, image: Image.Image, channels: int | None) -> Image.Image:
        """An RGB image that was made up, as a photo to try a network with whose first layer takes that many channels.

        With `raw`, its values are stored in one of the ways in which photos may be, one that the transform takes.
        """
        if self.transform is None or not self.raw:
            return image
        why = ""
        for values in as_stored(image, channels or 1):
            try:
                pixels = pixels_of(run_on_copy(self.transform, values))
            except Exception as error:
                why = why or f" ({message(error)})"
            else:
                if len(pixels) == (channels or len(pixels)):
                    return with_stored_values(image, values)
        raise ValueError(
            f"raw=True: preprocess makes no {channels or 1} channels of an array (H, W) or (H, W, {channels or 1}) of uint16, "
            f"uint8 or float32{why}"
        )

    def shape(self, image: Image.Image) -> tuple[int, ...]:
        """Shape of an image's pixels, which are kept for `prepare`, and the number of its boxes; empty where all are alike."""
        boxes = () if self.regions is None else (len(self.regions.of(image)),)
        if self.transform is None:
            return boxes
        while len(self._waiting) >= KEPT:
            del self._waiting[next(iter(self._waiting))]
        pixels = self._waiting.setdefault(id(image), (image, self.pixels(image)))[1]
        return tuple(pixels.shape) + boxes

    def prepare(self, images: Sequence[Image.Image]) -> tuple[Tensor, tuple[Placement, ...]]:
        """Pixels `(b, c, H, W)` and placements. Raises ValueError for images of different sizes, or of an unknown placement."""
        made = [self._waiting.pop(id(image), (image, None))[1] for image in images]
        pixels = [self.pixels(image) if one is None else one for image, one in zip(images, made, strict=True)]
        shapes = {tuple(one.shape): None for one in pixels}
        if len(shapes) > 1:
            raise ValueError(
                f"preprocess: photos of one batch have pixels of different shapes, {', '.join(map(str, shapes))}: "
                "end it with Resize((224, 224)) or a crop, or give the photos one by one"
            )
        return torch.stack(pixels), tuple(map(self._with_boxes, images, map(self.placement_of, images, pixels)))

    def _with_boxes(self, image: Image.Image, placement: Placement) -> Placement:
        """The placement with the boxes of the image's regions, if there are some."""
        if self.regions is None:
            return placement
        boxes = self.regions.of(image)
        self.regions.forget(image)
        return replace(placement, boxes=boxes)

    def placement_of(self, image: Image.Image, pixels: Tensor) -> Placement:
        """The placement of an image's `pixels`: the stated one, else measured. Raises ValueError where it cannot be."""
        if self.placement is not None:
            return self.placement(*image.size)
        if self.measured is None or pixels.ndim == 2:  # features of regions have no other place than their boxes
            return squeeze(*image.size)
        return self.measured.of(self._values(image), pixels)


@contextmanager
def channels_explained(network: nn.Module, pixels: Tensor, given: bool) -> Iterator[None]:
    """Context that says what to do where a network takes other channels, or dimensions, than the `pixels` `(b, c, H, W)` have.

    `given` says whether a preprocessing of the user's made them.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, ValueError) and not re.match(r"expected .*\dD", message(error)):
            raise  # of torch's own, only batch norms raise it
        first = next((layer for layer in network.modules() if isinstance(layer, CONVOLUTIONS)), None)
        if first is not None and len(first.kernel_size) != 2 and pixels.ndim == 4:
            axes = {1: "sequences (b, c, t)", 3: "volumes or clips (b, c, d, H, W)"}[len(first.kernel_size)]
            raise ValueError(
                f"the network begins with {type(first).__name__}, which takes {axes}, and photos are (b, c, H, W) "
                f"({message(error)}): give explain_score your own inputs, or a module whose forward adds the axis"
            ) from error
        if "channels" not in str(error):
            raise
        c = pixels.shape[1]
        what = f"preprocess gives {c} channels" if given else f"without preprocess= photos have {c} channels"
        raise ValueError(
            f"{what}, and the network takes others ({message(error)}): pass a preprocess= that gives as many, such as "
            "Compose([Grayscale(), Resize((224, 224)), ToTensor()]) for one; raw=True hands it all bands of a photo"
        ) from error
