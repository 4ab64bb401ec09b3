"""What all models of a user's own share: photos through their encoder, and the same without a photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
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


class EncoderAdapter:
    """`encoder(pixels)` gives a grid `(b, c, h, w)`, which is the tapped layer; `preprocess` None squeezes to `image_size`."""

    def __init__(
        self,
        module: nn.Module,
        encoder: nn.Module,
        preprocess: Callable[[Image.Image], Tensor] | None,
        image_size: int,
        placement: Callable[[int, int], Placement],
    ) -> None:
        self.module, self.encoder = module, encoder
        self.layer = encoder
        self.transform, self.image_size, self.placement = preprocess, image_size, placement
        self.provenance: dict[str, str] = {}
        self._baselines: dict[tuple[int, ...], Tensor] = {}

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def prepare(self, images: Sequence[Image.Image]) -> Inputs:
        """Images -> pixels, each distinct image once."""
        once, photo = deduplicate_images(images)
        if self.transform is None:
            pixels = to_pixels(once, self.image_size, IMAGENET_MEAN, IMAGENET_STD)
        else:
            pixels = torch.stack([self.transform(image) for image in once])
        weight = next(self.module.parameters())
        return Inputs(pixels.to(weight), tuple(self.placement(*image.size) for image in images), image_index=photo)

    def features(self, inputs: Inputs) -> Tensor:
        """The layer's activations, one row for each of `inputs`."""
        features: Tensor = self.encoder(inputs.pixels)
        return inputs.to_rows(features)

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """The layer's activations of a mean-colour image, computed once for each input size."""
        key = tuple(inputs.pixels.shape[1:])
        if key not in self._baselines:
            one = replace(inputs, pixels=inputs.pixels[:1], placements=inputs.placements[:1])
            self._baselines[key] = self.encoder(self.baseline_inputs(one).pixels)
        return self._baselines[key]

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """The same inputs with a mean-colour image in every place."""
        if self.transform is None:
            return replace(inputs, pixels=torch.zeros_like(inputs.pixels))
        place = inputs.placements[0]
        pixels = self.prepare([Image.new("RGB", (place.width, place.height), MEAN_COLOUR)]).pixels
        return replace(inputs, pixels=pixels.expand_as(inputs.pixels))


class CutNetworkAdapter(EncoderAdapter):
    """The same where the tapped layer lies anywhere in `encoder`, the whole network: `cut` says where."""

    def cut(self, layer: nn.Module) -> None:
        self.layer, self.head = layer, Head(self.encoder, layer)
        self._baseline: tuple[object, Tensor] | None = None

    def state(self) -> object:
        """Another one whenever the weights change, their type, or their place."""
        weights = [*self.module.parameters(), *self.module.buffers()]
        return weights[0].dtype, weights[0].device, sum(tensor._version for tensor in weights)

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """The layer's activations of a mean-colour image, computed again only after the weights have changed."""
        key = (tuple(inputs.pixels.shape[1:]), self.state())
        if self._baseline is None or self._baseline[0] != key:
            seen: list[Tensor] = []
            one = Inputs(inputs.pixels[:1], inputs.placements[:1])
            with forward_hooks([self.layer], lambda _module, _args, output: seen.append(output.clone())):
                self.encoder(self.baseline_inputs(one).pixels)
            self._baseline = key, seen[0]
        return self._baseline[1]


def differentiable_rnn(head: nn.Module, device: torch.device) -> AbstractContextManager[Any]:
    """cuDNN refuses an RNN's backward pass in evaluation mode; PyTorch's own kernels do not."""
    if device.type == "cuda" and any(isinstance(part, nn.RNNBase) for part in head.modules()):
        return torch.backends.cudnn.flags(enabled=False)
    return nullcontext()
