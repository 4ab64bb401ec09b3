"""Adapter of image classifiers: like VQA models without a question, their text is one token over the classes."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.geometry import Placement
from ..core.hooks import evaluation_mode
from .contract import refuse_questions
from .encoder_input import CutNetworkAdapter
from .head_extraction import last_spatial_layer
from .image_preprocessing import ImagePreprocessing
from .inputs import Inputs
from .labels import LabelChooser, Labels


class Classifier(CutNetworkAdapter, LabelChooser):
    """See `classifier`."""

    task = "classification"
    head_input_layer: nn.Module | None = None

    def __init__(
        self,
        network: nn.Module,
        labels: Sequence[str] | None,
        layer: nn.Module | str | None,
        preprocessing: ImagePreprocessing,
        name: str,
        provenance: Mapping[str, str],
    ) -> None:
        super().__init__(network, network, preprocessing)
        self.name, self.provenance = name, dict(provenance)
        blank = self.blank_inputs()
        self.tap_layer(last_spatial_layer(network, blank.pixels) if layer is None else _find_layer(network, layer))
        self.labels = Labels(self._label_names(labels, blank))

    def _label_names(self, labels: Sequence[str] | None, inputs: Inputs) -> Sequence[str]:
        """One label for each output. Raises ValueError if there are more or fewer."""
        with evaluation_mode(self.module), torch.no_grad():
            classes = self.logits(inputs, torch.zeros(1, 1, dtype=torch.long)).shape[-1]
        if labels is None:
            return imagenet_labels() if classes == 1000 else [f"class {i}" for i in range(classes)]
        if len(labels) != classes:
            raise ValueError(f"labels: {self.name} has {classes} outputs, expected a label for each, got {len(labels)}")
        return labels

    def preprocess(self, images: Sequence[Image.Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        return self.image_inputs(images)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        if activations is None:
            logits = inputs.to_rows(self._checked_logits(self.module(inputs.pixels), len(inputs.pixels)))
        else:
            logits = self._checked_logits(self.head(activations, inputs.to_rows(inputs.pixels)), len(activations))
        return logits[:, None].expand(-1, ids.shape[1], -1)

    def _checked_logits(self, output: Any, rows: int) -> Tensor:
        """The network's output, if that is logits `(rows, classes)`. Raises ValueError for anything else."""
        if isinstance(output, Tensor) and output.ndim == 2 and len(output) == rows and output.shape[1] > 1:
            return output
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"{self.name}: expected logits ({rows}, classes) with two classes or more, got {what}; any other number is "
            "explained by explain_score"
        )


def classifier(
    module: nn.Module,
    *,
    labels: Sequence[str] | None = None,
    layer: nn.Module | str | None = None,
    preprocess: Callable[[Image.Image], Tensor] | None = None,
    image_size: int = 224,
    placement: Callable[[int, int], Placement] | None = None,
    name: str = "classifier",
    provenance: Mapping[str, str] | None = None,
) -> Classifier:
    """Your own image classifier, ready for `explain`: `classifier(module)`.

    `explain(model, photo)` explains the likeliest class, `text="tabby cat"` another one; `e.answers` are the likeliest five
    and `e.answer_maps` their maps, all from one pass. The network is neither changed nor copied. Its backbone runs once an image
    where torch.fx can trace what follows the layer, else once for the maps and once for `reliance`.

    Args:
        module: Network; `module(pixels)` gives logits `(b, classes)`.
        labels: A name for each class, or several with commas between them (`"tabby, tabby cat"`). None: ImageNet's for 1000
            classes, else `class 0` and so on.
        layer: Tapped layer, a module or its dotted name. None: the last one that gives a grid `(b, c, h, w)`.
        preprocess: One image -> pixels `(3, H, W)`, such as torchvision's `weights.transforms()`. None: the image is squeezed to
            `image_size`, with ImageNet's mean and deviation.
        image_size: Side of the squeezed image in pixels.
        placement: Placement of the pixels on an image of the given width and height (`geometry.squeeze`, `center_crop`,
            `letterbox`). None: measured, with photos of known patterns.
        name: Name in records and pages.
        provenance: Source of the weights, for the record.

    Returns:
        A `TaskAdapter`.

    Raises:
        ValueError: The labels do not fit the outputs, or no layer gives a grid.
    """
    preprocessing = ImagePreprocessing(preprocess, image_size, placement)
    return Classifier(module, labels, layer, preprocessing, name, provenance or {})


@functools.cache
def imagenet_labels() -> tuple[str, ...]:
    """ImageNet-1k's classes in their usual order, each with its synonyms: `tabby, tabby cat`."""
    from timm import data
    from torchvision.models import ResNet50_Weights

    timm_data: Any = data
    labels = timm_data.ImageNetInfo("imagenet-1k").label_descriptions()
    single = ResNet50_Weights.DEFAULT.meta["categories"]  # two classes are `crane`: here one is a `crane bird`
    return tuple(other if labels.count(label) > 1 else label for label, other in zip(labels, single, strict=True))


def _find_layer(network: nn.Module, layer: nn.Module | str) -> nn.Module:
    """Module `layer`, or that of this name. Raises ValueError, with near names, if the network has none."""
    names: dict[nn.Module, str] = {module: name for name, module in network.named_modules()}
    for module, name in names.items():
        if layer is module or layer == name:
            return module
    if isinstance(layer, nn.Module):
        raise ValueError(f"layer: this {type(layer).__name__} is not a part of the network")
    near = difflib.get_close_matches(layer, names.values(), n=5, cutoff=0.3)
    raise ValueError(f"unknown layer {layer!r}; the network has {', '.join(near or filter(None, names.values()))}")
