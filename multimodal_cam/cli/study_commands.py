"""The commands `study captions`, `study vqa`, `study sanity` and `study report`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import options as o
from .output import progress_display

if TYPE_CHECKING:
    from multimodal_cam.study.config import Settings
    from multimodal_cam.study.sources.photo_list import StudyPhoto

study = o.command_group("Measure whether maps lie on what the words name.")


class Engine(StrEnum):
    local = "local"
    ray = "ray"


StudyFolder = Annotated[Path, typer.Option(file_okay=False, help="Folder of the study; the same command goes on there.")]
Entities = Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Flickr30k Entities: phrases and boxes.")]
Instances = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="COCO's instances_*.json, with --captions captions_*.json.")
]
StudyCaptions = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="image,caption as CSV, or COCO's JSON.")]
Split = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Names of photos, one a line.")]
Metrics = Annotated[str | None, typer.Option(help="Separated by commas, or all of place [default: all but the slow ones].")]
Controls = Annotated[str | None, typer.Option(help="Separated by commas, or none [default: all].")]
Faithfulness = Annotated[bool, typer.Option("--faithfulness", help="Also deletion, insertion and the like: slow.")]
Canvas = Annotated[Literal["pixels", "layer"], typer.Option(help="What these perturb: the photo, or the layer, much faster.")]
Models = Annotated[str, typer.Option(help="Separated by commas.")]
Methods = Annotated[str, typer.Option(help="Separated by commas; models without attention leave attention out.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first photos.")]
EngineName = Annotated[Engine, typer.Option(help="This process, or Ray Data: see docs/scale.md.")]
Workers = Annotated[int, typer.Option(min=1, help="Ray's actors, each with its own models.")]
ShardSize = Annotated[int, typer.Option(min=1, help="Photos that are one unit of work: what a kill may cost.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the shuffled weights and the bootstrap.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]


@study.command("captions")
def study_captions(
    images: o.ImageFolder,
    out: StudyFolder,
    entities: Entities = None,
    instances: Instances = None,
    captions: StudyCaptions = None,
    split: Split = None,
    models: Models = "nic",
    methods: Methods = "grad_cam,evidence",
    scores: Annotated[str, typer.Option(help="log_prob, logit, contrast; separated by commas.")] = "log_prob",
    metrics: Metrics = None,
    faithfulness: Faithfulness = False,
    canvas: Canvas = "pixels",
    controls: Controls = None,
    own_captions: Annotated[
        bool, typer.Option("--own-captions/--human-captions", help="What the model says itself, aligned by head noun.")
    ] = False,
    per_photo: Annotated[int, typer.Option(min=1, help="How many of a photo's human captions.")] = 1,
    beam: Annotated[int, typer.Option(min=1, help="Width of the beam search of --own-captions.")] = 3,
    n_steps: o.Steps = 8,
    limit: Limit = None,
    engine: EngineName = Engine.local,
    workers: Workers = 1,
    batch_size: o.BatchSize = 32,
    shard_size: ShardSize = 64,
    seed: Seed = 0,
    device: o.Device = "auto",
    preset: Annotated[
        Literal["ablations"] | None, typer.Option(help="Methods and scores: the paper's ablations on the first of the models.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Do maps of a caption's words lie on what they name? Boxes of Flickr30k Entities, or of COCO.

    Writes results.parquet (a row for each photo, word, model, method and score), report.md, report.html and run.json.
    Killed at any moment, the same command goes on after the last whole shard.
    """
    from multimodal_cam.study.config import Settings

    items, files = _photos_with_boxes(entities, instances, captions, split)
    settings = Settings(
        task="captions",
        images=str(images.resolve()),
        entities=str(entities.resolve()) if entities else "",
        models=_names(models),
        methods=_names(methods),
        scores=_names(scores),
        metrics=_metrics(metrics, faithfulness),
        canvas=canvas,
        controls=_controls(controls),
        own_captions=own_captions,
        per_photo=per_photo,
        beam=beam,
        n_steps=n_steps,
        seed=seed,
        batch_size=batch_size,
        shard_size=shard_size,
        device=device,
    )
    if preset == "ablations":
        from multimodal_cam.study.ablations import CONTROLS, ablations

        settings = ablations(settings if controls else replace(settings, controls=CONTROLS))
    _run(settings, items[:limit], out, files, engine, workers, dry_run)


