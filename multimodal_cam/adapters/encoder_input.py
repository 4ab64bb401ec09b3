"""Base of the adapters around a user's own network: images through its encoder, and the baseline without an image."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.geometry import squeeze
from ..core.hooks import forward_hooks
from .head_extraction import Head
from .image_preprocessing import MEAN_COLOUR, ImagePreprocessing
from .inputs import Inputs, deduplicate_images

BLANK_SIDE = 256  # pixels: crops of common sizes fit into it


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
        pixels, placements = self.preprocessing.prepare(distinct)
        placed = dict(zip(map(id, distinct), placements, strict=True))
        return Inputs(self._on_device(pixels), tuple(placed[id(image)] for image in images), image_index=image_index)

    def blank_inputs(self) -> Inputs:
        """A mean-colour image, to try the network with."""
        side = BLANK_SIDE
        pixels = self.preprocessing.pixels(Image.new("RGB", (side, side), MEAN_COLOUR))
        return Inputs(self._on_device(pixels[None]), (squeeze(side, side),))

    def batch_key(self, image: Image.Image, question: str | None) -> Hashable:
        """Shape of the image's pixels: those of one size run together."""
        return self.preprocessing.shape(image)

    def _on_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(next(self.module.parameters()))

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
        pixels = self.preprocessing.pixels(Image.new("RGB", (placement.width, placement.height), MEAN_COLOUR))
        if pixels.shape != inputs.pixels.shape[1:]:
            raise ValueError(
                f"preprocess: a photo of one colour gets another size, {tuple(pixels.shape)}, than this one, "
                f"{tuple(inputs.pixels.shape[1:])}: the size must not depend on what is on the photo"
            )
        return replace(inputs, pixels=self._on_device(pixels).expand_as(inputs.pixels))


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
