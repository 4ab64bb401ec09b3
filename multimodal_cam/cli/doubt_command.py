"""The command `study doubt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o
from . import study_options as so
from .output import rate_display


def study_doubt(
    images: o.ImageFolder,
    captions: o.CaptionsFile,
    train: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Photos to fit on, one a line: the training photos.")],
    split: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Photos to measure on, one a line: others.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the report: doubt.md, doubt.html, plots.")],
    model: o.Model = "nic",
    limit_train: Annotated[int, typer.Option(min=33, help="Number of photos to fit on, drawn by lot.")] = 1500,
    limit: so.Limit = None,
    save: Annotated[bool, typer.Option("--save", help="Write the fit beside the weights, so that explanations have it.")] = False,
    seed: so.Seed = 0,
    device: o.Device = "auto",
) -> None:
    """Measure which nouns of a model's own captions are hallucinated, and whether its own numbers tell.

    Fits a logistic regression of log-probability, reliance, internal confidence and position on training photos, reports its
    AUROC and that of each number on other photos, and how well the model's probabilities are calibrated there.
    """
    import random

    from multimodal_cam.data.readers.caption_file import read_captions, read_split
    from multimodal_cam.study.report.doubt_section import write_doubt_report
    from multimodal_cam.study.runner.doubt_run import DoubtSource, doubt_study, save_doubt

    texts = read_captions(captions)
    fitted_on, measured_on = read_split(train, texts), read_split(split, texts)[:limit]
    fitted_on = random.Random(seed).sample(fitted_on, min(limit_train, len(fitted_on)))
    source = DoubtSource(images, texts, fitted_on, measured_on, seed)
    with rate_display(len(fitted_on) + len(measured_on)) as progress:
        found = doubt_study(model, source, device=device, progress=progress)
    print(write_doubt_report(out, found, seed))
    if save:
        print(save_doubt(found))
