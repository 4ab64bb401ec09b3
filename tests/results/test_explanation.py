"""The result: checks itself, finds words, adds them up, survives the disk."""

import json
import os
import pickle
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from toys import hot_cell, toy_explanation

import multimodal_cam as mc
from multimodal_cam.core.familiarity import Familiarity
from multimodal_cam.core.geometry import Placement
from multimodal_cam.core.spans import Span


def test_words_by_text_by_index_and_in_runs():
    e = toy_explanation("a dog chases a brown dog")
    assert e["chases"].text == e[2].text == "chases"
    torch.testing.assert_close(e["brown dog"].map, e.maps[4] + e.maps[5])
    assert e["brown DOG"].reliance == pytest.approx(float(e.reliance[4] + e.reliance[5]))
    assert np.asarray(e["chases"]).shape == (14, 14)
    assert e[-1].text == "dog"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("dog", "'dog' occurs 2 times: choose by index, one of 1, 5"),
        ("chase", "'chase' is not in 'a dog chases a brown dog'; near: chases"),
        (6, "there is no word 6: the text has 6 words"),
        ("", "is not in"),
    ],
)
@pytest.mark.parametrize("kind", [KeyError, ValueError, mc.WordError])
def test_a_word_that_is_not_there_or_twice(word, message, kind):
    with pytest.raises(kind) as caught:
        toy_explanation("a dog chases a brown dog")[word]
    assert message in str(caught.value)


def test_phrases_and_whole_are_sums():
    e = toy_explanation("a brown dog runs over the green grass")
    assert [p.text for p in e.phrases()] == ["a brown dog", "the green grass"]
    torch.testing.assert_close(e.phrases()[1].map, e.maps[5:8].sum(dim=0))
    torch.testing.assert_close(e.whole().map, e.maps.sum(dim=0))
    assert e.whole().text == e.text
    assert e.whole().completeness == pytest.approx(-0.002 * 8, abs=1e-5)


def test_unknown_words_have_no_map_and_are_left_out_of_sums():
    e = toy_explanation("a zorgle runs", unknown=[1])
    assert not e["zorgle"].known
    assert e.maps[1].isnan().all()
    assert e.scores[1].isnan()
    torch.testing.assert_close(e.whole().map, e.maps[0] + e.maps[2])
    assert not e.whole().known
    assert e.heatmap("zorgle").eq(0).all()
    assert e.heatmap("runs").max() == 1


