"""The commands `humanstudy make` and `humanstudy score`."""

from __future__ import annotations

import math
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multimodal_cam.methods import find_method

from . import options as o
from .output import print_diagnostic, print_line, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multimodal_cam.humanstudy.explained_photos import SourcedExplanation
    from multimodal_cam.humanstudy.rater_scores import StudyScores
    from multimodal_cam.humanstudy.rater_tasks import StudySource
    from multimodal_cam.metrics.intervals import Interval

humanstudy = o.command_group("Ask people which maps help: a page for raters, and the scores of their answers.")


class TaskName(StrEnum):
    class_ = "class"
    reliability = "reliability"
    word = "word"


@humanstudy.command("make")
def humanstudy_make(
    task: Annotated[
        TaskName,
        typer.Argument(help="class: which of two things is shown? reliability: which of two models? word: is this word right?"),
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Output folder: study.html for raters, key.json for you.")],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER...",
            exists=True,
            file_okay=False,
            help="Saved explanations: a folder for each condition, or one in which models or methods differ.",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Photos to explain now, instead of folders.")
    ] = None,
    models: Annotated[str, typer.Option(help="With --images: models, separated by commas.")] = "nic",
    methods: Annotated[str, typer.Option(help="With --images: methods, separated by commas.")] = "grad_cam,evidence",
    question: Annotated[str | None, typer.Option(help="With --images: a question, for models that take one.")] = None,
    pairs: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="class: CSV file image,shown,other [default: things said].")
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="word: CSV file image,word,right; reliability: right ones only."),
    ] = None,
    photo_alone: Annotated[bool, typer.Option("--photo-alone", help="The photo without a map is a condition, too.")] = False,
    checks: Annotated[int, typer.Option(min=0, help="Attention checks of each rater.")] = 8,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many photos, drawn by chance.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    overwrite: o.Overwrite = False,
    device: o.Device = "auto",
) -> None:
    """Make a page that asks people about maps of two or more models or methods, without saying which is which.

    Each rater sees each photo once and each condition equally often. Send raters study.html#rater=1, #rater=2 and so on; they
    send back a file each. Keep key.json: it says what is right.
    """
    from multimodal_cam.humanstudy.explained_photos import saved_explanations
    from multimodal_cam.humanstudy.study_folder import write_study

    if bool(folders) == (images is not None):
        raise typer.BadParameter("give either folders with saved explanations or --images", param_hint="FOLDER...")
    if pairs is not None and task is not TaskName.class_:
        raise typer.BadParameter(f"the task {task.value} takes no pairs", param_hint="--pairs")
    if truth is not None and task is TaskName.class_:
        raise typer.BadParameter("the task class takes no truth: what is right follows from the map", param_hint="--truth")
    found = saved_explanations(folders) if folders else _explained(images, models, methods, question, limit, device)
    source = _source(found, pairs, truth, limit, seed, photo_alone)
    written = write_study(task.value, source, out, checks=checks, overwrite=overwrite)
    for reason, count in written.left_out.items():
        print_diagnostic(f"left out: {count} x {reason}")
    print_diagnostic(
        f"{written.photos} photos under {', '.join(written.conditions)}; {written.questions} questions for each rater, "
        f"{written.lists} lists: a multiple of {written.lists} raters is balanced"
    )
    print_line(str(written.path / "study.html"))


@humanstudy.command("score")
def humanstudy_score(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", exists=True, help="Files that raters saved, or their folder.")
    ],
    study: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder that `humanstudy make` wrote.")],
    passing: Annotated[
        float, typer.Option("--pass", min=0, max=1, help="Share of attention checks that a rater must answer rightly.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    as_json: o.Json = False,
) -> None:
    """Score the answers: accuracy or mean reliability of each condition with its interval, and agreement of the raters.

    Intervals (95 %) are for other raters and other photos, agreement is Krippendorff's alpha. Raters who fail the attention
    checks are left out, and listed.
    """
    from multimodal_cam.humanstudy.answer_files import read_answers
    from multimodal_cam.humanstudy.rater_scores import score_answers
    from multimodal_cam.humanstudy.study_key import read_key

    key = read_key(study)
    scores = score_answers(key, read_answers(files, key), share=passing, seed=seed)
    for rows in (_condition_rows(scores), _difference_rows(scores), _rater_rows(scores)):
        if rows and not as_json:
            rows = [{name: _cell(value) for name, value in row.items() if name != "kind"} for row in rows]
        print_rows(rows, as_json)
        if rows and not as_json:
            print_line("")
    for report in scores.raters:
        if report.left_out:
            print_diagnostic(f"left out: rater {report.rater}: {report.left_out}")


def _explained(
    images: Path | None, models: str, methods: str, question: str | None, limit: int | None, device: str
) -> Iterable[SourcedExplanation]:
    from multimodal_cam.core.files import photos_in
    from multimodal_cam.humanstudy.explained_photos import made_explanations

    names = [name.strip() for name in methods.split(",") if name.strip()]
    for name in names:
        find_method(name)  # an unknown one is an error before a model is loaded
    loaded = [o.load_model(name.strip(), device) for name in models.split(",") if name.strip()]
    return made_explanations(loaded, names, photos_in([str(images)])[:limit], question)


def _source(
    found: Iterable[SourcedExplanation], pairs: Path | None, truth: Path | None, limit: int | None, seed: int, photo_alone: bool
) -> StudySource:
    import random

    from multimodal_cam.humanstudy.explained_photos import by_photo
    from multimodal_cam.humanstudy.rater_tasks import StudySource
    from multimodal_cam.humanstudy.word_tables import read_pairs, read_truth

    asked, judged = read_pairs(pairs) if pairs else [], read_truth(truth) if truth else []
    conditions, photos = by_photo(found)
    random.Random(seed).shuffle(photos)
    return StudySource(conditions, photos[:limit], asked, judged, photo_alone, seed, Counter())


def _condition_rows(scores: StudyScores) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"kind": "condition", "condition": one.condition}
        | _interval_cells(scores.measure, one.mean)
        | {"answers": one.mean.rows, "raters": one.mean.groups, "alpha": _number(one.alpha), "seconds": one.seconds}
        for one in scores.conditions
    ]
    return [*rows, {name: None for name in rows[0]} | {"kind": "all", "condition": "all", "alpha": _number(scores.alpha)}]


def _difference_rows(scores: StudyScores) -> list[dict[str, Any]]:
    return [
        {"kind": "difference", "difference": f"{one} - {other}"} | _interval_cells(scores.measure, interval)
        for one, other, interval in scores.differences
    ]


def _rater_rows(scores: StudyScores) -> list[dict[str, Any]]:
    return [
        {
            "kind": "rater",
            "rater": report.rater,
            "answers": report.answers,
            "checks": f"{report.passed}/{report.checks}",
            "accuracy": _number(report.accuracy),
            "leftmost": _number(report.leftmost),
            "counts": not report.left_out,
        }
        for report in scores.raters
    ]


def _interval_cells(measure: str, interval: Interval) -> dict[str, Any]:
    return {measure: _number(interval.value), "low": _number(interval.low), "high": _number(interval.high)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _cell(value: object) -> object:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else value
