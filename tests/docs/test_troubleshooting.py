"""Every entry of docs/troubleshooting.md runs: a symptom as its heading, prose, and one block of Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import WORDS, Decoder, noise_image, small_vqa
from torch import Tensor, nn

import multimodal_cam as mc

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
ENTRIES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))


class AnySizeEncoder(nn.Module):
    """`(b, 3, H, W)` -> `(b, 6, 4, 4)`."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(3, 6, 5, stride=4, padding=2)

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(self.last(pixels).relu(), 4)


class VectorDecoder(Decoder):
    """Reads a vector `(b, 6)`, which its encoder has pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Identity()


def small_cnn(channels: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 6, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def names_of_the_page(folder: Path) -> dict[str, Any]:
    """What the blocks take for granted: the library and small networks; entries may need more, add it here."""
    torch.manual_seed(0)
    photo = folder / "photo.jpg"
    noise_image(0, (9, 7)).resize((90, 70)).save(photo)
    vqa = small_vqa()
    return {
        "mc": mc,
        "torch": torch,
        "nn": nn,
        "photo": str(photo),
        "cnn": small_cnn(),
        "four_band_cnn": small_cnn(4),
        "encoder": AnySizeEncoder(),
        "decoder": Decoder(),
        "vector_decoder": VectorDecoder(),
        "words": list(WORDS),
        "head": vqa.head,
        "answers": list(vqa.labels.names),
    }


@pytest.mark.parametrize("symptom", ENTRIES)
def test_the_line_to_write(symptom: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", ENTRIES[symptom], re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, "one block of Python an entry"
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks[0], f"{PAGE.name}: {symptom}", "exec"), names_of_the_page(tmp_path))
