"""`captions` and `localisation`: what the bundled captioner says about the dev photos, and where its words'
maps peak."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measuring import Measurement, Section

import multimodal_cam as mc
from multimodal_cam.data.captions import read_captions, read_split
from multimodal_cam.evaluation.caption_quality import Localisation, evaluate_captions, evaluate_localisation

UNPACKED = Path(__file__).parents[2] / "out" / "flickr8k"
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
    images = folder(data, "images", "images.tar")
    entities = folder(data, "flickr30k_entities", "flickr30k_entities.tar.gz")
    found = evaluate_localisation(mc.load(model), images, entities, names, progress=progress("localisation"))
    yield from _maps(found)
    counts = {reason.replace(" ", "-"): str(count) for reason, count in found.left_out.items()}
    targets = {"targets": str(len(found.off)), "off-centre": str(int(found.off.sum()))}
    yield Measurement("localisation phrases", targets | {f"left-out-{reason}": n for reason, n in counts.items()})


def _maps(found: Localisation) -> Iterator[Measurement]:
    for row in found.hits:
        off = found.pointing(row, off_centre=True)
        values = {"pointing": f"{found.pointing(row):.3f}", "off-centre": f"{off:.3f}"}
        method, _, kind = row.rpartition(" ")
        control = f"{method} other {kind}"
        if control in found.hits:
            values["above-other"] = f"{found.above(row, control):+.3f}"
        yield Measurement(f"localisation {row}", values, {"aim": _aim(row)})


def _aim(row: str) -> str:
    return "above-other >= +.12, off-centre >= .32" if row == "evidence word" else ""


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
    "The pointing game (Zhang et al., ECCV 2016) on Flickr8k's dev split: the first human caption of each photo, "
    "teacher-forced, boxes of Flickr30k Entities. A map hits when the centre of its largest cell lies in any of the "
    "phrase's boxes (no tolerance; a map with nothing positive misses). `word`: the map of the phrase's head noun, "
    "`phrase`: of the whole phrase, `other`: on the same boxes, the mean over the caption's other targets (other "
    "chains); `above-other` compares targets that have another. `off-centre`: boxes that do not hold the image's "
    "centre.",
    localisation,
)
