"""Which photos a model knows: the distance by hand, planted outliers, the file beside the weights, the words that are said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import noise_image
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

import multimodal_cam as mc
from multimodal_cam.adapters.bundled import NICAdapter
from multimodal_cam.cli.app import app
from multimodal_cam.core.familiarity import Familiarity
from multimodal_cam.models.bundle import load_config, load_model, save_model
from multimodal_cam.models.familiarity_fit import (
    FAMILIARITY,
    FamiliarityFit,
    fit_familiarity,
    photo_features,
    read_fit,
    save_fit,
    shrunk_covariance,
)
from multimodal_cam.models.nic.network import NIC, NICConfig
from multimodal_cam.models.training import familiarity_training
from multimodal_cam.models.training.familiarity_training import fit_after_training, train_familiarity
from multimodal_cam.models.vocabulary import Vocabulary

CPU = torch.device("cpu")
WORDS = Vocabulary(("<eos>", "<bos>", "<unk>", "a", "dog", "runs"))
PHOTOS = 50


def gaussian(n: int, seed: int, d: int = 6) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) @ torch.diag(torch.linspace(0.5, 3, d)) + 1


# ---- the distance ------------------------------------------------------------------------------------------


def test_a_distance_worked_out_by_hand() -> None:
    """Variances 1/4 and 4, no covariance: ((2 - 1) / .5)^2 + ((4 - 2) / 2)^2 = 5."""
    fit = FamiliarityFit(torch.tensor([1.0, 2.0]), torch.diag(torch.tensor([2.0, 0.5])), 2.0)
    assert fit.distances(torch.tensor([[2.0, 4.0], [1.0, 2.0]])).tolist() == pytest.approx([5**0.5, 0])


def test_features_are_roots_of_the_mean_cell_at_unit_length() -> None:
    cells = torch.tensor([[0.0, 8.0], [9.0, 9.0]]).view(1, 2, 1, 2)  # means 4 and 9, roots 2 and 3
    assert photo_features(cells)[0].tolist() == pytest.approx([2 / 13**0.5, 3 / 13**0.5])
    assert photo_features(torch.zeros(1, 2, 3, 3)).tolist() == [[0, 0]]


def test_shrinkage_worked_out_by_hand() -> None:
    """S = diag(.5, 2), target 1.25 I, |S - target|^2 = 1.125, noise (8.5 - 4.25) / 4: share 17 / 18."""
    values = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2]]).double() + 7
    share = 17 / 18
    expected = [(1 - share) * 0.5 + share * 1.25, (1 - share) * 2 + share * 1.25]
    assert shrunk_covariance(values).diagonal().tolist() == pytest.approx(expected)
    assert shrunk_covariance(values)[0, 1] == pytest.approx(0)


def test_distances_are_those_of_the_inverse_covariance() -> None:
    values = gaussian(200, 0)
    fit = fit_familiarity(values, gaussian(100, 1))
    x = gaussian(5, 2) - values.mean(dim=0)
    inverse = torch.linalg.inv(shrunk_covariance(values.double())).float()
    expected = torch.einsum("bi,ij,bj->b", x, inverse, x).sqrt()
    torch.testing.assert_close(fit.distances(gaussian(5, 2)), expected, rtol=2e-3, atol=1e-3)


def test_the_threshold_is_that_of_held_out_photos_and_outliers_are_beyond() -> None:
    held_out = gaussian(400, 1)
    fit = fit_familiarity(gaussian(300, 0), held_out)
    assert (fit.distances(held_out) <= fit.threshold).float().mean() == pytest.approx(0.975, abs=0.003)
    outliers = gaussian(50, 2)
    outliers[:, 0] += 6  # twelve standard deviations of the first feature, two of the last
    assert (fit.distances(outliers) > fit.threshold).all()


def test_photos_that_are_all_the_same_are_the_only_familiar_ones() -> None:
    same = torch.full((60, 4), 0.5)
    fit = fit_familiarity(same, same)
    assert (fit.distances(same) <= fit.threshold).all()
    assert (fit.distances(same + 0.01) > fit.threshold).all()


@pytest.mark.parametrize(("train", "held_out"), [(49, 10), (60, 0)])
def test_too_few_photos(train: int, held_out: int) -> None:
    with pytest.raises(ValueError, match=f"at least 50 photos to fit and one held out, got {train} and {held_out}: give more"):
        fit_familiarity(gaussian(train, 0), gaussian(held_out, 1))


# ---- beside the weights ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise: 50 training photos and 4 dev photos; `flat.png` has one colour."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(PHOTOS + 4):
        noise_image(i, (32, 32)).save(folder / f"{i}.png")
    Image.new("RGB", (32, 32), (250, 250, 0)).save(folder / "flat.png")
    return folder


TRAIN, DEV = [f"{i}.png" for i in range(PHOTOS)], [f"{i}.png" for i in range(PHOTOS, PHOTOS + 4)]


def network(seed: int = 0, **sizes: Any) -> NIC:
    torch.manual_seed(seed)
    return NIC(NICConfig(6, width=16, max_words=3, **{"image_size": 32, "output_stride": 32} | sizes)).eval()


@pytest.fixture(scope="module")
def fitted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small network and its fit."""
    folder = save_model(network(), WORDS, tmp_path_factory.mktemp("fitted"), training={})
    assert load_model(folder).familiarity is None
    seen: list[tuple[str, int, int]] = []
    progress = lambda stage, done, total, _: seen.append((stage, done, total))  # noqa: E731
    train_familiarity(model=folder, images=photos, train=TRAIN, dev=DEV, device=CPU, progress=progress)
    assert seen[-1] == ("familiarity", 54, 54)
    return folder