@study.command("vqa")
def study_vqa(
    images: o.ImageFolder,
    questions: o.QuestionsFile,
    out: StudyFolder,
    models: Models = "lstm-q",
    methods: Methods = "grad_cam,evidence",
    scores: Annotated[str, typer.Option(help="logit, log_prob, contrast; separated by commas.")] = "logit",
    metrics: Metrics = None,
    faithfulness: Faithfulness = False,
    canvas: Canvas = "pixels",
    controls: Controls = None,
    n_steps: o.Steps = 8,
    limit: Limit = None,
    engine: EngineName = Engine.local,
    workers: Workers = 1,
    batch_size: o.BatchSize = 16,
    shard_size: ShardSize = 64,
    seed: Seed = 0,
    device: o.Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Do maps of answers lie where the answer is? Questions with boxes; the report counts those that are answered right."""
    from multimodal_cam.data.questions import read_questions
    from multimodal_cam.study.config import Settings
    from multimodal_cam.study.sources.photo_list import question_photos

    items = question_photos(read_questions(questions))
    settings = Settings(
        task="vqa",
        images=str(images.resolve()),
        models=_names(models),
        methods=_names(methods),
        scores=_names(scores),
        metrics=_metrics(metrics, faithfulness),
        canvas=canvas,
        controls=_controls(controls),
        n_steps=n_steps,
        seed=seed,
        batch_size=batch_size,
        shard_size=shard_size,
        device=device,
    )
    _run(settings, items[:limit], out, {"questions": questions}, engine, workers, dry_run)


@study.command("sanity")
def study_sanity(
    images: o.ImageFolder,
    out: StudyFolder,
    entities: Entities = None,
    instances: Instances = None,
    captions: StudyCaptions = None,
    questions: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="For VQA models: JSON lines, as `data make-questions` writes."),
    ] = None,
    split: Split = None,
    models: Models = "nic",
    methods: Methods = "grad_cam,evidence",
    scores: Annotated[str, typer.Option(help="log_prob, logit, contrast; separated by commas.")] = "log_prob",
    n_steps: o.Steps = 8,
    limit: Limit = 50,
    batch_size: o.BatchSize = 16,
    seed: Seed = 0,
    device: o.Device = "auto",
) -> None:
    """Do maps change when the network forgets what it learned, and when another text is asked about? (Adebayo et al., 2018.)

    Writes sanity.parquet, sanity.md, sanity.html and plots; in the folder of a study, into its report, too. Takes the first
    50 photos unless --limit says otherwise.
    """
    from multimodal_cam.data.questions import read_questions
    from multimodal_cam.study.config import Settings
    from multimodal_cam.study.report.sanity_section import write_sanity
    from multimodal_cam.study.report.study_report import write_report
    from multimodal_cam.study.runner.randomization_run import measure_sanity
    from multimodal_cam.study.runner.result_store import read_run
    from multimodal_cam.study.runner.study_run import check_settings
    from multimodal_cam.study.sources.photo_list import question_photos

    items = (
        question_photos(read_questions(questions)) if questions else _photos_with_boxes(entities, instances, captions, split)[0]
    )
    settings = Settings(
        task="vqa" if questions else "captions",
        images=str(images.resolve()),
        entities=str(entities.resolve()) if entities else "",
        models=_names(models),
        methods=_names(methods),
        scores=_names(scores),
        metrics=_metrics(None, False),
        controls=(),
        n_steps=n_steps,
        seed=seed,
        batch_size=batch_size,
        device=device,
    )
    check_settings(settings)
    items = items[:limit]
    with _rate_display(len(items) * len(settings.models)) as progress:
        progress(0)
        measure_sanity(settings, items, out, progress=progress)
    print(write_sanity(out, seed))
    if (out / "run.json").is_file() and read_run(out).get("finished"):
        print(write_report(out))


@study.command("report")
def study_report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a study that is done.")],
) -> None:
    """Write report.md and report.html again, from results.parquet."""
    from multimodal_cam.study.report.study_report import write_report

    print(write_report(folder))


def _photos_with_boxes(
    entities: Path | None, instances: Path | None, captions: Path | None, split: Path | None
) -> tuple[list[StudyPhoto], dict[str, Path]]:
    """The photos to measure, and the files that list them, their captions and their boxes."""
    from multimodal_cam.data.captions import read_captions
    from multimodal_cam.data.coco import read_coco
    from multimodal_cam.study.sources.photo_list import StudyPhoto, listed_photos

    if (entities is None) == (instances is None):
        raise typer.BadParameter("give either Flickr30k Entities (--entities) or COCO's boxes (--instances)")
    files: dict[str, Path] = o.drop_none(captions=captions, instances=instances, split=split)
    if entities is not None:
        return listed_photos(split, entities, read_captions(captions) if captions else {}), files
    if captions is None or instances is None:
        raise typer.BadParameter("--instances needs COCO's --captions captions_*.json", param_hint="--captions")
    items = [StudyPhoto(image, texts, things) for image, texts, things in read_coco(captions, instances)]
    if split is not None:
        wanted = set(split.read_text(encoding="utf-8").split())
        items = [item for item in items if item.image in wanted]
    return items, files


def _run(
    settings: Settings,
    items: Sequence[StudyPhoto],
    out: Path,
    files: dict[str, Path],
    engine: Engine,
    workers: int,
    dry_run: bool,
) -> None:
    from multimodal_cam.study.report.study_report import write_report
    from multimodal_cam.study.runner.study_run import check_settings, remaining_work, run_study

    check_settings(settings)
    photos, shards = remaining_work(settings, items, out)
    if dry_run:
        print(f"{photos} of {len(items)} photos in {shards} shards of {settings.shard_size} to measure, into {out}")
        for name in ("models", "methods", "scores", "metrics", "controls"):
            print(f"{name}: {', '.join(getattr(settings, name)) or 'none'}")
        return
    with _rate_display(len(items)) as progress:
        run_study(settings, items, out, files=files, engine=engine.value, workers=workers, progress=progress)
    print(write_report(out))


@contextmanager
def _rate_display(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with photos a second and the time left.

    Yields a function that takes the number of photos done since its last call; its first call takes those done in earlier runs.
    """
    with progress_display() as bars:
        task, done, earlier, start = bars.add_task("measuring", total=total), 0, -1, time.monotonic()

        def progress(more: int) -> None:
            nonlocal done, earlier, start
            done += more
            if earlier < 0:
                earlier, start = done, time.monotonic()
                bars.update(task, completed=done)
                return
            rate = (done - earlier) / max(time.monotonic() - start, 1e-9)
            bars.update(task, completed=done, remark=f"{rate:.2f} photos/s")

        yield progress


def _names(text: str) -> tuple[str, ...]:
    """The names of a list separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _metrics(text: str | None, faithfulness: bool) -> tuple[str, ...]:
    from multimodal_cam.study.measure.perturbation import FAITHFULNESS
    from multimodal_cam.study.measure.placement import DEFAULT, METRICS

    chosen = DEFAULT if text is None else tuple(METRICS) if text == "all" else _names(text)
    return (*chosen, *(name for name in FAITHFULNESS if name not in chosen)) if faithfulness else chosen


def _controls(text: str | None) -> tuple[str, ...]:
    from multimodal_cam.study.measure.controls import CONTROLS

    return tuple(CONTROLS) if text is None else () if text == "none" else _names(text)
