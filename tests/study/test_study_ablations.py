"""Variants of methods, the stages of a network, and the table in which one thing changes at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networks
import pytest
import test_study
import torch

pytest.importorskip("pyarrow")

import multimodal_cam as mc  # noqa: E402
from multimodal_cam.study.ablations import ablations, nic_7x7, nic_14x14
from multimodal_cam.study.measure.method_variants import MethodVariant, absolute, max_pooled, parse_method  # noqa: E402
from multimodal_cam.study.measure.spatial_stages import head_parts, spatial_stages  # noqa: E402
from multimodal_cam.study.report.ablation_section import base_run  # noqa: E402
from multimodal_cam.study.report.study_report import write_report  # noqa: E402
from multimodal_cam.study.runner import study_run  # noqa: E402
from multimodal_cam.study.sources.photo_list import listed_photos  # noqa: E402

A = torch.tensor([[[[1.0, 2.0]], [[3.0, 5.0]]]])  # (1, 2, 1, 2)
G = torch.tensor([[[[4.0, -2.0]], [[-1.0, -3.0]]]])


def test_pooled_otherwise_by_hand() -> None:
    """Largest gradients 4 and -1, mean magnitudes 3 and 2."""
    assert max_pooled(A, G).tolist() == [[[4 * 1 - 3, 4 * 2 - 5]]]
    assert absolute(A, G).tolist() == [[[3 * 1 + 2 * 3, 3 * 2 + 2 * 5]]]


def test_without_relu_the_scale_begins_at_the_lowest() -> None:
    assert parse_method("grad_cam:relu=no").finish(torch.tensor([[-2.0, 1.0]])).tolist() == [[0, 3]]
    assert parse_method("grad_cam").finish(torch.tensor([[-2.0, 1.0]])).tolist() == [[-2, 1]]


def test_specifications_are_read() -> None:
    assert parse_method("evidence:n_steps=4:layer=encoder.0") == MethodVariant("evidence", "encoder.0", 4)
    assert parse_method("grad_cam:pool=max").spec.function is max_pooled


@pytest.mark.parametrize("spec", ["grad_cam:n_steps=4", "evidence:n_steps=0", "grad_cam:pool=min", "evidence:pool=max", 
    "grad_cam:relu=yes", "grad_cam:color=red", "attention:layer=x", "grad_cam:layer="])  # fmt: skip
def test_what_cannot_be_read_is_said(spec: str) -> None:
    with pytest.raises(ValueError, match="a method may be followed by layer=NAME"):
        parse_method(spec)


def test_stages_end_at_the_tapped_layer_and_the_head_is_the_rest() -> None:
    model = networks.small_captioner()
    stages = spatial_stages(model)
    assert dict(model.module.named_modules())[stages[-1].name] is model.layer
    head = head_parts(model, stages)
    assert dict(model.module.named_modules())[head[0]] is model.readout
    assert all(name.startswith("decoder") for name in head)
    assert not any(part.startswith("decoder") for stage in stages for part in stage.parts)


def small() -> Any:
    model = networks.small_captioner()
    model.tokenize = lambda texts, unknown="error": type(model).tokenize(model, texts, "unk")
    return model


def test_one_thing_changes_at_a_time(tmp_path: Path) -> None:
    data = test_study.make_photos(tmp_path / "data", 2)
    for i, path in enumerate(sorted((data / "images").iterdir())):
        networks.noise_image(i).save(path)
        (data / "Sentences" / f"{i}.txt").write_text("[/EN#1/people A dog] on [/EN#2/other the ball]\n")
    run = ablations(test_study.settings(data, models=("test_study_ablations:small",), controls=("other_word",)))
    layers = [m for m in run.methods if "layer=" in m]
    assert layers
    out = study_run.run_study(run, listed_photos(None, data, {}), tmp_path / "out")
    assert not test_study.rows(out, "errors")
    found = {(r["method"], r["score"]) for r in test_study.rows(out)}
    assert found == {(m, s) for m in run.methods for s in run.scores if ":" not in m or s == "log_prob"}
    grids = {r["method"]: r["grid"] for r in test_study.rows(out)}
    assert grids[layers[0]] != grids["grad_cam"]
    write_report(out)
    said = (out / "report.md").read_text()
    assert "## One thing changed" in said
    assert said.count(f"against {run.models[0]} grad_cam log_prob word") >= len(layers)


def test_a_layer_that_is_none_is_said_before_anything_runs(tmp_path: Path) -> None:
    data = test_study.make_photos(tmp_path / "data", 1)
    run = test_study.settings(data, methods=("grad_cam:layer=encoderr",))
    with pytest.raises(ValueError, match="unknown layer 'encoderr'"):
        study_run.run_study(run, listed_photos(None, data, {}), tmp_path / "out")


def test_what_is_varied() -> None:
    settings = {"models": ["nic", "coarse"], "scores": ["log_prob", "logit"]}
    assert base_run(("nic", "grad_cam:pool=max", "log_prob", "word"), settings) == ("nic", "grad_cam", "log_prob", "word")
    assert base_run(("nic", "grad_cam", "logit", "word"), settings) == ("nic", "grad_cam", "log_prob", "word")
    assert base_run(("coarse", "grad_cam", "log_prob", "phrase"), settings) == ("nic", "grad_cam", "log_prob", "phrase")
    assert base_run(("nic", "grad_cam", "log_prob", "phrase"), settings) == ("nic", "grad_cam", "log_prob", "word")
    assert base_run(("nic", "grad_cam", "log_prob", "word"), settings) is None


@pytest.mark.parametrize(("load", "side"), [(nic_14x14, 14), (nic_7x7, 7)])
def test_nic_with_coarse_cells_has_the_same_weights(load, side) -> None:
    coarse, fine = load(), mc.load("nic", device="cpu")
    inputs = coarse.preprocess([networks.noise_image()])
    assert coarse.network.cells(inputs.pixels).shape[2:] == (side, side)
    for name, weight in fine.module.state_dict().items():
        assert torch.equal(weight, coarse.module.state_dict()[name])
