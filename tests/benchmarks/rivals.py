"""Other libraries' Grad-CAM of every word of a caption, used as their documentation shows, and how their maps
compare to ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn


class WordScores(nn.Module):
    """A captioner as these libraries want it: pixels -> one score per word, `log p(word | prefix)` `(b,
    t)`."""

    def __init__(self, model: Any, caption: str) -> None:
        super().__init__()
        self.model, self.network, self.layer = model, model.module, model.layer
        self.ids = model.tokenize([caption])

    def forward(self, pixels: Tensor) -> Tensor:
        logits = self.network["decoder"](self.network["encoder"](pixels), self.ids.expand(len(pixels), -1))
        words: Tensor = logits.log_softmax(-1).gather(-1, self.ids.expand(len(pixels), -1)[..., None])[..., 0]
        return words

    def pixels(self, image: Image) -> Tensor:
        pixels: Tensor = self.model.preprocess([image]).pixels
        return pixels


@dataclass(frozen=True)
class Rival:
    """`maps(scores, pixels)` gives its maps of all words; `same(ours)` makes of our raw maps what it makes of
    its own."""

    maps: Callable[[WordScores, Tensor], Tensor]
    same: Callable[[Tensor], Tensor]

    def gap(self, theirs: Tensor, ours: Tensor) -> float:
        """The largest difference of any cell, as a share of that word's strongest cell."""
        ours = self.same(ours)
        return float(((theirs - ours).abs().amax(dim=(1, 2)) / ours.abs().amax(dim=(1, 2))).nan_to_num(0).max())


def grad_cam(scores: WordScores, pixels: Tensor) -> Tensor:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=scores, target_layers=[scores.layer]) as cam:
        words = range(scores.ids.shape[1])
        maps = [cam(input_tensor=pixels, targets=[ClassifierOutputTarget(i)])[0] for i in words]
    return torch.from_numpy(np.stack(maps))


def grad_cam_finish(ours: Tensor) -> Tensor:
    from pytorch_grad_cam.utils.image import scale_cam_image

    resized = scale_cam_image(ours.clamp(min=0).numpy(), (224, 224))
    return torch.from_numpy(scale_cam_image(resized))


def captum(scores: WordScores, pixels: Tensor) -> Tensor:
    from captum.attr import LayerGradCam

    cam = LayerGradCam(scores, scores.layer)
    return torch.cat([cam.attribute(pixels, target=i)[0] for i in range(scores.ids.shape[1])]).detach()


def torchcam(scores: WordScores, pixels: Tensor) -> Tensor:
    from torchcam.methods import GradCAM

    with GradCAM(scores, target_layer=scores.layer) as cam:
        words, last = scores(pixels), scores.ids.shape[1] - 1
        maps = [cam(i, words, normalized=False, retain_graph=i < last)[0] for i in range(last + 1)]
    return torch.cat(maps).detach()


RIVALS: Mapping[str, Rival] = {
    "grad-cam": Rival(grad_cam, grad_cam_finish),
    "captum": Rival(captum, lambda ours: ours),
    "torchcam": Rival(torchcam, lambda ours: ours.clamp(min=0)),
}
