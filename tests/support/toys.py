"""Small explanations without a model, for tests of what reads them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

import torch
from PIL import Image

from multimodal_cam import Explanation
from multimodal_cam.core.geometry import Placement, squeeze
from multimodal_cam.core.spans import Span, join


def toy_explanation(
    text: str = "a brown dog runs over the green grass",
    image: Image.Image | None = None,
    *,
    unknown: Collection[int] = (),
    placement: Placement | None = None,
    grid: tuple[int, int] = (14, 14),
    linear: bool = True,
    seed: int = 0,
) -> Explanation:
    """One token a word; the map of word `i` is weak noise and one hot cell of 1 + i / 10 nats, `hot_cell(i, grid)`.

    It adds up to the word's reliance. `linear=False` keeps maps of the words and of the whole text only.
    """
    image = image or Image.new("RGB", (160, 120), (110, 120, 130))
    names, noise = text.split(), torch.Generator().manual_seed(seed)
    maps = 0.01 * torch.randn(len(names), *grid, generator=noise)
    for i in range(len(names)):
        maps[i][hot_cell(i, grid)] = 1 + i / 10
    words = tuple(Span(name, i, i + 1, known=i not in unknown) for i, name in enumerate(names))
    whole = join(words)
    spans = {(word.start, word.stop): maps[word.start] for word in words} | {(whole.start, whole.stop): maps.sum(dim=0)}
    reliance = maps.sum(dim=(1, 2))
    return Explanation(
        image=image,
        text=text,
        tokens=tuple(names),
        words=words,
        placement=placement or squeeze(*image.size),
        model="toy",
        method="evidence" if linear else "layer_cam",
        score="log_prob",
        unit="nats",
        layer="features",
        token_scores=torch.full((len(names),), -0.5),
        token_log_probs=torch.full((len(names),), -0.5),
        token_reliance=reliance,
        token_maps=maps if linear else None,
        span_maps={} if linear else spans,
        token_changes=reliance + 0.002 if linear else None,
        provenance={"seed": str(seed)},
    )


REGIONS = ((0.1, 0.1, 0.4, 0.5), (0.3, 0.3, 0.9, 0.9), (0.6, 0.05, 0.7, 0.6))


def region_explanation(text: str = "dog on grass") -> Explanation:
    """As `toy_explanation`, of a network that reads three boxes of the photo: word `i` has the strongest value in box `i`."""
    e = toy_explanation(text, placement=Placement(160, 120, boxes=REGIONS), grid=(len(REGIONS), 1))
    maps = 0.1 + torch.eye(len(e.words), len(REGIONS))[..., None] * (1 + torch.arange(len(e.words))[:, None, None] / 10)
    return replace(e, token_maps=maps, token_reliance=maps.sum(dim=(1, 2)), token_changes=maps.sum(dim=(1, 2)))


ANSWERS = {"brown": 0.55, "black": 0.2, "white": 0.1, "gold": 0.05, "red": 0.03, "blue": 0.01}


def toy_answer(
    text: str = "brown",
    question: str | None = "What colour is the zorb dog?",
    image: Image.Image | None = None,
    *,
    answers: Mapping[str, float] = MappingProxyType(ANSWERS),
    score: str = "logit",
    counterfactual: bool = False,
    linear: bool = True,
    instead_of: Mapping[str, str] = MappingProxyType({}),
    placement: Placement | None = None,
    grid: tuple[int, int] = (14, 14),
) -> Explanation:
    """The answer `text` and, as its alternatives, the others of `answers` with their probabilities.

    The map of answer `i` in the order of `answers` has a hot cell of 1 + i / 10 at `hot_cell(i, grid)`; so do all have another
    one, where they cancel out. Word `i` of the question adds (-1)^i / (i + 1); the model does not know the word `zorb`.
    """
    names = list(answers)
    scores, log_probs = torch.tensor([3 - i / 2 for i in range(len(names))]), torch.tensor([*answers.values()]).log()
    maps = torch.zeros(len(names), *grid)
    maps[:, -1, -1] = 0.5
    for i in range(len(names)):
        maps[i][hot_cell(i, grid)] = 1 + i / 10
    own = names.index(text)
    rest = [i for i in range(len(names)) if i != own]
    asked = [] if question is None else re.findall(r"\w+", question.lower())
    base = toy_explanation(text, image, placement=placement, grid=grid, linear=linear)
    return replace(
        base,
        text=text,
        tokens=(text,),
        words=(Span(text, 0, 1),),
        method="grad_cam" if linear else "layer_cam",
        score=score,
        counterfactual=counterfactual,
        unit="logit" if score.endswith("logit") else "nats",
        token_scores=scores[[own]],
        token_log_probs=log_probs[[own]],
        token_reliance=torch.tensor([0.75]),
        token_maps=maps[[own]] if linear else None,
        span_maps={} if linear else {(0, 1): maps[own]},
        token_changes=None,
        question=question,
        question_spans=tuple(Span(word, i, i + 1, known=word != "zorb") for i, word in enumerate(asked)),
        token_question=torch.tensor([[(-1) ** i / (i + 1) for i in range(len(asked))]]) if asked else None,
        alternatives=(tuple(names[i] for i in rest),),
        alternative_log_probs=log_probs[rest][None],
        alternative_scores=scores[rest][None],
        alternative_maps=maps[rest][None],
        instead_of=instead_of,
    )


def hot_cell(word: int, grid: tuple[int, int] = (14, 14)) -> tuple[int, int]:
    """Row and column of the hot cell of word `word`."""
    return (3 * word + 1) % grid[0], (5 * word + 2) % grid[1]
