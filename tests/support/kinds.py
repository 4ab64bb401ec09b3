"""One small model of every kind that there is, for what must be true of all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from classifiers import small_classifier
from networks import noise_image, small_captioner, small_vqa
from torch import nn

import multimodal_cam as mc


@dataclass
class Kind:
    """A model, the part of it that runs before its layer, and what it is asked."""

    model: Any
    backbone: nn.Module
    asked: dict[str, str] = field(default_factory=dict)

    def explain(self, seed: int = 0, **options: Any) -> mc.Explanation:
        return mc.explain(self.model, noise_image(seed, (64, 64)), **self.asked, **options)


def _hf(name: str) -> Callable[..., Kind]:
    def build(folders: Callable[[str], Any]) -> Kind:
        from hf_models import CASES

        case = next(case for case in CASES if case.name == name)
        model = mc.load(folders(name), device="cpu")
        asked = {"question": case.question} if case.question else {}
        return Kind(model, model.tower, asked if case.chooses else asked | {"text": "a brown dog"})

    return build


def _clip(vision: dict[str, Any]) -> Callable[..., Kind]:
    def build(folders: Callable[[str], Any]) -> Kind:
        import open_clip

        home = folders("ved-vit").parent / "clip"
        home.mkdir(exist_ok=True)
        text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
        config = {"embed_dim": 16, "vision_cfg": {"image_size": 64, **vision}, "text_cfg": text}
        (home / "kind-tiny.json").write_text(json.dumps(config))
        open_clip.add_model_config(home)
        torch.manual_seed(0)
        network = open_clip.create_model("kind-tiny")
        torch.save(network.state_dict(), home / "kind-tiny.pt")
        model = mc.load("open_clip:kind-tiny", weights=home / "kind-tiny.pt", device="cpu")
        return Kind(model, model.encoder, {"text": "a brown dog"})

    return build


def _captioner(folders: Any) -> Kind:
    model = small_captioner()
    return Kind(model, model.encoder, {"text": "a dog runs"})


def _vqa(folders: Any) -> Kind:
    model = small_vqa()
    return Kind(model, model.encoder, {"question": "what colour is top left"})


def _classifier(name: str) -> Callable[..., Kind]:
    def build(folders: Any) -> Kind:
        model = small_classifier(name)
        return Kind(model, model.module, {"text": "class 2"})

    return build


def _bundled(name: str, asked: dict[str, str]) -> Callable[..., Kind]:
    def build(folders: Any) -> Kind:
        model = mc.load(name, device="cpu")
        return Kind(model, model.network.encoder, asked)

    return build


KINDS: dict[str, Callable[..., Kind]] = {
    "captioner": _captioner,
    "vqa": _vqa,
    "classifier resnet": _classifier("resnet"),
    "classifier untraceable": _classifier("untraceable"),
    "bundled captioner": _bundled("nic", {"text": "a dog runs"}),
    "bundled vqa": _bundled("lstm-q", {"question": "what is the dog doing?"}),
    "clip resnet": _clip({"layers": [1, 1, 1, 1], "width": 8, "patch_size": None}),
    "clip vit": _clip({"layers": 2, "width": 32, "head_width": 16, "patch_size": 16}),
    "hf ved": _hf("ved-vit"),
    "hf llava": _hf("llava"),
    "hf vilt": _hf("vilt"),
}