def test_heatmap_is_on_the_photo_and_between_0_and_1():
    e = toy_explanation()
    heat = e.heatmap("dog")
    assert heat.shape == (120, 160)
    assert heat.dtype == torch.float32
    assert heat.min() >= 0
    assert heat.max() <= 1
    y, x = divmod(int(heat.argmax()), 160)
    assert (y * 14 // 120, x * 14 // 160) == hot_cell(2)
    assert e.heatmap("dog", scale="word").max() == pytest.approx(1, abs=1e-3)
    assert e.heatmap("dog").max() < e.heatmap("grass").max()
    with pytest.raises(ValueError, match="unknown scale 'photo'; choose from caption, word"):
        e.heatmap("dog", scale="photo")


def test_a_map_without_anything_positive_says_so():
    e = toy_explanation()
    e.token_maps[3] = -1.0
    assert e["runs"].is_empty
    assert e.heatmap("runs", scale="word").eq(0).all()


def test_shapes_are_checked():
    e = toy_explanation()
    fields = {name: getattr(e, name) for name in e.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"token_scores: expected shape \(8,\), one number a token, got \(7,\)"):
        mc.Explanation(**fields | {"token_scores": torch.zeros(7)})
    with pytest.raises(ValueError, match=r"token_maps: expected \(8, h, w\), got \(8, 14\)"):
        mc.Explanation(**fields | {"token_maps": torch.zeros(8, 14)})
    with pytest.raises(ValueError, match="a map in span_maps for every word"):
        mc.Explanation(**fields | {"token_maps": None})
    with pytest.raises(ValueError, match="beyond the 8 tokens"):
        mc.Explanation(**fields | {"words": (Span("x", 7, 9),)})


@pytest.mark.parametrize("old", [True, False])
def test_what_speaks_against_a_text_still_does_after_loading(tmp_path, old):
    """Older folders have the sign in front of the score; and nodes, where steps are meant."""
    e = replace(toy_explanation(), score="logit", counterfactual=True, provenance={"n_steps": "64"})
    folder = e.save(tmp_path / "saved")
    if old:
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["counterfactual"]
        (folder / ".multimodal-cam").unlink()
        (folder / "manifest.json").write_text(json.dumps(manifest | {"score": "-logit", "provenance": {"nodes": "64"}}))
    again = mc.Explanation.load(folder)
    assert (again.score, again.counterfactual, again.score_label) == ("logit", True, "-logit")
    assert again.provenance == {"n_steps": "64"}


def test_familiarity_is_saved_and_folders_without_it_are_read(tmp_path):
    e = replace(toy_explanation(), familiarity=Familiarity(41.2, 33.1))
    assert mc.Explanation.load(e.save(tmp_path / "with")).familiarity == Familiarity(41.2, 33.1)
    assert "familiarity" not in json.loads((toy_explanation().save(tmp_path / "without") / "manifest.json").read_text())
    assert mc.Explanation.load(tmp_path / "without").familiarity is None


@pytest.mark.parametrize("linear", [True, False])
def test_saved_and_loaded_answers_as_before(tmp_path, linear):
    e = toy_explanation("a <b>dog</b> läuft 犬", unknown=[2], linear=linear, placement=Placement(160, 120, (0.1, 0.0, 0.9, 1.0)))
    again = mc.Explanation.load(e.save(tmp_path / "ein Bild & mehr"))
    assert torch.equal(again.maps.nan_to_num(-9), e.maps.nan_to_num(-9))
    assert torch.equal(again.whole().map, e.whole().map)
    assert (again.words, again.tokens, again.text, again.placement) == (e.words, e.tokens, e.text, e.placement)
    assert (again.model, again.method, again.score, again.unit, again.layer) == (e.model, e.method, e.score, e.unit, e.layer)
    assert again.provenance == e.provenance
    assert np.array_equal(np.asarray(again.image), np.asarray(e.image))
    assert torch.equal(again.heatmap(0), e.heatmap(0))
    if linear:
        assert torch.equal(again.reliance.nan_to_num(-9), e.reliance.nan_to_num(-9))
        assert torch.equal(again.completeness.nan_to_num(-9), e.completeness.nan_to_num(-9))
    files = json.loads((tmp_path / "ein Bild & mehr" / "manifest.json").read_text())
    assert files["image"] == [160, 120]


def test_phrases_survive_without_spacy(tmp_path, monkeypatch):
    e = toy_explanation()
    expected = [p.text for p in e.phrases()]
    folder = e.save(tmp_path / "saved")
    monkeypatch.setattr("multimodal_cam.core.spans._pipeline", lambda: pytest.fail("spaCy was loaded"))
    assert [p.text for p in mc.Explanation.load(folder).phrases()] == expected


def test_save_refuses_a_folder_that_holds_something(tmp_path):
    e, target = toy_explanation(), tmp_path / "mine"
    target.mkdir()
    (target / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="not empty"):
        e.save(target)
    with pytest.raises(FileExistsError, match=r"other things .*thesis.tex"):
        e.save(target, overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.tex"]


def test_a_failed_save_leaves_nothing_behind(tmp_path, monkeypatch):
    e = toy_explanation()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        e.save(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_target_is_an_error(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(PermissionError):
        toy_explanation().save(tmp_path / "mine")


@pytest.mark.parametrize("broken", ["manifest.json", "maps.safetensors", "image.png"])
def test_half_a_folder_never_loads(tmp_path, broken):
    folder = toy_explanation().save(tmp_path / "saved")
    whole = (folder / broken).read_bytes()
    (folder / broken).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"expected (the file that was saved|JSON), got"):
        mc.Explanation.load(folder)
    (folder / broken).unlink()
    with pytest.raises((ValueError, FileNotFoundError), match="missing"):
        mc.Explanation.load(folder)


def test_a_large_photo_keeps_its_size(tmp_path):
    e = toy_explanation(image=Image.new("RGB", (3000, 40)))
    assert e.heatmap("dog").shape == (40, 3000)


def test_a_pickle_is_the_public_class_again():
    again = pickle.loads(pickle.dumps(toy_explanation("a dog")))
    assert type(again) is mc.Explanation
    assert again["dog"].text == "dog"


def test_overwriting_replaces_an_explanation_and_leaves_what_is_not_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_explanation("a cat").save(".")
    (tmp_path / "notes.txt").write_text("mine")
    toy_explanation("a dog").save(".", overwrite=True)
    assert mc.Explanation.load(".").text == "a dog"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    files = [".multimodal-cam", "image.png", "manifest.json", "maps.safetensors", "notes.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_overwriting_refuses_a_folder_of_other_things(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "file").touch()
    for folder in (".", tmp_path, "thesis"):
        with pytest.raises(FileExistsError, match="holds other things"):
            toy_explanation("a dog").save(folder, overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis", "file"]


def test_folders_of_the_version_without_signatures_are_read_and_not_overwritten(tmp_path):
    folder = toy_explanation("a dog").save(tmp_path / "saved")
    (folder / ".multimodal-cam").unlink()
    assert mc.Explanation.load(folder).text == "a dog"
    with pytest.raises(FileExistsError, match="holds other things"):
        toy_explanation("a cat").save(folder, overwrite=True)
