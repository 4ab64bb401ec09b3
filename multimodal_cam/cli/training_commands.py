"""The commands `train captioner`, `train vqa` and `train familiarity`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options as o
from .output import print_diagnostic, print_line, progress_bar, progress_display
from .question_files import read_question_file

INTERRUPTED = 130

train = o.command_group("Train one of the bundled networks.")


@train.command("captioner")
def train_captioner(
    images: o.ImageFolder,
    captions: o.CaptionsFile,
    split: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="File with the names of the training photos, one a line.")
    ],
    dev: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="File with the names of the photos that the loss is monitored on.")
    ],
    out: o.TrainingFolder,
    network: Annotated[str | None, typer.Option(help="nic, or sat (with attention).")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Name in timm, or a captioner whose encoder is reused: a bundled name or a folder.")
    ] = None,
    epochs: o.Epochs = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Photos in a batch, each with all its captions.")] = None,
    learning_rate: o.LearningRate = None,
    dropout: o.Dropout = None,
    min_count: Annotated[int | None, typer.Option(min=1, help="Rarer words become unknown.")] = None,
    seed: o.TrainingSeed = None,
    device: o.Device = "auto",
) -> None:
    """Train a captioner on photos with captions, and write it to a folder that --model takes.

    Options that are not given take the values of the recipe. An interrupted run resumes after its last finished
    epoch when the command is repeated.
    """
    from multimodal_cam.data.readers.caption_file import read_captions, read_split
    from multimodal_cam.models.training import captioner_training as training

    o.check_choice("--network", network, training.NETWORKS)
    changes = o.drop_none(
        network=network,
        encoder=encoder,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dropout=dropout,
        min_count=min_count,
        seed=seed,
    )
    recipe = replace(training.TrainingOptions(), **changes)
    texts = read_captions(captions)
    splits = {"train": read_split(split, texts), "dev": read_split(dev, texts)}
    _run_training(training.train_captioner, recipe, out, device, images=images, captions=texts, **splits)


@train.command("vqa")
def train_vqa(
    images: o.ImageFolder,
    questions: o.QuestionsFile,
    dev: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Questions that the loss is monitored on.")],
    out: o.TrainingFolder,
    network: Annotated[str | None, typer.Option(help="lstm-q, or san (with attention).")] = None,
    encoder: Annotated[str | None, typer.Option(help="Captioner whose encoder is reused: a bundled name or a folder.")] = None,
    epochs: o.Epochs = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Photos in a batch, each with all its questions.")] = None,
    learning_rate: o.LearningRate = None,
    dropout: o.Dropout = None,
    min_count: Annotated[int | None, typer.Option(min=1, help="Rarer words of questions become unknown.")] = None,
    min_answers: Annotated[int | None, typer.Option(min=1, help="Rarer answers are no classes.")] = None,
    seed: o.TrainingSeed = None,
    device: o.Device = "auto",
) -> None:
    """Train a VQA model on photos with questions, and write it to a folder that --model takes.

    Options that are not given take the values of the recipe. An interrupted run resumes after its last finished
    epoch when the command is repeated. Malformed lines of the question files are skipped and reported.
    """
    from multimodal_cam.models.training import vqa_training as training

    o.check_choice("--network", network, training.NETWORKS)
    changes = o.drop_none(
        network=network,
        encoder=encoder,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dropout=dropout,
        min_count=min_count,
        min_answers=min_answers,
        seed=seed,
    )
    recipe = replace(training.VQAOptions(), **changes)
    splits = {"train": read_question_file(questions), "dev": read_question_file(dev)}
    _run_training(training.train_vqa, recipe, out, device, images=images, **splits)


@train.command("familiarity")
def train_familiarity(
    images: o.ImageFolder,
    split: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="File with the names of the training photos, one a line.")
    ],
    dev: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="File with the names of photos like them that it was not trained on."),
    ],
    model: Annotated[
        str, typer.Option(help="A bundled name, or a folder written by `train`; the fit goes into its folder.")
    ] = "nic",
    device: o.Device = "auto",
) -> None:
    """Fit which photos a trained network knows, so that it says when it has seen nothing like a photo.

    Training ends with this; after that it is needed only for weights that came from elsewhere. Prints the threshold.
    """
    from multimodal_cam.adapters.load import choose_device
    from multimodal_cam.data.readers.caption_file import read_names
    from multimodal_cam.models.training import familiarity_training as training

    with progress_bar("familiarity", training.photo_count(read_names(split), read_names(dev))) as advance:
        fit = training.train_familiarity(
            model=model,
            images=images,
            train=read_names(split),
            dev=read_names(dev),
            device=choose_device(device),
            progress=lambda _stage, done, _total, _remark: advance(done),
        )
    print_line(f"threshold {fit.threshold:.2f}: 97.5 % of the dev photos are nearer to the training photos")


def _run_training(trainer: Callable[..., Path], recipe: Any, out: Path, device: str, **data: Any) -> None:
    """Train by `recipe` with progress bars, and print the folder of the network."""
    from multimodal_cam.adapters.load import choose_device

    with _resume_hint(), _training_progress(recipe.epochs) as progress:
        trainer(out=out, options=recipe, device=choose_device(device), progress=progress, **data)
    print_line(str(out))


@contextmanager
def _resume_hint() -> Iterator[None]:
    """Ctrl-C ends a training run with a line that says how to resume it."""
    try:
        yield
    except KeyboardInterrupt:
        print_diagnostic("stopped: repeat the command to resume after the last finished epoch")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _training_progress(epochs: int) -> Iterator[Callable[[str, int, int, str], None]]:
    """The `progress` callback of a training run: a bar for its current stage, one for the epochs, a line for each epoch."""
    with progress_display() as bars:
        overall = bars.add_task("epochs", total=epochs)
        current = bars.add_task("starting", total=None)

        def progress(stage: str, done: int, total: int, remark: str) -> None:
            if stage == "dev":
                bars.update(overall, completed=done, total=total, remark=remark)
                bars.console.print(f"epoch {done} of {total}: {remark}", markup=False, highlight=False)
            else:
                bars.update(current, description=stage, completed=done, total=total, remark=remark)

        yield progress
