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
from .compute_device import device_of, dtype_of
from .head_extraction import Head
from .image_preprocessing import MEAN_COLOUR, ImagePreprocessing, channels_explained
from .inputs import Inputs, deduplicate_images
from .network_state import pass_state
from .state_cache import StateCache

BLANK_SIDE = 256  # pixels: crops of common sizes fit into it


class EncoderAdapter:
    """`encoder(pixels)` gives a grid `(b, c, h, w)`, the tapped layer; `module` holds all parameters, the encoder's too."""

    def __init__(self, module: nn.Module, encoder: nn.Module, preprocessing: ImagePreprocessing) -> None:
        self.module, self.encoder = module, encoder
        self.preprocessing = preprocessing
        self.provenance: dict[str, str] = {}
        self._baselines = StateCache[Tensor]()

    @property
    def layer(self) -> nn.Module:
        """The tapped layer: the encoder as a whole."""
        return self.encoder

    @property
    def raw(self) -> bool:
        """Whether preprocessing reads photos as they are stored."""
        return self.preprocessing.raw

    @property
    def device(self) -> torch.device:
        return device_of(self.module)

    def image_inputs(self, images: Sequence[Image.Image]) -> Inputs:
        """Pixels of the distinct images, on the network's device and in its dtype."""
        distinct, image_index = deduplicate_images(images)
        pixels, placements = self.preprocessing.prepare(distinct)
        placed = dict(zip(map(id, distinct), placements, strict=True))
        return Inputs(self._on_device(pixels), tuple(placed[id(image)] for image in images), image_index=image_index)

    def blank_inputs(self) -> Inputs:
        """A mean-colour image, to try the network with."""
        return self.trial_inputs([Image.new("RGB", (BLANK_SIDE, BLANK_SIDE), MEAN_COLOUR)])

    def trial_inputs(self, images: Sequence[Image.Image]) -> Inputs:
        """Images to try the network with: where their pixels lie is not asked."""
        pixels = torch.stack([self.preprocessing.pixels(self.trial_photo(image)) for image in images])
        return Inputs(self._on_device(pixels), tuple(squeeze(*image.size) for image in images))

    def trial_photo(self, image: Image.Image) -> Image.Image:
        """An RGB image as a photo to try the network with: of its bands, where preprocessing reads them as stored."""
        channels = next((layer.in_channels for layer in self.encoder.modules() if isinstance(layer, nn.Conv2d)), None)
        return self.preprocessing.trial_photo(image, channels)

    def batch_key(self, image: Image.Image, question: str | None) -> Hashable:
        """Shape of the image's pixels: those of one size run together."""
        return self.preprocessing.shape(image)

    def _on_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.device, dtype_of(self.module))

    def features(self, inputs: Inputs) -> Tensor:
        """Activations of the encoder `(b, c, h, w)`."""
        return inputs.to_rows(self.encode(inputs.pixels))

    def encode(self, pixels: Tensor) -> Tensor:
        """Output of the encoder. Raises ValueError for pixels of other channels than it takes."""
        with channels_explained(pixels, self.preprocessing.transform is not None):
            output: Tensor = self.encoder(pixels)
        return output

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """Activations of `layer` for a mean-colour image, `(1, ...)`, or `(b, ...)` where preprocessing tells sizes apart."""
        pixels = self.baseline_inputs(inputs).pixels
        if bool((pixels == pixels[:1]).all()):
            return self._blank_activations(pixels[:1])
        return inputs.to_rows(torch.cat([self._blank_activations(one) for one in torch.split(pixels, 1)]))

    def _blank_activations(self, pixels: Tensor) -> Tensor:
        """Activations of `layer` `(1, ...)` for a blank image's pixels `(1, 3, H, W)`, kept until the encoder changes."""
        return self._baselines.value(pass_state(self.encoder, pixels), lambda: self.encode(pixels))

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """The same inputs with a mean-colour image in every place; for photos as stored, each with its own mean."""
        if self.preprocessing.transform is None:
            return replace(inputs, pixels=torch.zeros_like(inputs.pixels))
        if self.raw:
            return replace(inputs, pixels=inputs.pixels.mean(dim=(2, 3), keepdim=True).expand_as(inputs.pixels))
        rows = range(len(inputs)) if inputs.image_index is None else inputs.image_index.tolist()
        sizes = {image: (placement.width, placement.height) for image, placement in zip(rows, inputs.placements, strict=True)}
        blank = {size: self._blank_pixels(size, inputs.pixels) for size in sizes.values()}
        return replace(inputs, pixels=torch.stack([blank[sizes[image]] for image in range(len(inputs.pixels))]))

    def _blank_pixels(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """Pixels `(c, H, W)` of a mean-colour image of that size, of the shape that photos have, `like` `(p, c, H, W)`."""
        pixels = self.preprocessing.pixels(Image.new("RGB", size, MEAN_COLOUR))
        if pixels.shape != like.shape[1:]:
            raise ValueError(
                f"preprocess: a photo of one colour gets another size, {tuple(pixels.shape)}, than this one, "
                f"{tuple(like.shape[1:])}: the size must not depend on what is on the photo"
            )
        return pixels.to(like)


class CutNetworkAdapter(EncoderAdapter):
    """`encoder` is the whole network; the tapped layer lies anywhere inside, where `tap_layer` puts it."""

    def tap_layer(self, layer: nn.Module) -> None:
        """Take `layer` as the tapped one, and what follows it as the head."""
        self.head = Head(self.encoder, layer)

    @property
    def layer(self) -> nn.Module:
        """The module that has the tapped layer's name now."""
        return self.head.layer

    def _blank_activations(self, pixels: Tensor) -> Tensor:
        def run() -> Tensor:
            outputs: list[Tensor] = []
            with forward_hooks([self.layer], lambda _module, _args, output: outputs.append(output.clone())):
                self.encoder(pixels)
            return outputs[0]

        return self._baselines.value(pass_state(self.encoder, pixels, without=self.head.parts_behind), run)


def differentiable_rnn(head: nn.Module, device: torch.device) -> AbstractContextManager[Any]:
    """Context without cuDNN for a `head` with RNNs: its kernels have no backward pass in evaluation mode, PyTorch's own do."""
    if device.type == "cuda" and any(isinstance(part, nn.RNNBase) for part in head.modules()):
        return torch.backends.cudnn.flags(enabled=False)
    return nullcontext()
