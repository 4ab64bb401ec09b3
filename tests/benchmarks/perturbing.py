"""`perturbing`: occlusion of all words of a caption from shared passes, and by captum once for each word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from captioners import photo, resnet50, text
from measuring import Measurement, Section, medians, milliseconds
from rivals import WordScores
from torch import Tensor

import multimodal_cam as mc

WORD_COUNT = 12
WINDOW = 32  # 7 x 7 windows of 224 x 224
AT_ONCE = 32  # windows in one of captum's passes
AIM = "8"
TOLERANCE = 1e-3  # of the largest drop


def captum_occlusion(scores: WordScores, pixels: Tensor, window: int) -> Tensor:
    """Maps `(t, H, W)`, one call for each word, as captum's documentation shows."""
    from captum.attr import Occlusion

    shape = (pixels.shape[1], window, window)
    with torch.no_grad():
        maps = [
            Occlusion(scores).attribute(pixels, shape, shape, target=word, perturbations_per_eval=AT_ONCE)
            for word in range(scores.ids.shape[1])
        ]
    return torch.cat(maps)[:, 0]


def against_captum(repeat: int, window: int = WINDOW, **_: Any) -> Iterator[Measurement]:
    """Occlusion of 12 words; the maps are checked to be equal first."""
    model, image = resnet50(), photo()
    caption = text(model, WORD_COUNT)
    scores = WordScores(model, caption)
    options = {"method": "occlusion", "window": window, "stride": window, "fill": 0, "score": "log_prob"}

    def ours() -> Tensor:
        return mc.explain(model, image, text=caption, **options).maps

    def theirs() -> Tensor:
        return captum_occlusion(scores, scores.pixels(image), window)

    found, expected = ours(), theirs()
    gap = float((found - expected).abs().max() / expected.abs().max())
    if not gap <= TOLERANCE:
        raise AssertionError(f"{model.name}: our occlusion and captum's differ by {gap:.2g} of the largest drop")
    times = medians({"ours": ours, "theirs": theirs}, repeat)
    yield Measurement(
        f"{model.name} occlusion vs captum",
        {"speedup": f"{times['theirs'] / times['ours']:.2f}"},
        {"ours": milliseconds(times["ours"]), "theirs": milliseconds(times["theirs"]), "aim": f">= {AIM}"},
    )


OCCLUSION_SECTION = Section(
    "Occlusion of 12 words",
    f"Occlusion sensitivity, windows of {WINDOW} x {WINDOW} of 224 x 224 pixels, of the 12 words of one caption: "
    f"ours reads all words off the same passes, captum's Occlusion runs once for each word, "
    f"{AT_ONCE} windows a pass. The maps are checked to be equal first.",
    against_captum,
)