@pytest.fixture
def copied(fitted: Path, tmp_path: Path) -> Path:
    for file in fitted.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_the_file_gives_back_what_was_fitted(fitted: Path) -> None:
    fit, again = load_model(fitted).familiarity, read_fit(fitted, load_config(fitted))
    assert fit is not None
    assert again is not None
    assert fit.whitening.shape == (16, 16)
    assert torch.equal(fit.mean, again.mean)
    assert fit.threshold == again.threshold > 0
    assert (fitted / FAMILIARITY).stat().st_mode & 0o777 == 0o644


def test_a_fit_of_other_weights_or_sizes_is_refused(copied: Path, photos: Path) -> None:
    for other in (network(seed=1), network(image_size=64)):
        fit = (copied / FAMILIARITY).read_bytes()
        save_model(other, WORDS, copied, training={})  # takes the old fit away
        assert load_model(copied).familiarity is None
        (copied / FAMILIARITY).write_bytes(fit)
        with pytest.raises(mc.BrokenFile, match=r"the fit of the weights beside it.*fit again with `multimodal-cam train fam"):
            mc.load(copied)


def test_a_damaged_fit_is_refused(copied: Path) -> None:
    path, config = copied / FAMILIARITY, load_config(copied)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(mc.BrokenFile, match="numbers with the hash that the file says"):
        read_fit(copied, config)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(mc.BrokenFile, match="a whole safetensors file"):
        read_fit(copied, config)
    path.write_bytes(whole)
    fit = read_fit(copied, config)
    assert fit is not None
    save_fit(FamiliarityFit(fit.mean[:3], fit.whitening, fit.threshold), copied, config)
    with pytest.raises(mc.BrokenFile, match=r"mean \(d,\), whitening \(d, d\)"):
        read_fit(copied, config)
    save_fit(FamiliarityFit(fit.mean, fit.whitening, np.nan), copied, config)
    with pytest.raises(mc.BrokenFile, match="finite numbers"):
        read_fit(copied, config)


def test_a_file_without_its_hashes_is_refused(copied: Path) -> None:
    with safe_open(copied / FAMILIARITY, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, copied / FAMILIARITY)
    with pytest.raises(mc.BrokenFile, match="the hash that the file says"):
        mc.load(copied)


def test_training_ends_with_a_fit_once_and_only_of_enough_photos(copied: Path, photos: Path) -> None:
    (copied / FAMILIARITY).unlink()
    fit_after_training(copied, photos, TRAIN[:49], DEV, CPU, lambda *_: None)
    assert not (copied / FAMILIARITY).exists()
    done: list[Any] = []
    for _ in range(2):
        fit_after_training(copied, photos, TRAIN, DEV, CPU, lambda *what: done.append(what))
    assert [what[1] for what in done] == [25, 50, 54]


# ---- what is said ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(fitted: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network with a fit by hand: it knows the first dev photo only, and calls 1/1000 of a feature far."""
    folder = tmp_path_factory.mktemp("planted")
    for file in fitted.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    known = features(mc.load(fitted, device="cpu"), photos / DEV[0])
    save_fit(FamiliarityFit(known[0], 1000 * torch.eye(16), 0.1), folder, load_config(folder))
    return folder


