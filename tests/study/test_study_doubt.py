"""`study doubt` from photos to the report, on a small network whose hallucinations are planted."""

import random

import numpy as np
import pytest
import torch
from networks import noise_image

from multimodal_cam.cli.app import app
from multimodal_cam.evaluation.caption_nouns import JudgedNoun
from multimodal_cam.metrics.calibration import auroc
from multimodal_cam.models.bundle import save_model
from multimodal_cam.models.doubt_fit import read_doubt
from multimodal_cam.models.nic.network import NIC, NICConfig
from multimodal_cam.models.vocabulary import Vocabulary
from multimodal_cam.study.measure.word_doubt import NUMBERS, NounTable, SplitDoubt, TokenTable
from multimodal_cam.study.report.doubt_section import write_doubt_report
from multimodal_cam.study.runner.doubt_run import DoubtStudy, fit_table

WORDS = ("<eos>", "<bos>", "<unk>", "a", "dog", "guitar", "runs", "beach")


def planted(photos, seed):
    """Nouns of which every third is made up: less confident than the others, and later."""
    random, nouns, rows = np.random.default_rng(seed), [], []
    for photo in range(photos):
        for index in (1, 4, 8):
            wrong = bool(random.random() < index / 12)
            nouns.append(JudgedNoun(f"{photo}.jpg", index, "guitar", "guitar", wrong))
            rows.append([random.normal(), random.normal(), random.normal() - 2 * wrong, index, random.normal()])
    return NounTable(tuple(nouns), dict(zip(NUMBERS, np.array(rows, dtype=float).T, strict=True)))


def test_planted_hallucinations_are_found_on_other_photos():
    train, dev = planted(200, 0), planted(200, 1)
    fit = fit_table(train)
    scores = fit.log_odds(dev.columns(fit.names))
    assert auroc(scores, dev.hallucinated) > 0.9
    assert auroc(-dev.numbers["log_prob"], dev.hallucinated) < 0.6
    assert fit.coefficients[fit.names.index("confidence")] < -1
    assert set(dev.position_bins.tolist()) == {0, 1, 2}


@pytest.mark.slow
def test_the_report_has_each_number_and_both_aurocs(tmp_path):
    train, dev = planted(60, 0), planted(60, 1)
    tokens = TokenTable(dev.images, np.linspace(0.1, 0.9, len(dev.nouns)), dev.hallucinated)
    write_doubt_report(tmp_path, DoubtStudy("nic", SplitDoubt(train, tokens), SplitDoubt(dev, tokens), fit_table(train), None), 0)
    text = (tmp_path / "doubt.md").read_text()
    for said in ("position alone", "internal confidence", "32 other photos", "within position bins", "logistic of", "ECE 0."):
        assert said in text
    assert (tmp_path / "plots" / "calibration.png").is_file()


@pytest.mark.slow
def test_the_command_fits_saves_and_reports(tmp_path):
    from typer.testing import CliRunner

    torch.manual_seed(0)
    network = NIC(NICConfig(len(WORDS), width=16, max_words=6, image_size=32)).eval()
    (tmp_path / "model").mkdir()
    with torch.no_grad():
        network.embedding.weight.mul_(8)
    save_model(network, Vocabulary(WORDS), tmp_path / "model", training={})
    names = [f"{i}.jpg" for i in range(50)]
    for i, name in enumerate(names):
        noise_image(i, (32, 32)).save(tmp_path / name)
    draw = random.Random(0)
    lines = [f"{name},a {draw.choice(WORDS[4:6])} runs on the {draw.choice(['beach', 'grass'])}" for name in names]
    (tmp_path / "captions.txt").write_text("image,caption\n" + "\n".join(lines))
    (tmp_path / "train.txt").write_text("\n".join(names[:42]))
    (tmp_path / "dev.txt").write_text("\n".join(names[42:]))
    files = ["--captions", tmp_path / "captions.txt", "--train", tmp_path / "train.txt", "--split", tmp_path / "dev.txt"]
    command = ["study", "doubt", "--images", tmp_path, *files, "--model", tmp_path / "model", "--out", tmp_path / "out", "--save"]
    done = CliRunner().invoke(app, [*map(str, command), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "Hallucinated nouns" in (tmp_path / "out" / "doubt.md").read_text()
    from multimodal_cam.adapters.load import load

    model = load(str(tmp_path / "model"), device="cpu")
    assert model.doubt_fit == read_doubt(tmp_path / "model", model.provenance["weights"])
    assert "dog" in model.doubt_fit.nouns
