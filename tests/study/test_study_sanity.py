"""The sanity checks of the study: maps that follow the network change, attention that does not follow it is found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networks
import pytest
import test_study
import torch
from torch import Tensor, nn

pytest.importorskip("pyarrow")

import multimodal_cam as mc  # noqa: E402
from multimodal_cam.study.report.sanity_section import write_sanity  # noqa: E402
from multimodal_cam.study.report.study_report import write_report  # noqa: E402
from multimodal_cam.study.runner import study_run  # noqa: E402
from multimodal_cam.study.runner.randomization_run import CAPTION, measure_sanity
from multimodal_cam.study.sources.photo_list import listed_photos  # noqa: E402

WORDS = ["<eos>", "<unk>", "a", "dog", "ball", "on", "the", "cat"]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.last = nn.Conv2d(5, 6, 3, stride=2, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.tanh(self.last(torch.tanh(self.first(pixels))))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(WORDS), 16)
        self.image = nn.Linear(6 * 64, 16)
        self.readout = nn.Linear(16, len(WORDS))

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        return self.readout(torch.tanh(self.embed(ids.clamp(min=0)) + self.image(features.flatten(1))[:, None]))


def blind() -> Any:
    """A captioner of random weights whose attention is the same whatever it has learned, sees or says."""
    torch.manual_seed(0)
    model = mc.captioner(encoder=Encoder(), decoder=Decoder(), tokenizer=WORDS, eos=0, unk=1, image_size=32)
    fixed = torch.arange(64.0).softmax(dim=0).view(8, 8)
    model.attention = lambda inputs, ids, activations: fixed.expand(*ids.shape, 8, 8)
    return model


def photos(folder: Path) -> Path:
    data = test_study.make_photos(folder, 3)
    texts = ["[/EN#1/people A dog] on [/EN#2/other the ball]", "[/EN#1/people A cat]", "[/EN#2/other The ball] on a cat"]
    for i, text in enumerate(texts):
        networks.noise_image(i).save(data / "images" / f"{i}.jpg")
        (data / "Sentences" / f"{i}.txt").write_text(f"{text}\n")
    return data


def test_what_does_not_follow_the_network_is_found_out(tmp_path: Path) -> None:
    data, out = photos(tmp_path / "data"), tmp_path / "out"
    run = test_study.settings(data, models=("test_study_sanity:blind",), methods=("grad_cam", "attention"), batch_size=3)
    measure_sanity(run, listed_photos(None, data, {}), out)
    found = test_study.rows(out, "sanity")
    stages = [CAPTION, "head", "encoder", "encoder.first"]
    assert list(dict.fromkeys(row["stage"] for row in found)) == stages
    places = [sum(row["stage"] == stage and row["method"] == "grad_cam" for row in found) for stage in stages]
    assert places[1:] == [4, 4, 4]  # marked nouns
    assert 1 <= places[0] <= 4  # those that are not behind the other caption's end
    for row in found:
        if row["method"] == "attention":
            assert row["ssim"] == pytest.approx(1)
        else:
            assert row["rank"] < 0.99
    write_sanity(out, 0)
    said = (out / "sanity.md").read_text()
    assert "attention | log_prob | encoder.first | 1.000 [1.000, 1.000]" in said
    assert len(list((out / "plots").glob("sanity-*.png"))) == 2


def test_a_study_in_the_same_folder_shows_them_and_the_network_is_what_it_was(tmp_path: Path) -> None:
    data, out = photos(tmp_path / "data"), tmp_path / "out"
    run, items = (
        test_study.settings(data, models=("test_study_sanity:blind",)),
        listed_photos(None, photos(tmp_path / "more"), {}),
    )
    measure_sanity(run, items, out)
    write_sanity(out, 0)
    first = (out / "sanity.parquet").read_bytes()
    study_run.run_study(run, listed_photos(None, data, {}), out)
    write_report(out)
    assert "Sanity: do the maps change" in (out / "report.md").read_text()
    measure_sanity(run, items, out)
    assert (out / "sanity.parquet").read_bytes() == first


def test_answers_too(tmp_path: Path) -> None:
    from multimodal_cam.data.readers.question_record import Question
    from multimodal_cam.study.sources.photo_list import question_photos

    (tmp_path / "images").mkdir()
    for name in "ab":
        networks.noise_image(ord(name)).save(tmp_path / "images" / f"{name}.png")
    questions = [Question(f"{name}.png", "what colour is top left?", "red", "colour", boxes=((0, 0, 0.5, 0.5),)) for name in "ab"]
    run = test_study.settings(tmp_path, task="vqa", entities="", models=("test_study:planted_vqa",), scores=("logit",))
    with pytest.raises(ValueError, match="SSIM needs maps of 5 x 5 cells or more"):
        measure_sanity(run, question_photos(questions), tmp_path / "out")
    assert not (tmp_path / "out").exists()
