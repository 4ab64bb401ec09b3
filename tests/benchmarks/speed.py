"""`speed`: the same 12 word maps by us and by others; and all 12 words against one plain forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from captioners import forward, nic, photo, resnet50, text, vgg16
from measuring import Measurement, Section, medians, milliseconds
from rivals import RIVALS, WordScores

import multimodal_cam as mc

WORD_COUNT = 12
AIMS = {"grad-cam": "15", "captum": "5", "torchcam": "1.5"}
RATIO_AIMS = {
    "nic grad_cam": "1.6",
    "nic evidence": "3.5",
    "resnet50 grad_cam": "1.25",
    "resnet50 evidence": "2",
}
TOLERANCE = 1e-3  # of the strongest cell: float32 on both sides, summed in another order


def against_others(repeat: int, **_: Any) -> Iterator[Measurement]:
    for model in (resnet50(), vgg16()):
        image, caption = photo(), text(model, WORD_COUNT)
        scores = WordScores(model, caption)

        def ours(model: Any = model, image: Any = image, caption: str = caption) -> torch.Tensor:
            return mc.explain(model, image, text=caption, method="grad_cam").maps

        work: dict[str, Callable[[], Any]] = {"ours": ours}
        for name, rival in RIVALS.items():
            work[name] = lambda rival=rival, scores=scores, image=image: rival.maps(scores, scores.pixels(image))
            gap = rival.gap(work[name](), ours())
            if not gap <= TOLERANCE:
                raise AssertionError(f"{model.name}: our maps and {name}'s differ by {gap:.2g} of the strongest cell")
        times = medians(work, repeat)
        for name in RIVALS:
            yield Measurement(
                f"{model.name} grad_cam vs {name}",
                {"speedup": f"{times[name] / times['ours']:.2f}"},
                {"ours": milliseconds(times["ours"]), "theirs": milliseconds(times[name]), "aim": _aim(model, name)},
            )


def _aim(model: Any, rival: str) -> str:
    return "" if rival == "torchcam" and model.name != "vgg16" else f">= {AIMS[rival]}"


def against_forward(repeat: int, model: str, **_: Any) -> Iterator[Measurement]:
    for name, captioner in (("nic", nic(model)), ("resnet50", resnet50())):
        image, caption = photo(), text(captioner, WORD_COUNT)
        times = medians(
            {
                "forward": lambda c=captioner, i=image, t=caption: forward(c, [i], t),
                "grad_cam": lambda c=captioner, i=image, t=caption: mc.explain(c, i, text=t, method="grad_cam"),
                "evidence": lambda c=captioner, i=image, t=caption: mc.explain(c, i, text=t, method="evidence"),
            },
            3 * repeat,
        )
        for method in ("grad_cam", "evidence"):
            yield Measurement(
                f"{name} {method}",
                {"ratio": f"{times[method] / times['forward']:.2f}"},
                {
                    "explain": milliseconds(times[method]),
                    "forward": milliseconds(times["forward"]),
                    "aim": f"<= {RATIO_AIMS[f'{name} {method}']}",
                },
            )


RIVALS_SECTION = Section(
    "Against grad-cam, captum and torchcam",
    "Grad-CAM maps of 12 given words of one photo, everything from the same PIL image on. The captioners have torchvision "
    "encoders, random weights, and an LSTM of `nn.LSTMCell` steps; VGG's head holds its fully connected layers. Each rival "
    "explains a module `pixels -> log p of the 12 words` the way its documentation shows. Before timing, maps are checked to "
    "be equal within 0.1 % of the strongest cell, after that rival's own ReLU, normalisation and resizing. Medians of "
    "interleaved repetitions.",
    against_others,
)
FORWARD_SECTION = Section(
    "Against one plain forward pass",
    "All 12 words of a given text (`evidence`: 16 steps), divided by one forward pass (encoder and teacher-forced head under "
    "`no_grad`). Both sides start at the same PIL photo of 500 x 375, so both hold the preprocessing; ours also holds the second "
    "head pass that gives the reliance. Medians of interleaved repetitions.",
    against_forward,
)
