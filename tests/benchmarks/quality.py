"""`captions` and `localisation`: what the bundled captioner says about the dev photos, and where its words'
maps peak."""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Measurement, Section
from numpy.typing import NDArray

import multimodal_cam as mc
from multimodal_cam.data.readers.caption_file import read_captions, read_split
from multimodal_cam.evaluation.caption_quality import evaluate_captions
from multimodal_cam.study.config import Settings
from multimodal_cam.study.measure.metric_spec import MetricColumn
from multimodal_cam.study.report.result_table import ResultTable, read_table
from multimodal_cam.study.runner.study_run import run_study
from multimodal_cam.study.sources.photo_list import StudyPhoto

UNPACKED = Path(__file__).parents[2] / "out" / "flickr8k"
METHODS = ("grad_cam", "evidence")
MAP = MetricColumn("pointing")
AIMS = {"BLEU-4": ">= 0.23", "CIDEr": ">= 0.55"}


def captions(model: str, data: Path, photos: int | None, **_: Any) -> Iterator[Measurement]:
    known = read_captions(data / "captions.txt")
    names = read_split(data / "dev_images.txt", known)[:photos]
    images = folder(data, "images", "images.tar")
    references = {name: known[name] for name in names}
    scores = evaluate_captions(mc.load(model), images, references, progress=progress("captions"))
    for name, value in scores.items():
        notes = {"photos": str(len(names)), "aim": AIMS.get(name, "")}
        yield Measurement(f"captions {name}", {"dev": f"{value:.3f}"}, notes)


def localisation(model: str, data: Path, photos: int | None, **_: Any) -> Iterator[Measurement]:
    names = read_split(data / "dev_images.txt", read_captions(data / "captions.txt"))[:photos]
    settings = Settings(
        task="captions",
        images=str(folder(data, "images", "images.tar")),
        entities=str(folder(data, "flickr30k_entities", "flickr30k_entities.tar.gz")),
        models=(model,),
        methods=METHODS,
        scores=("log_prob",),
        metrics=("pointing",),
        controls=("centre", "activation", "other_word"),
        n_steps=16,
    )
    table = measured(settings, [StudyPhoto(name) for name in names], "localisation")
    for (_, method, _, span), rows in table.runs.items():
        parts = {"pointing": rows, "off-centre": rows[table["off_centre"][rows].astype(bool)]}
        above = table.interval(MAP, rows, MetricColumn("pointing", "other_word")).value
        aim = "above-other >= +.12, off-centre >= .32" if (method, span) == ("evidence", "word") else ""
        yield Measurement(
            f"localisation {method} {span}", shares(table, MAP, parts) | {"above-other": f"{above:+.3f}"}, {"aim": aim}
        )
        for control in settings.controls:
            name = f"localisation {method} {span}, {control}"
            yield Measurement(name, shares(table, MetricColumn("pointing", control), parts))
    yield Measurement("localisation phrases", {"targets": str(len(rows)), "off-centre": str(len(parts["off-centre"]))})


def measured(settings: Settings, items: Sequence[StudyPhoto], what: str) -> ResultTable:
    """The table of a study that is thrown away afterwards; of questions those that are answered right."""
    done, report = 0, progress(what)

    def count(photos: int) -> None:
        nonlocal done
        done += photos
        report(done, len(items))

    with tempfile.TemporaryDirectory() as out:
        run_study(settings, items, Path(out), progress=count)
        return read_table(Path(out), settings.metrics, settings.seed, right_only=settings.task == "vqa")


def shares(table: ResultTable, column: MetricColumn, parts: Mapping[str, NDArray[np.intp]]) -> dict[str, str]:
    """The mean of a column over each part of the rows."""
    return {name: f"{table.interval(column, rows).value:.3f}" for name, rows in parts.items()}


def folder(data: Path, name: str, archive: str) -> Path:
    """The folder `name` of the data set; unpacked once into out/ when only its archive is there."""
    if (data / name).is_dir():
        return data / name
    target, done = UNPACKED / name, UNPACKED / f"{name}.done"
    if not done.exists():
        if not (data / archive).exists():
            raise SystemExit(f"neither {data / name} nor {data / archive} is there: pass --data FOLDER")
        print(f"unpacking {archive} into {UNPACKED}", file=sys.stderr)
        with tarfile.open(data / archive) as tar:
            tar.extractall(UNPACKED, filter="data")
        done.touch()
    return target


def progress(what: str) -> Callable[[int, int], None]:
    return lambda done, total: print(f"{what} {done}/{total}", end="\r" if done < total else "\n", file=sys.stderr)


CAPTIONS_SECTION = Section(
    "Captions",
    "The bundled captioner on the photos of Flickr8k's dev split, beam 3, five references, pycocoevalcap's scorers behind our "
    "tokeniser.",
    captions,
)
LOCALISATION_SECTION = Section(
    "Localisation",
    "The pointing game (Zhang et al., ECCV 2016) on Flickr8k's dev split, by the study: the first human caption of each photo, "
    "teacher-forced, boxes of Flickr30k Entities. A map hits when the centre of its largest cell lies in any of the "
    "phrase's boxes (no tolerance; of several largest cells the share that hits; a map with nothing positive misses). `word`: "
    "the map of the phrase's head noun, `phrase`: of the whole phrase, `other_word`: on the same boxes, the mean over the "
    "caption's other targets (other chains); `above-other` compares targets that have another. `off-centre`: boxes that do not "
    "hold the image's centre.",
    localisation,
)
