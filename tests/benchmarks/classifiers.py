"""`classifiers`: classes of a ResNet-50 by us and by others, and against one plain forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from captioners import photo
from measuring import Measurement, Section, medians, milliseconds
from rivals import RIVALS
from torch import Tensor, nn
from torchvision import models

import multimodal_cam as mc

TOLERANCE = 1e-3  # of the strongest cell
CLASSES = 5
CLASSES_AIM = "1.3"


class ClassScores(nn.Module):
    """A classifier as the rivals want it: pixels -> the logits of the classes `ids` `(1, t)`."""

    def __init__(self, model: Any, ids: Tensor) -> None:
        super().__init__()
        self.model, self.network, self.layer, self.ids = model, model.module, model.layer, ids

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(pixels)[:, self.ids[0]]
        return logits

    def pixels(self, image: Any) -> Tensor:
        pixels: Tensor = self.model.preprocess([image]).pixels
        return pixels


def resnet50() -> Any:
    torch.manual_seed(0)
    network = models.resnet50(weights=None).eval()
    return mc.classifier(network, preprocess=models.ResNet50_Weights.DEFAULT.transforms(), name="resnet50 classifier")


def forward(model: Any, image: Any) -> Tensor:
    """One plain pass from the same PIL image; no graph."""
    with torch.no_grad():
        logits: Tensor = model.module(model.preprocess([image]).pixels)
    return logits


def against_others(repeat: int, **_: Any) -> Iterator[Measurement]:
    model, image = resnet50(), photo()
    likeliest = mc.explain(model, image)
    for count in (1, CLASSES):
        labels = [label for label, _ in likeliest.answers[:count]]
        scores = ClassScores(model, model.tokenize(labels).T)

        def ours(labels: list[str] = labels) -> Tensor:
            maps = mc.explain(model, image).answer_maps
            return torch.stack([maps[label] for label in labels])

        work: dict[str, Callable[[], Any]] = {"ours": ours}
        for name, rival in RIVALS.items():
            work[name] = lambda rival=rival, scores=scores: rival.maps(scores, scores.pixels(image))
            gap = rival.gap(work[name](), ours())
            if not gap <= TOLERANCE:
                raise AssertionError(f"{model.name}: our maps and {name}'s differ by {gap:.2g} of the strongest cell")
        times = medians(work, repeat)
        for name in RIVALS:
            yield Measurement(
                f"{model.name} {count} of {CLASSES} classes vs {name}",
                {"speedup": f"{times[name] / times['ours']:.2f}"},
                {"ours": milliseconds(times["ours"]), "theirs": milliseconds(times[name])},
            )


def against_forward(repeat: int, **_: Any) -> Iterator[Measurement]:
    model, image = resnet50(), photo()
    methods = ("grad_cam", "evidence")
    work: dict[str, Callable[[], Any]] = {"forward": lambda: forward(model, image)}
    work |= {method: lambda method=method: mc.explain(model, image, method=method) for method in methods}
    times = medians(work, 3 * repeat)
    for method in methods:
        yield Measurement(
            f"{model.name} {CLASSES} classes {method}",
            {"ratio": f"{times[method] / times['forward']:.2f}"},
            {
                "explain": milliseconds(times[method]),
                "forward": milliseconds(times["forward"]),
                "aim": f"<= {CLASSES_AIM}" if method == "grad_cam" else "",
            },
        )


CLASSES_SECTION = Section(
    "Classes of an image classifier against grad-cam, captum and torchcam",
    "torchvision's ResNet-50 with random weights and its own preprocessing, everything from the same PIL photo of 500 x 375 on. "
    f"We always explain the {CLASSES} likeliest classes; the others explain one of them, or all. Before timing, maps are checked "
    "to be equal within 0.1 % of the strongest cell, after that rival's own ReLU, normalisation and resizing. Medians of "
    "interleaved repetitions.",
    against_others,
)
CLASSES_FORWARD_SECTION = Section(
    f"{CLASSES} classes against one plain forward pass",
    "The same network and photo: the likeliest classes with their maps and what the photo adds, divided by one forward pass "
    "under `no_grad`, preprocessing on both sides. Medians of interleaved repetitions.",
    against_forward,
)
