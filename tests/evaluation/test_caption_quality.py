"""evaluation/caption_quality.py on a planted captioner: each noun depends on one quadrant, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import multimodal_cam as mc
from multimodal_cam.evaluation.caption_quality import evaluate_captions, say

WORDS = ["<eos>", "<unk>", "a", "and", "dog", "ball", "the", "on", "grass"]
XML = """<annotation><size><width>100</width><height>100</height></size>
<object><name>1</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>40</xmax><ymax>40</ymax></bndbox></object>
<object><name>2</name><bndbox><xmin>60</xmin><ymin>60</ymin><xmax>100</xmax><ymax>100</ymax></bndbox></object>
<object><name>3</name><scene>1</scene></object></annotation>"""
SENTENCE = (
    "[/EN#1/people A dog] and [/EN#2/other the ball] on [/EN#3/scene the grass] and [/EN#1/people a zebra] "
    "and [/EN#1/people the] .\n"
)


class Quadrants(nn.Module):
    """Channel `i` is 1 in quadrant `i` and 0 elsewhere: `(b, 4, 2, 2)`."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = nn.Parameter(torch.eye(4).view(4, 2, 2))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.grid.expand(len(pixels), 4, 2, 2) + 0 * pixels.mean()


class Planted(nn.Module):
    """`dog` reads quadrant 0, `ball` quadrant 3; the first words are "dog", then "ball", then the end."""

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        seen = features.mean(dim=(2, 3))
        logits = features.new_zeros(*ids.shape, len(WORDS))
        logits[:, :, 4] = seen[:, :1]
        logits[:, :, 5] = seen[:, 3:]
        for position, word in enumerate((4, 5, 0)[: ids.shape[1]]):
            logits[:, position, word] += 9
        return logits


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for folder in ("images", "Annotations", "Sentences"):
        (tmp_path / folder).mkdir()
    for name in ("1", "2"):
        Image.new("RGB", (100, 100), "white").save(tmp_path / "images" / f"{name}_x.jpg")
        (tmp_path / "Annotations" / f"{name}.xml").write_text(XML)
        (tmp_path / "Sentences" / f"{name}.txt").write_text(SENTENCE)
    return tmp_path


def planted() -> mc.TaskAdapter:
    return mc.captioner(encoder=Quadrants(), decoder=Planted(), tokenizer=WORDS, eos=0, unk=1, image_size=8)


def test_what_it_says_is_scored(photos: Path) -> None:
    pytest.importorskip("pycocoevalcap")
    assert say(planted(), photos / "images", ["1_x.jpg"]) == {"1_x.jpg": "dog ball"}
    references = {"1_x.jpg": ["Dog, ball!"], "2_x.jpg": ["dog ball"]}
    scores = evaluate_captions(planted(), photos / "images", references, batch_size=1)
    assert scores["BLEU-2"] == pytest.approx(1, abs=1e-6)
