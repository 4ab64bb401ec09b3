"""The commands `eval captions` and `eval vqa`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options as o
from .output import print_rows, progress_bar
from .question_files import read_question_file

evaluate = o.command_group("Measure the quality of a model.")


@evaluate.command("captions")
def eval_captions(
    images: o.ImageFolder,
    captions: o.CaptionsFile,
    split: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="File with names of photos, one a line.")],
    model: o.Model = "nic",
    beam: Annotated[int, typer.Option(min=1, help="Width of the beam search.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first photos of the split.")] = None,
    as_json: o.Json = False,
    device: o.Device = "auto",
    dtype: o.ModelDType = None,
    batch_size: o.BatchSize = 32,
) -> None:
    """Measure BLEU-1 to BLEU-4 (0 to 1) and CIDEr (0 to 10) of a model's captions against human ones."""
    from multimodal_cam.data.readers.caption_file import read_captions, read_split
    from multimodal_cam.evaluation.caption_quality import evaluate_captions

    texts = read_captions(captions)
    references = {name: texts[name] for name in read_split(split, texts)[:limit]}
    adapter = o.load_model(model, device, dtype=dtype)
    with progress_bar("captioning", len(references)) as advance:
        scores = evaluate_captions(
            adapter,
            images,
            references,
            batch_size=batch_size,
            progress=lambda done, _: advance(done),
            beam=beam,
        )
    if as_json:
        print(json.dumps({"model": adapter.name, "photos": len(references), "beam": beam} | scores))
    else:
        for name, value in scores.items():
            print(f"{name} {value:.3f}")


@evaluate.command("vqa")
def eval_vqa(
    images: o.ImageFolder,
    questions: o.QuestionsFile,
    known: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Training questions, from which the commonest answers are taken.")
    ],
    model: o.Model = "lstm-q",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions.")] = None,
    as_json: o.Json = False,
    device: o.Device = "auto",
    dtype: o.ModelDType = None,
) -> None:
    """Measure accuracy by type of question, beside the commonest answer, the question alone and the photo alone."""
    from multimodal_cam.evaluation.answer_accuracy import evaluate_answers

    evaluated, adapter = read_question_file(questions)[:limit], o.load_model(model, device, dtype=dtype)
    with progress_bar("answering", len(evaluated)) as advance:
        accuracies = evaluate_answers(
            adapter, images, evaluated, read_question_file(known), progress=lambda done, _: advance(done)
        )
    rows: list[dict[str, Any]] = [{"type": kind} | asdict(accuracy) for kind, accuracy in accuracies.items()]
    if not as_json:
        rows = [{k.replace("_", " "): f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    print_rows(rows, as_json)
