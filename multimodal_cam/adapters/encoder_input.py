"""Base of the adapters around a user's own network: images through its encoder, and the baseline without an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.cudnn_switch import without_cudnn
from ..core.geometry import squeeze
from ..core.hooks import LayerTap
from ..core.layer_layout import AxesView
from ..core.layer_view import LayerView
from ..core.output_parts import map_tensors, tensors_in
from .compute_device import device_of, dtype_of
from .given_layouts import GivenLayouts, Layouts
from .head_extraction import Head
from .image_preprocessing import MEAN_COLOUR, ImagePreprocessing, channels_explained
from .inputs import Inputs, deduplicate_images
from .measured_layers import MeasuredLayers
from .network_state import pass_state
from .state_cache import StateCache

BLANK_SIDE = 256  # pixels: crops of common sizes fit into it


class EncoderAdapter(ABC):
    """`encoder(pixels)` gives the tapped layer, in a layout that is measured; `module` holds the parameters of all parts."""

    def __init__(self, module: nn.Module, encoder: nn.Module, preprocessing: ImagePreprocessing, layout: Layouts = None) -> None:
        self.module, self.encoder = module, encoder
        layouts = GivenLayouts.of(layout, has_boxes=preprocessing.regions is not None)
        self.layers = MeasuredLayers(module, encoder, layouts, encode=self.encode, logits=self.logits)
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

    def noise_inputs(self) -> Inputs:
        """A photo of noise, the same every time, to try the network with."""
        noise = torch.randint(0, 256, (BLANK_SIDE, BLANK_SIDE, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        return self.trial_inputs([Image.fromarray(noise.numpy())])

    def batch_key(self, image: Image.Image, question: str | None) -> Hashable:
        """Shape of the image's pixels: those of one size run together."""
        return self.preprocessing.shape(image)

    def _on_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.device, dtype_of(self.module))

    @abstractmethod
    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        """See `TaskAdapter`."""

    def layer_view(self, inputs: Inputs, layer: nn.Module) -> LayerView:
        """How the output of `layer` becomes a grid: see `MeasuredLayers`."""
        return self.layers.view(inputs, layer, tapped=layer is self.layer)

    def readable_layers(self, inputs: Inputs, layers: Collection[nn.Module]) -> dict[nn.Module, LayerView]:
        """Views of those of `layers` that run once and follow the photo, measured together."""
        return self.layers.readable(inputs, layers)

    def features(self, inputs: Inputs, activations: Tensor | None = None) -> Any:
        """What the encoder gives the head, a row for each row of the batch; with `activations` of `n` batches in it.

        Where the encoder gives more tensors than the tapped one, it runs for the others.
        """
        if activations is None:
            return self.in_rows(inputs, self.encode(inputs.pixels))
        view = self.layer_view(inputs, self.encoder)
        if not isinstance(view, AxesView) or view.is_output:
            return activations
        form = self.layers.measured[self.encoder].form
        if len(tensors_in(form)) == 1:
            return view.inject(activations, form)
        repeated = inputs.repeat(len(activations) // len(inputs))
        with torch.no_grad():
            output = self.encode(repeated.pixels)
        return view.inject(activations, output)

    def encode(self, pixels: Tensor) -> Any:
        """Output of the encoder. Raises ValueError for pixels of other channels than it takes."""
        with channels_explained(self.encoder, pixels, self.preprocessing.transform is not None):
            return self.encoder(pixels)

    def in_rows(self, inputs: Inputs, output: Any) -> Any:
        """The encoder's output with a row for each row of the batch, not for each image."""
        if inputs.image_index is None:
            return output
        if all(tensor.ndim <= 2 for _, tensor in tensors_in(output)):  # vectors, which have no cells
            return map_tensors(output, inputs.to_rows)
        view = self.layer_view(inputs, self.encoder)
        activations = inputs.to_rows(view.extract(output))
        return view.inject(activations, map_tensors(output, inputs.to_rows))

    def baseline_activations(self, inputs: Inputs) -> Tensor:
        """Activations of `layer` for a mean-colour image, `(1, ...)`, or `(b, ...)` where preprocessing tells sizes apart."""
        blank = self.baseline_inputs(inputs)
        if bool((blank.pixels == blank.pixels[:1]).all()):
            return self._blank_activations(blank, 0)
        return inputs.to_rows(torch.cat([self._blank_activations(blank, i) for i in range(len(blank.pixels))]))

    def _blank_activations(self, blank: Inputs, image: int) -> Tensor:
        """Activations of `layer` `(1, ...)` for one of the blank images, kept until the encoder changes."""
        pixels = blank.pixels[image : image + 1]

        def run() -> Tensor:
            with LayerTap(self.layer, view=self.layer_view(blank, self.layer)) as tap:
                self.encode(pixels)
            return tap.activations

        return self._baselines.value(pass_state(self.encoder, pixels, without=self.parts_behind), run)

    @property
    def parts_behind(self) -> frozenset[nn.Module]:
        """Parts of the encoder that the tapped layer does not depend on."""
        return frozenset()

    def baseline_inputs(self, inputs: Inputs) -> Inputs:
        """The same inputs with a mean-colour image in every place; photos as stored get their own mean, features zeros."""
        if self.preprocessing.transform is None or inputs.pixels.ndim == 3:  # features of regions: none of them
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

    @property
    def parts_behind(self) -> frozenset[nn.Module]:
        return self.head.parts_behind

    def head_output(self, inputs: Inputs, activations: Tensor) -> Any:
        """The network's output from `activations` of the tapped layer."""
        return self.head(activations, inputs.to_rows(inputs.pixels), self.layer_view(inputs, self.layer))


def differentiable_rnn(head: nn.Module, device: torch.device) -> AbstractContextManager[Any]:
    """Context without cuDNN for a `head` with RNNs: its kernels have no backward pass in evaluation mode, PyTorch's own do."""
    if device.type == "cuda" and any(isinstance(part, nn.RNNBase) for part in head.modules()):
        return without_cudnn()
    return nullcontext()
