"""The command `data make-questions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o
from .output import print_diagnostic, print_line, progress_bar

data = o.command_group("Make datasets.")


@data.command("make-questions")
def make_questions(
    captions: o.CaptionsFile,
    split: Annotated[
        list[Path], typer.Option(exists=True, dir_okay=False, help="File with names of photos, one a line; repeatable.")
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="File to write, one JSON object a line.")],
    entities: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Flickr30k Entities: answers get their boxes.")
    ] = None,
    min_count: Annotated[int, typer.Option(min=1, help="Rarer answers, and questions with rarer words, are dropped.")] = 5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make questions about photos from their captions, each with its answer and the answer's boxes.

    The questions ask for objects, colours, numbers, places and actions; yes/no questions are balanced. A split is
    named after its file (train_images.txt: train). Unreadable records are skipped and reported at the end.
    """
    from multimodal_cam.data.question_maker import question_generation
    from multimodal_cam.data.question_maker.captioned_photos import SkipCounter
    from multimodal_cam.data.readers.caption_file import read_captions, read_split
    from multimodal_cam.data.readers.question_record import write_questions

    tally = SkipCounter()
    texts = read_captions(captions, tally.of("lines of captions"))
    splits = {path.stem.removesuffix("_images"): read_split(path, texts, tally.of("photos without captions")) for path in split}
    if len(splits) < len(split):
        raise ValueError(f"two splits of one name: {', '.join(map(str, split))}")
    with progress_bar("reading captions", sum(map(len, splits.values()))) as advance:
        questions = list(
            question_generation.make_questions(
                texts, splits, entities, seed=seed, min_count=min_count, tally=tally, progress=advance
            )
        )
    for reason, (times, first) in tally.found.items():
        print_diagnostic(f"left out: {times} {reason}, the first: {first}")
    if not questions:
        raise ValueError(f"no question could be made from {captions} for the photos of {', '.join(map(str, split))}")
    count = write_questions(questions, out)
    print_line(f"{out}: {count} questions")
