"""Base of the adapters around a user's own network: images through its encoder, and the baseline without an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.geometry import Placement
from ..core.hooks import forward_hooks
from ..models.encoder import to_pixels
from .head_extraction import Head
from .inputs import Inputs, deduplicate_images

IMAGENET_MEAN = tuple(255 * x for x in (0.485, 0.456, 0.406))
IMAGENET_STD = tuple(255 * x for x in (0.229, 0.224, 0.225))
MEAN_COLOUR = tuple(round(x) for x in IMAGENET_MEAN)


@dataclass(frozen=True)
class ImagePreprocessing:
    """How images become pixels, and where these lie on the image.

    Attributes:
        placement: Placement of the pixels on an image of the given width and height.
        transform: One image -> pixels `(3, H, W)`; None squeezes it to `image_size`, with ImageNet's mean and deviation.
        image_size: Side of the square in pixels, without a `transform`.
    """

    placement: Callable[[int, int], Placement]
    transform: Callable[[Image.Image], Tensor] | None = None
    image_size: int = 224

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Images -> `(b, 3, H, W)`."""
        if self.transform is None:
            return to_pixels(images, self.image_size, IMAGENET_MEAN, IMAGENET_STD)
        return torch.stack([self.transform(image) for image in images])


class EncoderAdapter:
    """`encoder(pixels)` gives a grid `(b, c, h, w)`, the tapped layer; `module` holds all parameters, the encoder's too."""

    def __init__(self, module: nn.Module, encoder: nn.Module, preprocessing: ImagePreprocessing) -> None:
        self.module, self.encoder = module, encoder
        self.layer = encoder
        self.preprocessing = preprocessing
        self.provenance: dict[str, str] = {}
        self._baselines: dict[tuple[int, ...], Tensor] = {}

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def image_inputs(self, images: Sequence[Image.Image]) -> Inputs:
        """Pixels of the distinct images, on the network's device and in its dtype."""
        distinct, image_index = deduplicate_images(images)
        pixels = self.preprocessing.pixels(distinct).to(next(self.module.parameters()))
        placements = tuple(self.preprocessing.placement(*image.size) for image in images)
        return Inputs(pixels, placements, image_index=image_index)

    def features(self, inputs: Inputs) -> Tensor:
        """Activations of the encoder `(b, c, h, w)`."""
        features: Tensor = self.encoder(inputs.pixels)
        return inputs.to_rows(features)

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """Activations of the encoder for a mean-colour image `(1, c, h, w)`, computed once for each input size."""
        key = tuple(inputs.pixels.shape[1:])
        if key not in self._baselines:
            one = replace(inputs, pixels=inputs.pixels[:1], placements=inputs.placements[:1])
            self._baselines[key] = self.encoder(self.baseline_inputs(one).pixels)
        return self._baselines[key]

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """The same inputs with a mean-colour image in every place."""
        if self.preprocessing.transform is None:
            return replace(inputs, pixels=torch.zeros_like(inputs.pixels))
        placement = inputs.placements[0]
        pixels = self.image_inputs([Image.new("RGB", (placement.width, placement.height), MEAN_COLOUR)]).pixels
        return replace(inputs, pixels=pixels.expand_as(inputs.pixels))


class CutNetworkAdapter(EncoderAdapter):
    """`encoder` is the whole network; the tapped layer lies anywhere inside, where `tap_layer` puts it."""

    def tap_layer(self, layer: nn.Module) -> None:
        """Take `layer` as the tapped one, and what follows it as the head."""
        self.layer, self.head = layer, Head(self.encoder, layer)
        self._baseline: tuple[object, Tensor] | None = None

    def weights_version(self) -> object:
        """Key of the weights' values, dtype and device: it changes when one of them does."""
        weights = [*self.module.parameters(), *self.module.buffers()]
        return weights[0].dtype, weights[0].device, sum(tensor._version for tensor in weights)

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """Activations of `layer` for a mean-colour image, computed again only after the weights have changed."""
        key = (tuple(inputs.pixels.shape[1:]), self.weights_version())
        if self._baseline is None or self._baseline[0] != key:
            outputs: list[Tensor] = []
            one = Inputs(inputs.pixels[:1], inputs.placements[:1])
            with forward_hooks([self.layer], lambda _module, _args, output: outputs.append(output.clone())):
                self.encoder(self.baseline_inputs(one).pixels)
            self._baseline = key, outputs[0]
        return self._baseline[1]


def differentiable_rnn(head: nn.Module, device: torch.device) -> AbstractContextManager[Any]:
    """Context without cuDNN for a `head` with RNNs: its kernels have no backward pass in evaluation mode, PyTorch's own do."""
    if device.type == "cuda" and any(isinstance(part, nn.RNNBase) for part in head.modules()):
        return torch.backends.cudnn.flags(enabled=False)
    return nullcontext()
