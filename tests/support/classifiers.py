"""Small image classifiers with random weights, as torchvision, timm and people write them; and a planted one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import timm
import torch
from networks import ColourEncoder
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.vgg import VGG

import multimodal_cam as mc

CLASSES = 7


def small_resnet() -> nn.Module:
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)


def small_vgg() -> nn.Module:
    """VGG's own `forward`, its fully connected layers narrowed."""
    features = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(True),
        nn.MaxPool2d(2),
    )
    with torch.device("meta"):
        network = VGG(features, num_classes=CLASSES, init_weights=False)
    network.classifier = nn.Sequential(nn.Linear(8 * 49, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, CLASSES))
    return network


def small_densenet() -> nn.Module:
    """An in-place ReLU, a function, writes on what the last module gives."""
    return models.DenseNet(growth_rate=4, block_config=(1, 1, 1, 1), num_init_features=8, num_classes=CLASSES)


def small_convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 1)], num_classes=CLASSES)


def sequential() -> nn.Module:
    """A user's own, its ReLU in place."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=8, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(24, CLASSES),
    )


class Untraceable(nn.Module):
    """Its `forward` decides by looking at numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Conv2d(3, 6, 3, stride=8, padding=1), nn.Linear(6, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.body(pixels)
        if float(features.detach().abs().max()) > 1e6:
            raise ValueError("too bright")
        return self.out(nn.functional.relu_(features).mean(dim=(2, 3)))


class Around(Untraceable):
    """The head also reads what lies before the last grid."""

    def forward(self, pixels: Tensor) -> Tensor:
        return self.out(self.body(pixels).tanh().mean(dim=(2, 3)) + pixels.mean(dim=(1, 2, 3))[:, None])


class WrittenInPlace(Untraceable):
    """What is written in place comes back in no variable."""

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.body(pixels)
        features.mul_(2)
        torch.relu_(features)
        return self.out(features.mean(dim=(2, 3)))


# name -> (network, whether its head runs alone)
NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], bool]] = {
    "resnet": (small_resnet, True),
    "vgg": (small_vgg, True),
    "densenet": (small_densenet, True),
    "mobilenet": (functools.partial(models.mobilenet_v2, width_mult=0.25, num_classes=CLASSES), True),
    "efficientnet": (functools.partial(timm.create_model, "test_efficientnet", num_classes=CLASSES), True),
    "convnext": (small_convnext, True),
    "timm resnet": (functools.partial(timm.create_model, "test_resnet", num_classes=CLASSES), True),
    "timm convnext": (functools.partial(timm.create_model, "test_convnext", num_classes=CLASSES), True),
    "sequential": (sequential, True),
    "written in place": (WrittenInPlace, True),
    "untraceable": (Untraceable, False),
    "around": (Around, False),
}


def small_classifier(name: str = "sequential", **options):
    """Random, not too small weights; running statistics of batch norms that are not 0 and 1."""
    torch.manual_seed(0)
    network = NETWORKS[name][0]()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2)
    return mc.classifier(network, image_size=64, **options)


class QuadrantClassifier(nn.Module):
    """Class `i` of red, green, blue, white in so far as its colour is in its own quadrant (NW, NE, SW, SE)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.weight = ColourEncoder(), nn.Parameter(torch.tensor(4.0))

    def forward(self, pixels: Tensor) -> Tensor:
        halves = self.encoder(pixels).unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean(dim=(3, 5))  # (b, c, 2, 2)
        return self.weight * halves.flatten(2).diagonal(dim1=1, dim2=2)  # channel i, quadrant i