@torch.no_grad()
def features(model: Any, photo: Path) -> torch.Tensor:
    return photo_features(model.network.cells(model.preprocess([Image.open(photo)]).pixels))


def test_explain_tells_it_without_a_second_pass(planted: Path, photos: Path) -> None:
    model: Any = mc.load(planted, device="cpu")
    bare: Any = NICAdapter(model.network, model.vocabulary, model.name)
    passes: list[int] = []
    model.network.encoder.register_forward_hook(lambda *_: passes.append(1))
    known, flat = mc.explain(model, [photos / DEV[0], photos / "flat.png"], text="a dog")
    with_fit = passes.copy()
    assert known.familiarity.familiar
    assert known.familiarity.warning is None
    assert not flat.familiarity.familiar
    assert flat.familiarity.warning.startswith("The model has seen nothing like this photo (distance ")
    passes.clear()
    plain = mc.explain(bare, [photos / DEV[0], photos / "flat.png"], text="a dog")
    assert passes == with_fit
    assert [e.familiarity for e in plain] == [None, None]
    assert torch.equal(plain[1].maps, flat.maps)
    expected = 1000 * (features(model, photos / "flat.png") - features(model, photos / DEV[0])).norm()
    assert flat.familiarity.distance == pytest.approx(float(expected), rel=1e-4)
    for other in ("encoder", "encoder.trunk"):
        again = mc.explain(model, photos / "flat.png", text="a dog", layer=other, method="grad_cam")
        assert again.familiarity.distance == pytest.approx(flat.familiarity.distance, rel=1e-4)
    assert mc.explain(model, photos / "flat.png").familiarity.distance == pytest.approx(float(expected), rel=1e-4)


def test_it_is_saved_with_the_folder(planted: Path, photos: Path, tmp_path: Path) -> None:
    e = mc.explain(mc.load(planted, device="cpu"), photos / "flat.png", text="a dog")
    assert not e.familiarity.familiar
    again = mc.Explanation.load(e.save(tmp_path / "saved"))
    assert again.familiarity == e.familiarity


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_line_says_it(as_json: bool, planted: Path, photos: Path, tmp_path: Path) -> None:
    asked = ["caption", str(photos / "flat.png"), str(photos / DEV[0]), "--model", str(planted), "--text", "a dog"]
    done = CliRunner().invoke(app, [*asked, *(["--json"] if as_json else ["--out", str(tmp_path / "out"), "--no-figure"])])
    assert done.exit_code == 0, done.output
    said = [line for line in done.stderr.splitlines() if "seen nothing like this photo" in line]
    if as_json:
        first, second = (json.loads(line)["familiarity"] for line in done.stdout.splitlines())
        assert (first["familiar"], second["familiar"]) == (False, True)
        assert "The model has seen nothing like this photo" in first["warning"]
        assert "warning" not in second
        assert not said
    else:
        assert len(said) == 1
        assert said[0].startswith(f"{photos / 'flat.png'}: The model has seen nothing like this photo")


def test_the_command_fits(copied: Path, photos: Path, tmp_path: Path) -> None:
    fit = load_model(copied).familiarity
    assert fit is not None
    (copied / FAMILIARITY).write_bytes(b"damaged")
    for name, names in (("train.txt", TRAIN), ("dev.txt", DEV)):
        (tmp_path / name).write_text("\n".join(names))
    asked = ["train", "familiarity", "--model", copied, "--images", photos]
    asked += ["--split", tmp_path / "train.txt", "--dev", tmp_path / "dev.txt", "--device", "cpu"]
    done = CliRunner().invoke(app, [str(part) for part in asked])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"threshold {fit.threshold:.2f}: ")
    again = load_model(copied).familiarity
    assert again is not None
    assert torch.equal(again.whitening, fit.whitening)


def test_of_many_photos_evenly_spaced_ones_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(familiarity_training, "MOST", 30)
    assert familiarity_training.photo_count(TRAIN, DEV + DEV) == 25 + 4


def test_a_distance_that_is_no_number_is_not_familiar() -> None:
    assert not Familiarity(float("nan"), 3.0).familiar
    assert Familiarity(3.0, 3.0).familiar
