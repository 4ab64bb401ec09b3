"""Explanations as the commands `caption`, `vqa` and `classify` print and write them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from .options import EngineName, OnError
from .output import print_diagnostic, print_json, print_line, print_table, progress_bar

if TYPE_CHECKING:
    from multimodal_cam import TaskAdapter
    from multimodal_cam.batch.batch_folder import BatchFolder
    from multimodal_cam.batch.batch_run import BatchProgress
    from multimodal_cam.batch.batch_settings import BatchItem, BatchSettings

DEFAULT_FOLDER = "multimodal-cam-out"
LISTED = 20  # failures that are listed at the end; results.jsonl has all of them


@dataclass(frozen=True)
class OutputOptions:
    """Options of a command that say where its explanations go, and how they are worked through."""

    out: Path | None
    as_json: bool
    overwrite: bool
    on_error: OnError
    engine: EngineName
    workers: int


@dataclass(frozen=True)
class Batch:
    """What a command is asked for: settings, items, photos and questions as they were written, and how its model is loaded."""

    settings: BatchSettings
    items: Sequence[BatchItem]
    asked: Sequence[str]
    load_model: Callable[[], TaskAdapter]


def write_explanations(batch: Batch, output: OutputOptions, print_record: Callable[[dict[str, Any]], None]) -> None:
    """Print explanations as they come and, unless only JSON is wanted, write them to a folder.

    Args:
        print_record: Prints one JSON record for people.
    """
    from multimodal_cam.batch.batch_run import BatchEngine, BatchProgress, check_packages, run_batch

    check_packages(batch.settings)
    print_result = print_json if output.as_json else print_record
    engine = BatchEngine(output.engine.value, output.workers, output.on_error is OnError.stop)
    with ExitStack() as stack:
        folder, model = _open(batch, output, stack)
        left = batch.items if folder is None else folder.left(batch.items)
        progress = BatchProgress(len(batch.items), len(batch.items) - len(left))
        _say_what_is_done(progress, folder)
        try:
            advance = stack.enter_context(progress_bar("explaining", len(batch.items)))
            advance(progress.done)
            for record in run_batch(batch.settings, left, model, folder, engine, progress):
                print_result(record)
                advance(progress.done + len(progress.failures))
        finally:
            place = folder and folder.close(batch.items, finished=progress.finished)
            if not progress.finished:
                _say_what_stays(progress, folder)
    if place is not None:
        print_line(str(place), sys.stderr if output.as_json else sys.stdout)
    if progress.failures:
        _exit_with_failures(progress)


def _open(batch: Batch, output: OutputOptions, stack: ExitStack) -> tuple[BatchFolder | None, TaskAdapter]:
    """The folder of the batch, None where only JSON is wanted, and the model; a folder that is refused costs no loading."""
    from multimodal_cam.batch.batch_folder import BatchFolder, batch_folder
    from multimodal_cam.batch.batch_run import unfinished_or_unused
    from multimodal_cam.batch.batch_settings import run_record

    growing = None if output.out is None else stack.enter_context(batch_folder(output.out))
    model = batch.load_model()
    if growing is None and output.as_json:
        return None, model
    run = run_record(batch.settings, model, batch.asked)
    if growing is None:
        growing = stack.enter_context(batch_folder(unfinished_or_unused(Path(DEFAULT_FOLDER), run)))
    return BatchFolder(growing, run, overwrite=output.overwrite), model


def _say_what_is_done(progress: BatchProgress, folder: BatchFolder | None) -> None:
    if progress.done == progress.total:
        print_diagnostic(f"{progress.done} of {progress.total} are there already: nothing is left to do")
    elif progress.done and folder is not None:
        print_diagnostic(f"{progress.done} of {progress.total} are in {str(folder.path)!r} already: going on with the others")


def _say_what_stays(progress: BatchProgress, folder: BatchFolder | None) -> None:
    if folder is not None and progress.done:
        print_diagnostic(
            f"stopped: {progress.done} of {progress.total} are in {str(folder.path)!r}; the same command goes on from there"
        )


def _exit_with_failures(progress: BatchProgress) -> NoReturn:
    """List the failed items and their errors; exit code 1."""
    from multimodal_cam.core.errors import message

    what = "questions" if progress.failures[0][0].question else "photos"
    print_diagnostic(f"{len(progress.failures)} of {progress.total} {what} failed:")
    for item, error in progress.failures[:LISTED]:
        print_diagnostic(f"  {item.image}{f' ({item.question})' if item.question else ''}: {message(error)}")
    if len(progress.failures) > LISTED:
        print_diagnostic(f"  and {len(progress.failures) - LISTED} more, whose errors are in results.jsonl")
    raise typer.Exit(1)


# ---- records for people ------------------------------------------------------------------------------------


def print_text(record: dict[str, Any]) -> None:
    """One line: photo, question and text; its warning goes to stderr. Failures are listed at the end instead."""
    if "text" in record:
        asked = f"{record['question']} " if "question" in record else ""
        print_line(f"{record['image']}: {asked}{record['text']}")
        _warn_of_unfamiliar_photo(record)


def print_words(record: dict[str, Any]) -> None:
    """The text, and a table with a line for each word and phrase."""
    print_text(record)
    if "text" not in record:
        return
    has_score_column = _score_label(record) != "log_prob"  # else it would repeat the probabilities
    rows = []
    for span in [*record["words"], *record.get("phrases", [])]:
        numbers = [span["probability"], *([span["score"]] if has_score_column else []), span["reliance"]]
        rows.append([span["text"], *map(_number_text, [*numbers, *_peak(span)])])
    score = [_score_label(record)] if has_score_column else []
    print_table(["", "probability", *score, "reliance", "peak x", "peak y"], rows)
    _print_reasons(record)
    print_line("reliance: nats that the photo adds; peak: in fractions of the photo from its top left corner")


def print_answers(record: dict[str, Any]) -> None:
    """The answer or class, a table of the likeliest ones, and what each word of the question adds.

    An answer of several words is printed as a caption is.
    """
    if "text" not in record:
        return
    if not record.get("answers"):
        print_line(str(record["question"]))
        print_words(record)
        _print_question_words(record)
        return
    print_line(f"{record['question']} {record['text']}" if "question" in record else f"{record['image']}: {record['text']}")
    _warn_of_unfamiliar_photo(record)
    rows = [
        [answer["text"], *map(_number_text, [answer["probability"], answer["score"], *_peak(answer)])]
        for answer in record["answers"]
    ]
    print_table(["", "probability", _score_label(record), "peak x", "peak y"], rows)
    _print_question_words(record)
    (answer,) = record["words"]
    _print_reasons(record)
    print_line(f"the photo adds {answer['reliance']:+.2f} nats to {answer['text']}")
    print_line("peak: in fractions of the photo from its top left corner")


def _warn_of_unfamiliar_photo(record: dict[str, Any]) -> None:
    """A line for a photo that is unlike those that the model was trained on."""
    warning = record.get("familiarity", {}).get("warning")
    if warning is not None:
        print_diagnostic(f"{record['image']}: {warning}")


def _print_reasons(record: dict[str, Any]) -> None:
    """The channels behind each word, where they were asked for."""
    for word in record["words"]:
        if "because" in word:
            print_line(word["because"])


def _print_question_words(record: dict[str, Any]) -> None:
    """What each word of the question adds to the score, and which words are out of vocabulary."""
    words = record.get("question_words", [])
    if words:
        shares = (f"{word['text']} {word['share']:+.2f}" for word in words)
        print_line(f"the question's words add, in {record['unit']}: {', '.join(shares)}")
    unknown = [word["text"] for word in words if not word["known"]]
    if unknown:
        print_diagnostic(f"the model does not know {', '.join(unknown)}: it reads <unk> there")


def _score_label(record: dict[str, Any]) -> str:
    return f"-{record['score']}" if record.get("counterfactual") else str(record["score"])


def _peak(entry: dict[str, Any]) -> list[float] | tuple[None, None]:
    return entry["peak"] or (None, None)


def _number_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
