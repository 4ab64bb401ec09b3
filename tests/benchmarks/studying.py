"""`study`: photos a second of the study, faithfulness of many words at once, and what Ray costs."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from captioners import nic, photo, text
from measuring import Measurement, Section, medians, milliseconds

import multimodal_cam as mc
from multimodal_cam.batch.malloc import keep_freed_memory
from multimodal_cam.core.images import load_image
from multimodal_cam.metrics import faithfulness
from multimodal_cam.metrics.canvas_scores import all_words
from multimodal_cam.scores import log_prob
from multimodal_cam.study.config import Settings
from multimodal_cam.study.runner.shard_worker import ShardWorker
from multimodal_cam.study.runner.study_run import run_study
from multimodal_cam.study.sources.photo_list import StudyPhoto, listed_photos

PHOTOS = 32
WORDS = 12
STEPS = 10
CHEAP = ("centre", "uniform", "activation", "whole", "other_word")
METRICS = ("pointing", "pointing_15px", "energy", "in_out", "box_iou", "average_precision")
SENTENCE = "[/EN#1/people A man] throws [/EN#2/other a ball] to [/EN#3/animals a brown dog] on [/EN#4/scene the grass] .\n"


@contextmanager
def photos(count: int) -> Iterator[tuple[Path, list[StudyPhoto]]]:
    """Photos of noise in the layout of Flickr30k Entities, three phrases with boxes each."""
    boxes = "".join(
        f"<object><name>{i}</name><bndbox><xmin>{40 * i}</xmin><ymin>{30 * i}</ymin><xmax>{40 * i + 150}</xmax>"
        f"<ymax>{30 * i + 150}</ymax></bndbox></object>"
        for i in (1, 2, 3)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("images", "Annotations", "Sentences"):
            (folder / part).mkdir()
        for i in range(count):
            photo(i).save(folder / "images" / f"{i}.jpg")
            size = "<size><width>500</width><height>375</height></size>"
            (folder / "Annotations" / f"{i}.xml").write_text(f"<annotation>{size}{boxes}</annotation>")
            (folder / "Sentences" / f"{i}.txt").write_text(SENTENCE)
        yield folder, listed_photos(None, folder, {})


def settings(folder: Path, model: str, **changes: Any) -> Settings:
    given = {"controls": CHEAP, "methods": ("grad_cam",), "metrics": METRICS, "device": "cpu"} | changes
    images, entities = str(folder / "images"), str(folder)
    return Settings(task="captions", images=images, entities=entities, models=(model,), scores=("log_prob",), **given)


def throughput(repeat: int, model: str, **_: Any) -> Iterator[Measurement]:
    keep_freed_memory()
    captioner = nic(model)
    with photos(PHOTOS) as (folder, items):

        def encode() -> None:
            images = [load_image(folder / "images" / item.image) for item in items]
            with torch.no_grad():
                captioner.module.encoder(captioner.preprocess(images).pixels)

        methods = {"grad_cam": ("grad_cam",), "three gradient methods": ("grad_cam", "hires_cam", "layer_cam")}
        workers = {name: ShardWorker(settings(folder, model, methods=chosen)) for name, chosen in methods.items()}
        work = {name: lambda worker=worker: worker(items) for name, worker in workers.items()}
        times = medians({"encoder": encode, **work}, repeat)
    for name in methods:
        yield Measurement(
            f"study {name}",
            {"photos a second": f"{PHOTOS / times[name]:.1f}", "share": f"{times['encoder'] / times[name]:.2f}"},
            {"bare encoder": f"{PHOTOS / times['encoder']:.1f}", "aim": ">= 0.6" if name == "grad_cam" else ""},
        )


def perturbing(repeat: int, model: str, **_: Any) -> Iterator[Measurement]:
    captioner = nic(model)
    image, caption = photo(), text(captioner, WORDS)
    maps = mc.explain(captioner, image, text=caption, method="grad_cam").maps
    inputs, ids = captioner.preprocess([image]), captioner.tokenize([caption])
    with torch.no_grad():
        cells = captioner.network.cells(inputs.pixels)[0]

    def of_pixels(canvases: torch.Tensor) -> torch.Tensor:
        return of_cells(captioner.network.cells(canvases))

    def of_cells(canvases: torch.Tensor) -> torch.Tensor:
        many = ids.repeat(len(canvases), 1)
        return log_prob(captioner.logits(inputs, many, canvases), many)

    for name, scores, canvas in (("pixels", of_pixels, inputs.pixels[0]), ("layer", of_cells, cells)):
        fill = faithfulness.mean_colour(canvas)

        def text_rows(scores: Any = scores, canvas: Any = canvas, fill: Any = fill) -> None:
            for measure in (faithfulness.deletion, faithfulness.insertion):
                measure(all_words(scores), canvas, maps, fill, steps=STEPS)

        def apart(scores: Any = scores, canvas: Any = canvas, fill: Any = fill) -> None:
            for word in range(WORDS):
                one = all_words(lambda c, scores=scores, word=word: scores(c)[:, word : word + 1])
                for measure in (faithfulness.deletion, faithfulness.insertion):
                    measure(one, canvas, maps[word : word + 1], fill, steps=STEPS, batch=1)

        times = medians({"together": text_rows, "apart": apart}, min(repeat, 3))
        yield Measurement(
            f"deletion and insertion of {name}, {WORDS} words",
            {"speedup": f"{times['apart'] / times['together']:.1f}"},
            {"together": milliseconds(times["together"]), "one word, batch 1": milliseconds(times["apart"]), "aim": ">= 6"},
        )


def on_ray(model: str, **_: Any) -> Iterator[Measurement]:
    if importlib.util.find_spec("ray") is None:
        print("Ray at two workers: needs pip install 'multimodal-cam[ray]', nothing measured")
        return
    with photos(4 * PHOTOS) as (folder, items), tempfile.TemporaryDirectory() as out:
        taken = {}
        for engine, workers in (("local", 1), ("ray", 2)):
            start = time.perf_counter()
            chosen = settings(folder, model, shard_size=PHOTOS // 2)
            run_study(chosen, items, Path(out) / engine, engine=engine, workers=workers)
            taken[engine] = time.perf_counter() - start
    yield Measurement(
        "Ray, two workers",
        {"speedup": f"{taken['local'] / taken['ray']:.2f}"},
        {name: f"{seconds:.0f} s" for name, seconds in taken.items()} | {"aim": "2, less Ray's start"},
    )


STUDY_SECTION = Section(
    "The study",
    f"{PHOTOS} photos of noise with three phrases each, six metrics, controls that need no further pass, words and phrases, as a "
    "share of the bare encoder's throughput (both read and resize the photos). Medians of interleaved repetitions.",
    throughput,
)
PERTURBING_SECTION = Section(
    "Faithfulness of many words",
    f"Deletion and insertion in {STEPS} steps for the {WORDS} words of a caption: all at once, against one run a word with one "
    "canvas at a time.",
    perturbing,
)
RAY_SECTION = Section(
    "Ray",
    f"The study of {4 * PHOTOS} photos by two of Ray's actors against this process alone, Ray's start and end included.",
    on_ray,
)
