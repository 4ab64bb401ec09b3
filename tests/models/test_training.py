"""Training on a handful of photos: it learns, it resumes to the very same weights, it says what is wrong."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import noise_image

from multimodal_cam.data.readers.caption_file import read_captions, read_split
from multimodal_cam.models.bundle import load_model
from multimodal_cam.models.training.caption_corpus import CaptionCorpus, batches, content_words
from multimodal_cam.models.training.caption_losses import bag_loss, cell_loss, word_shares
from multimodal_cam.models.training.captioner_training import TrainingOptions, train_captioner
from multimodal_cam.models.training.cell_training import CellOptions
from multimodal_cam.models.training.feature_cache import cache_features
from multimodal_cam.models.training.training_run import pad
from multimodal_cam.models.vocabulary import EOS, Vocabulary

TINY = TrainingOptions(
    epochs=3,
    batch_size=2,
    cells=CellOptions(epochs=2, batch_size=2),
    min_count=1,
    width=16,
    tail_from=1,
    train_size=224,
    size=224,
    stride=32,
    smoothing=1,
)


def write_dataset(folder: Path, photos: int = 6) -> None:
    images = folder / "images"
    images.mkdir()
    lines = ["image,caption"]
    for i in range(photos):
        noise_image(i, (50 + i, 40)).save(images / f"photo {i}.jpg")
        lines += [f"photo {i}.jpg,A dog runs .", f'photo {i}.jpg,"A cat, on the left , sits ."']
    (folder / "captions.txt").write_text("\n".join(lines))
    (folder / "train.txt").write_text("\n".join(f"photo {i}.jpg" for i in range(photos - 2)))
    (folder / "dev.txt").write_text("\n".join(f"photo {i}.jpg" for i in range(photos - 2, photos)))


def train(folder: Path, out: str, options: TrainingOptions = TINY, progress=lambda *_: None) -> Path:
    captions = read_captions(folder / "captions.txt")
    return train_captioner(
        images=folder / "images",
        captions=captions,
        train=read_split(folder / "train.txt", captions),
        dev=read_split(folder / "dev.txt", captions),
        out=folder / out,
        options=options,
        device=torch.device("cpu"),
        progress=progress,
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data set")
    write_dataset(folder)
    return folder


def test_training_writes_a_model_that_loads_and_a_log(dataset):
    said = []
    out = train(dataset, "run", progress=lambda *what: said.append(what))
    trained = load_model(out)
    model, vocabulary = trained.network, trained.vocabulary
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2, 3]
    assert log[2]["train"] < log[0]["train"]
    assert set(vocabulary.words[3:]) == {"a", "dog", "runs", "cat", "on", "the", "left", "sits"}
    assert model.baseline.abs().sum() > 0
    assert json.loads((out / "config.json").read_text())["training"]["seed"] == 0
    assert [what[0] for what in said if what[0] == "dev"] == ["dev"] * 3
    assert any(what[3].startswith("train") and "dev" in what[3] for what in said)


def test_the_same_seed_gives_the_same_weights_another_seed_others(dataset):
    first, second = (load_model(train(dataset, out)).network for out in ("run", "again"))
    other = load_model(train(dataset, "other", TrainingOptions(**vars(TINY) | {"seed": 1}))).network
    assert torch.equal(first.readout.from_state.weight, second.readout.from_state.weight)
    assert not torch.equal(first.readout.from_state.weight, other.readout.from_state.weight)


def test_stopped_and_resumed_equals_uninterrupted(dataset):
    class StoppedError(Exception):
        pass

    def stop(what, done, total, remark):
        if (what, done) == ("epoch 2", 1):
            raise StoppedError

    with pytest.raises(StoppedError):
        train(dataset, "stopped", progress=stop)
    seen = []
    resumed = train(dataset, "stopped", progress=lambda *what: seen.append(what[0]))
    assert "epoch 1" not in seen
    assert "features" not in seen
    whole = load_model(train(dataset, "run")).network
    for key, value in load_model(resumed).network.state_dict().items():
        assert torch.equal(value, whole.state_dict()[key]), key


def test_other_options_are_not_mixed_into_a_run(dataset):
    train(dataset, "run")
    with pytest.raises(ValueError, match="belongs to a run with other options: choose another --out or delete it"):
        train(dataset, "run", TrainingOptions(**vars(TINY) | {"seed": 5}))


@pytest.mark.slow
def test_killed_at_random_times_it_ends_with_the_same_weights(dataset):
    code = (
        "import sys; sys.path[:0] = ['tests/models', 'tests/support']; from pathlib import Path; from test_training import train;"
        f"train(Path({str(dataset)!r}), 'killed')"
    )
    for pause in (6.0, 7.5, 9.0):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
    whole = load_model(train(dataset, "run")).network.state_dict()
    for key, value in load_model(dataset / "killed").network.state_dict().items():
        assert torch.allclose(value, whole[key], atol=1e-4), key


def test_half_a_feature_cache_is_completed(dataset, tmp_path):
    from multimodal_cam.models.encoder import Encoder

    torch.manual_seed(0)
    encoder = Encoder(output_stride=32)
    paths = [dataset / "images" / f"photo {i}.jpg" for i in range(6)]
    run = {"size": 64, "views": 2, "progress": lambda *_: None}
    whole = cache_features(encoder.trunk, paths, tmp_path / "whole", **run).copy()
    part = cache_features(encoder.trunk, paths, tmp_path / "part", **run)
    part[2:] = 0
    part.flush()
    next((tmp_path / "part").glob("*.done")).write_text("2")
    assert (cache_features(encoder.trunk, paths, tmp_path / "part", **run) == whole).all()
    assert abs(whole[:, 0] - whole[:, 1]).max() > 0  # the second view is mirrored
    assert not encoder.trunk.training


def test_photos_are_mirrored_only_where_the_captions_allow():
    import numpy as np

    vocabulary = Vocabulary.from_captions(["a dog runs left right"], min_count=1)
    features = np.stack([np.full((2, 1, 4, 4), 0.0), np.full((2, 1, 4, 4), 0.0)]).astype(np.float16)
    features[:, 1] = 1
    texts = [["a dog runs"], ["a dog runs left"]]
    corpus = CaptionCorpus.build(features, texts, vocabulary, longest=2, phrases=False)
    assert corpus.mirrors == [True, True]  # cut after two words, the second caption no longer says left
    corpus = CaptionCorpus.build(features, texts, vocabulary, longest=20, phrases=False)
    assert corpus.mirrors == [True, False]
    assert corpus.captions[0][0][-1] == EOS
    seen = {False: set(), True: set()}
    for epoch in range(20):
        for batch in batches(corpus, size=2, seed=(0, epoch)):
            for photo, i in zip(batch.features, batch.chosen, strict=True):
                seen[i == 1].add(float(photo.max()))
    assert seen == {False: {0.0, 1.0}, True: {0.0}}


def test_bag_loss_by_hand():
    wanted = torch.tensor([False, False, False, True, True])
    shares = word_shares([[[3, 4, EOS], [3, 3, EOS]], [[EOS]]], wanted)
    torch.testing.assert_close(shares, torch.tensor([[0, 0, 0, 2 / 3, 1 / 3], [0.0] * 5]))
    assert bag_loss(torch.zeros(1, 5), shares[:1]).item() == pytest.approx(math.log(5))
    assert pad([[3, 4], [5]]).tolist() == [[3, 4], [5, -1]]


def test_content_words_name_things():
    words = Vocabulary(("<eos>", "<bos>", "<unk>", "a", "dog", "of", "red", "the", "running"))
    assert [w for w, kept in zip(words.words, content_words(words).tolist(), strict=True) if kept] == ["dog", "red", "running"]


def test_cell_loss_by_hand():
    """Two cells, two words that count: p(3) = (1/2 + 3/4) / 2, p(4) = (1/2 + 1/4) / 2; the third word has no part in it."""
    wanted = torch.tensor([False, True, True])
    logits = torch.tensor([[[9.0, 0, 0], [-9.0, math.log(3), 0]]])
    shares = torch.tensor([[0, 0.5, 0.5]])
    assert cell_loss(logits, shares, wanted).item() == pytest.approx(-(math.log(0.625) + math.log(0.375)) / 2)


def test_words_share_the_photo_out_among_its_cells():
    """Two sorts of cells, two words, never told which is where: each sort takes one word for its own."""
    torch.manual_seed(0)
    reading = torch.nn.Linear(2, 2)
    cells = torch.eye(2)
    both, one = torch.stack([cells, cells]), torch.stack([cells[:1], cells[:1]]).squeeze(1)[:, None]
    optimiser = torch.optim.Adam(reading.parameters(), lr=0.1)
    for _ in range(200):
        loss = cell_loss(reading(both), torch.tensor([[0.5, 0.5]]).repeat(2, 1), torch.tensor([True, True]))
        loss = loss + cell_loss(reading(one), torch.tensor([[1.0, 0.0]]).repeat(2, 1), torch.tensor([True, True]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert reading(cells).softmax(dim=1).diagonal().min() > 0.95


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("photo,text\na.jpg,a dog", "expected the header 'image,caption', got 'photo,text'"),
        ("image,caption\na.jpg", "line 2: expected 'image,caption', got 'a.jpg'"),
        ("image,caption\n,a dog", "line 2"),
        ("image,caption\n", "holds no captions"),
        ('image,caption\na.jpg,"a dog\nb.jpg,a cat\n', "one caption a line behind line 1, got unexpected end of data"),
        ('image,caption\na.jpg,"a dog\n' + "b.jpg,a cat\n" * 50 + 'c.jpg,a "cat"\n', "behind line 1, got"),
        ("image,caption\na.jpg," + "x" * 200_000, "behind line 1, got field larger than field limit"),
        (b"image,caption\na.jpg,\xff\xfe", "expected UTF-8, got other bytes behind line"),
    ],
)
def test_broken_caption_files(tmp_path, content, message):
    (tmp_path / "captions.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_captions(tmp_path / "captions.txt")


def test_a_photo_that_is_missing_is_named_before_hours_are_spent(dataset, tmp_path):
    captions = {"nowhere.jpg": ["a dog"]}
    with pytest.raises(FileNotFoundError, match=r"1 photos are not in .*, the first: nowhere\.jpg"):
        train_captioner(
            images=dataset / "images",
            captions=captions,
            train=["nowhere.jpg"],
            dev=[],
            out=tmp_path,
            options=TINY,
            device=torch.device("cpu"),
            progress=lambda *_: None,
        )
    (tmp_path / "split.txt").write_text("other.jpg\n")
    with pytest.raises(ValueError, match=r"1 of 1 images have no caption, the first: other\.jpg"):
        read_split(tmp_path / "split.txt", captions)
    assert not os.listdir(tmp_path) or os.listdir(tmp_path) == ["split.txt"]


def test_a_finished_run_is_left_as_it_is_and_keeps_no_checkpoint(dataset):
    out = train(dataset, "finished")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert not {"checkpoint.pt", "checkpoint.partial"} & {path.name for path in before}
    train(dataset, "finished")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(ValueError, match="belongs to a run with other options"):
        train(dataset, "finished", replace(TINY, seed=1))


@pytest.mark.parametrize("kind", ["cut short", "of other photos", "of another shape"])
def test_a_feature_cache_that_is_not_whole_is_computed_anew(dataset, tmp_path, kind):
    network = torch.nn.Conv2d(3, 2, 8, stride=8)
    photos = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, photo in enumerate(photos):
        noise_image(i).save(photo)
    options = {"size": 32, "views": 1, "progress": lambda *_: None}
    first = cache_features(network, photos, tmp_path / "cache", **options).copy()
    (file,) = (tmp_path / "cache").glob("*.npy")
    if kind == "cut short":
        os.truncate(file, file.stat().st_size - 8)
    elif kind == "of another shape":
        np.save(file, np.zeros((2, 1, 2, 4, 4), dtype="float16"))
    else:
        noise_image(9).save(photos[1])
    again = cache_features(network, photos, tmp_path / "cache", **options)
    assert np.array_equal(again[0], first[0])
    assert np.array_equal(again[1], first[1]) == (kind != "of other photos")
    assert again[2].any()


def test_a_disk_without_room_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    noise_image().save(tmp_path / "photo.jpg")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="the features of 1 photos need .* GB in .*No space left.*free some space") as caught:
        cache_features(
            torch.nn.Conv2d(3, 2, 8), [tmp_path / "photo.jpg"], tmp_path / "cache", size=32, views=1, progress=lambda *_: None
        )
    assert caught.value.errno == errno.ENOSPC
    assert not list((tmp_path / "cache").iterdir())


def test_a_checkpoint_without_room_leaves_the_last_one(dataset, monkeypatch):
    real = torch.save

    def save(state, file):
        if len(state["history"]) > 1:
            file.write(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0\nmore")
        real(state, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match=r"cannot write .*checkpoint.pt.*free some space and repeat.*after epoch 1"):
        train(dataset, "full")
    assert (dataset / "full" / "cells" / "checkpoint.pt").is_file()
    assert not (dataset / "full" / "cells" / "checkpoint.partial").exists()
    monkeypatch.undo()
    train(dataset, "full")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1e30}, r"training diverged in epoch 1.*lower the learning rate, which is 1e\+30"),
        ({"min_count": 1000}, "no word of the training texts occurs 1000 times: lower --min-count"),
    ],
)
def test_divergence_and_emptiness_are_errors(dataset, changes, message):
    with pytest.raises(ValueError, match=message):
        train(dataset, f"bad {next(iter(changes))}", replace(TINY, **changes))
    assert not list((dataset / f"bad {next(iter(changes))}").glob("model.*"))
