"""Image classifiers for the engine: a VQA model without a question, its text one token over the classes."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.geometry import Placement, squeeze
from ..core.hooks import evaluation_mode
from .contract import refuse_questions
from .encoder_input import MEAN_COLOUR, CutNetworkAdapter
from .head_extraction import last_spatial_layer
from .inputs import Inputs
from .labels import LabelChooser, Labels
from .transform_placement import transform_placement


class Classifier(CutNetworkAdapter, LabelChooser):
    """See `classifier`."""

    task = "classification"
    head_input_layer: nn.Module | None = None

    def __init__(
        self,
        network: nn.Module,
        labels: Sequence[str] | None,
        layer: nn.Module | str | None,
        preprocess: Callable[[Image.Image], Tensor] | None,
        image_size: int,
        placement: Callable[[int, int], Placement],
        name: str,
        provenance: Mapping[str, str],
    ) -> None:
        super().__init__(network, network, preprocess, image_size, placement)
        self.name, self.provenance = name, dict(provenance)
        blank = self.prepare([Image.new("RGB", (64, 64), MEAN_COLOUR)])
        self.cut(last_spatial_layer(network, blank.pixels) if layer is None else _find(network, layer))
        self.labels = Labels(self._names(labels, blank))

    def _names(self, labels: Sequence[str] | None, inputs: Inputs) -> Sequence[str]:
        """The labels, one for each output. Raises ValueError when there are more, or fewer."""
        with evaluation_mode(self.module), torch.no_grad():
            classes = self.logits(inputs, torch.zeros(1, 1, dtype=torch.long)).shape[-1]
        if labels is None:
            return imagenet_labels() if classes == 1000 else [f"class {i}" for i in range(classes)]
        if len(labels) != classes:
            raise ValueError(f"labels: {self.name} has {classes} outputs, expected a label for each, got {len(labels)}")
        return labels

    def preprocess(self, images: Sequence[Image.Image], questions: Sequence[str] | None = None) -> Inputs:
        refuse_questions(self.name, questions)
        return self.prepare(images)

    def logits(self, inputs: Inputs, ids: Tensor, activations: Tensor | None = None) -> Tensor:
        if activations is None:
            logits = inputs.to_rows(self._checked(self.module(inputs.pixels), len(inputs.pixels)))
        else:
            logits = self._checked(self.head(activations, inputs.to_rows(inputs.pixels)), len(activations))
        return logits[:, None].expand(-1, ids.shape[1], -1)

    def _checked(self, logits: Any, rows: int) -> Tensor:
        """What the network gave, if that is `(rows, classes)`. Raises ValueError when it is anything else."""
        if isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == rows and logits.shape[1] > 1:
            return logits
        what = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
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
    """Your own image classifier, ready for `explain`: `classifier(module)`; `module(pixels)` gives logits `(b, classes)`.

    `explain(model, photo)` explains the likeliest class, `text="tabby cat"` another one; `e.answers` are the likeliest five
    and `e.answer_maps` their maps, all from one pass. `labels`: a name for each class, or several with commas between them
    (`"tabby, tabby cat"`); None: ImageNet's for 1000 classes, else `class 0` and so on. `layer`: a module or its dotted name;
    None: the last one that gives a grid `(b, c, h, w)`. `preprocess`: one image -> `(3, H, W)`, such as torchvision's
    `weights.transforms()` (default: squeezed to `image_size`, ImageNet's mean and deviation); `placement`: where its output
    lies on the image (`geometry.squeeze`, `center_crop`, `letterbox`), worked out from torchvision's and timm's transforms.

    The network is not changed and not copied. Its backbone runs once an image where `forward` can be cut at the layer, else
    once for the maps and once for `reliance`. Raises ValueError for labels that do not fit, and when no layer gives a grid.
    """
    if placement is None:
        placement = squeeze if preprocess is None else transform_placement(preprocess)
    return Classifier(module, labels, layer, preprocess, image_size, placement, name, provenance or {})


@functools.cache
def imagenet_labels() -> tuple[str, ...]:
    """ImageNet-1k's classes in their usual order, each with its synonyms: `tabby, tabby cat`."""
    from timm import data
    from torchvision.models import ResNet50_Weights

    timm_data: Any = data
    labels = timm_data.ImageNetInfo("imagenet-1k").label_descriptions()
    single = ResNet50_Weights.DEFAULT.meta["categories"]  # two classes are `crane`: here one is a `crane bird`
    return tuple(other if labels.count(label) > 1 else label for label, other in zip(labels, single, strict=True))


def _find(network: nn.Module, layer: nn.Module | str) -> nn.Module:
    """The module, or the one of that name. Raises ValueError, with near names, when it is not in the network."""
    names: dict[nn.Module, str] = {module: name for name, module in network.named_modules()}
    for module, name in names.items():
        if layer is module or layer == name:
            return module
    if isinstance(layer, nn.Module):
        raise ValueError(f"layer: this {type(layer).__name__} is not a part of the network")
    near = difflib.get_close_matches(layer, names.values(), n=5, cutoff=0.3)
    raise ValueError(f"unknown layer {layer!r}; the network has {', '.join(near or filter(None, names.values()))}")
