"""Faithfulness in the study: a planted model whose words depend on one quadrant each, so that it is known what removing does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networks
import pytest
import test_caption_quality
import test_study
import torch
from PIL import Image
from torch import Tensor, nn

pytest.importorskip("pyarrow")

import multimodal_cam as mc  # noqa: E402
from multimodal_cam.data.readers.question_record import Question  # noqa: E402
from multimodal_cam.study.measure.perturbation import FAITHFULNESS  # noqa: E402
from multimodal_cam.study.report.study_report import write_report  # noqa: E402
from multimodal_cam.study.runner import study_run  # noqa: E402
from multimodal_cam.study.sources.photo_list import listed_photos, question_photos  # noqa: E402

METRICS = ("pointing", *FAITHFULNESS)
LOW = {"deletion", "average_drop", "road_morf"}


class Seeing(nn.Module):
    """Channel `i` is how bright quadrant `i` is: `(b, 4, 2, 2)`."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = nn.Parameter(torch.eye(4).view(1, 4, 2, 2))

    def forward(self, pixels: Tensor) -> Tensor:
        bright = nn.functional.adaptive_avg_pool2d(pixels.mean(dim=1, keepdim=True), 2)
        return bright * self.channels


def seeing() -> Any:
    """`dog` is likelier the brighter the upper left is, `ball` the lower right."""
    return mc.captioner(
        encoder=Seeing(),
        decoder=test_caption_quality.Planted(),
        tokenizer=test_caption_quality.WORDS,
        eos=0,
        unk=1,
        image_size=8,
        layout="channels_first",  # its channels follow the photo, too, so that nothing can be measured
    )


def photos(folder: Path) -> Path:
    """Bright where the dog and the ball are, black elsewhere."""
    data = test_study.make_photos(folder, 2)
    image = Image.new("RGB", (100, 100))
    for corner in (0, 50):
        image.paste((255, 255, 255), (corner, corner, corner + 50, corner + 50))
    for path in (data / "images").iterdir():
        image.save(path)
    return data


def check_settings(row: dict[str, Any], other: str = "other_word") -> None:
    for metric in FAITHFULNESS:
        mine, theirs = row[metric], row[f"{metric}__{other}"]
        blended = metric in ("average_drop", "increase") and mine == theirs  # nothing to lose where the rest is black
        assert blended or (mine < theirs if metric in LOW else mine > theirs), metric
    assert row["road_morf"] < row["road_lerf"]
    assert row["sensitivity_n"] > 0.8


@pytest.mark.parametrize("canvas", ["pixels", "layer"])
def test_the_word_needs_what_its_map_marks_and_not_what_another_word_s_does(tmp_path: Path, canvas: str) -> None:
    data = photos(tmp_path / "data")
    controls = ("centre", "random", "other_word")
    run = test_study.settings(data, models=("test_study_faithful:seeing",), metrics=METRICS, controls=controls, canvas=canvas)
    out = study_run.run_study(run, listed_photos(None, data, {}), tmp_path / "out")
    found = test_study.rows(out)
    assert len(found) == 2 * 2 * 2
    for row in found:
        check_settings(row)
        assert row["deletion__random"] is not None
        assert row["pointing__random"] is None
    write_report(out)
    said = (out / "report.md").read_text()
    assert "| deletion | mean log-probability" in said
    assert ("the photo's mean colour" if canvas == "pixels" else "what it holds without a photo") in said


@pytest.mark.parametrize("canvas", ["pixels", "layer"])
def test_answers_need_what_their_maps_mark(tmp_path: Path, canvas: str) -> None:
    (tmp_path / "images").mkdir()
    networks.quadrant_image().save(tmp_path / "images" / "a.png")
    places = {"top left": ("red", (0.0, 0.0, 0.5, 0.5)), "bottom left": ("blue", (0.0, 0.5, 0.5, 1.0))}
    questions = [Question("a.png", f"what colour is {p}?", c, "colour", boxes=(box,)) for p, (c, box) in places.items()]
    run = test_study.settings(
        tmp_path,
        task="vqa",
        entities="",
        models=("test_study:planted_vqa",),
        metrics=METRICS,
        controls=("other_word",),
        canvas=canvas,
    )
    for row in test_study.rows(study_run.run_study(run, question_photos(questions), tmp_path / "out")):
        for metric in ("deletion", "road_morf"):
            assert row[metric] < row[f"{metric}__other_word"]
        assert row["insertion"] > row["insertion__other_word"]
        assert row["occlusion"] > 0.5


def test_without_asking_nothing_is_perturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multimodal_cam.study.measure import perturbation as faithful

    monkeypatch.setattr(faithful, "_probe", lambda *_: pytest.fail("perturbed"))
    data = test_study.make_photos(tmp_path / "data", 2)
    study_run.run_study(test_study.settings(data), listed_photos(None, data, {}), tmp_path / "out")


def test_words_share_perturbations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All maps of a caption are asked about together: sensitivity-n costs the same forwards for one map as for many."""
    from multimodal_cam.metrics import canvas_scores

    data, ran = photos(tmp_path / "data"), []
    run = canvas_scores.run_scores

    def counted(score: Any, paint: Any, masks: Tensor, *rest: Any) -> Tensor:
        ran.append(len(masks))
        return run(score, paint, masks, *rest)

    monkeypatch.setattr(canvas_scores, "run_scores", counted)
    for methods in (("grad_cam",), ("grad_cam", "hires_cam", "layer_cam")):
        chosen = test_study.settings(
            data, models=("test_study_faithful:seeing",), metrics=("sensitivity_n",), controls=("other_word",), methods=methods
        )
        study_run.run_study(chosen, listed_photos(None, data, {}), tmp_path / "_".join(methods))
    assert len(ran) == 4
    assert len(set(ran)) == 1
