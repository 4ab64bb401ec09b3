"""Explanations as the commands `caption`, `vqa` and `classify` print and write them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from .options import OnError, Scale
from .output import print_diagnostic, print_json, print_line, print_table, progress_bar

if TYPE_CHECKING:
    from multimodal_cam import Explanation, Failure, TaskAdapter


@dataclass(frozen=True)
class OutputOptions:
    """Options of a command that say where its explanations go."""

    out: Path | None
    as_json: bool
    overwrite: bool
    scale: Scale
    on_error: OnError = OnError.fail
    phrases: bool = False


def write_explanations(
    explain: Callable[[], Iterator[tuple[str, Explanation | Failure]]],
    total: int,
    print_record: Callable[[dict[str, Any]], None],
    options: OutputOptions,
) -> None:
    """Prints explanations as they come and, unless only JSON is wanted, writes their report folder.

    Args:
        explain: starts the work and yields pairs of a photo's path and its explanation; called once the folder can be written.
        total: number of these pairs.
        print_record: prints one JSON record for people.
    """
    from multimodal_cam.core.drafts import unused
    from multimodal_cam.core.publication import new_folder
    from multimodal_cam.core.signatures import foreign_names
    from multimodal_cam.render.report_folder import Report
    from multimodal_cam.results.json_records import record

    target = options.out or unused(Path("multimodal-cam-out"))
    print_result = print_json if options.as_json else print_record
    with ExitStack() as stack:
        report = None
        if options.out or not options.as_json:
            folder = stack.enter_context(new_folder(target, "report", overwrite=options.overwrite))
            taken = foreign_names(target) if target.is_dir() else ()
            report = Report(folder.draft, scale=options.scale.value, phrases=options.phrases, taken=taken)
        results = explain()
        advance = stack.enter_context(progress_bar("explaining", total))
        failures: list[tuple[str, Failure]] = []
        for done, (path, result) in enumerate(results, start=1):
            print_result(record(path, result, phrases=options.phrases))
            failures += _skipped(path, result, options.on_error)
            if report is not None:
                report.add(path, result)
            advance(done)
        if report is not None and len(failures) < total:
            report.finish()
        elif report is not None:
            _exit_with_failures(failures, total)
    if report is not None:
        print_line(str(folder.path / "index.html"), sys.stderr if options.as_json else sys.stdout)
    if failures:
        _exit_with_failures(failures, total)


def _skipped(path: str, result: Explanation | Failure, on_error: OnError) -> list[tuple[str, Failure]]:
    """The result with its photo if it is a failure, else nothing; raises the failure's error with `--on-error raise`."""
    from multimodal_cam import Failure

    if not isinstance(result, Failure):
        return []
    if on_error is OnError.fail:
        raise result.error
    return [(path, result)]


def explain_in_batches(
    model: TaskAdapter, photos: Sequence[str], *, batch_size: int = 32, **options: Any
) -> Iterator[tuple[str, Explanation | Failure]]:
    """Explains photos batch by batch, so that no more than a batch is in memory; a photo that fails gives a Failure."""
    from multimodal_cam import explain

    for start in range(0, len(photos), batch_size):
        batch = list(photos[start : start + batch_size])
        yield from zip(batch, explain(model, batch, batch_size=batch_size, on_error="skip", **options), strict=True)


def _exit_with_failures(failures: list[tuple[str, Failure]], total: int) -> NoReturn:
    """Lists the failed photos and their errors; exit code 1."""
    from multimodal_cam.core.errors import message

    print_diagnostic(f"{len(failures)} of {total} photos failed:")
    for path, failure in failures:
        print_diagnostic(f"  {path}: {message(failure.error)}")
    raise typer.Exit(1)


# ---- records for people ------------------------------------------------------------------------------------


def print_text(record: dict[str, Any]) -> None:
    """One line: photo and text. Failures are listed at the end instead."""
    if "text" in record:
        print_line(f"{record['image']}: {record['text']}")


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
    rows = [
        [answer["text"], *map(_number_text, [answer["probability"], answer["score"], *_peak(answer)])]
        for answer in record["answers"]
    ]
    print_table(["", "probability", _score_label(record), "peak x", "peak y"], rows)
    _print_question_words(record)
    (answer,) = record["words"]
    print_line(f"the photo adds {answer['reliance']:+.2f} nats to {answer['text']}")
    print_line("peak: in fractions of the photo from its top left corner")


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
