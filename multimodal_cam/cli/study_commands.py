"""The commands `study captions`, `study vqa`, `study sanity`, `study report`, and where `study doubt` is added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import options as o
from . import study_options as so
from .doubt_command import study_doubt
from .output import print_diagnostic, rate_display

if TYPE_CHECKING:
    from multimodal_cam.study.config import Settings, Task
    from multimodal_cam.study.sources.photo_list import StudyPhoto

study = o.command_group("Measure whether maps lie on the things that words name.")
study.command("doubt")(study_doubt)


@study.command("captions")
def study_captions(
    images: o.ImageFolder,
    out: so.StudyFolder,
    entities: so.Entities = None,
    instances: so.Instances = None,
    captions: so.StudyCaptions = None,
    split: so.Split = None,
    models: so.Models = "nic",
    methods: so.Methods = "grad_cam,evidence",
    scores: Annotated[str, typer.Option(help="log_prob, logit, contrast, separated by commas.")] = "log_prob",
    metrics: so.Metrics = None,
    faithfulness: so.Faithfulness = False,
    canvas: so.Canvas = "pixels",
    controls: so.Controls = None,
    own_captions: Annotated[
        bool,
        typer.Option(
            "--own-captions/--human-captions", help="Explain the model's own captions, aligned with boxes by head noun."
        ),
    ] = False,
    per_photo: Annotated[int, typer.Option(min=1, help="Number of human captions of each photo.")] = 1,
    beam: Annotated[int, typer.Option(min=1, help="Beam width of --own-captions.")] = 3,
    n_steps: o.Steps = 8,
    limit: so.Limit = None,
    engine: o.Engine = o.EngineName.local,
    workers: o.Workers = 1,
    batch_size: o.BatchSize = 32,
    shard_size: so.ShardSize = 64,
    seed: so.Seed = 0,
    device: o.Device = "auto",
    preset: Annotated[
        Literal["ablations"] | None, typer.Option(help="Run the ablations of the Grad-CAM paper on the first model.")
    ] = None,
    dry_run: so.DryRun = False,
) -> None:
    """Measure whether maps of a caption's words lie on what they name, by boxes of Flickr30k Entities or COCO.

    Writes results.parquet (a row for each photo, word, model, method and score), report.md, report.html and run.json.
    An interrupted run resumes after its last whole shard when the command is repeated.
    """
    items, files = _photos_with_boxes(entities, instances, captions, split)
    settings = _settings(
        "captions",
        images,
        entities,
        (models, methods, scores),
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
    out: so.StudyFolder,
    models: so.Models = "lstm-q",
    methods: so.Methods = "grad_cam,evidence",
    scores: Annotated[str, typer.Option(help="logit, log_prob, contrast, separated by commas.")] = "logit",
    metrics: so.Metrics = None,
    faithfulness: so.Faithfulness = False,
    canvas: so.Canvas = "pixels",
    controls: so.Controls = None,
    n_steps: o.Steps = 8,
    limit: so.Limit = None,
    engine: o.Engine = o.EngineName.local,
    workers: o.Workers = 1,
    batch_size: o.BatchSize = 16,
    shard_size: so.ShardSize = 64,
    seed: so.Seed = 0,
    device: o.Device = "auto",
    dry_run: so.DryRun = False,
) -> None:
    """Measure whether maps of answers lie on the answers' boxes; the report counts questions that are answered right."""
    from multimodal_cam.data.readers.question_record import read_questions
    from multimodal_cam.study.sources.photo_list import question_photos

    items = question_photos(read_questions(questions))
    settings = _settings(
        "vqa",
        images,
        None,
        (models, methods, scores),
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
    out: so.StudyFolder,
    entities: so.Entities = None,
    instances: so.Instances = None,
    captions: so.StudyCaptions = None,
    questions: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="For VQA models: JSON lines, as written by `data make-questions`."),
    ] = None,
    split: so.Split = None,
    models: so.Models = "nic",
    methods: so.Methods = "grad_cam,evidence",
    scores: Annotated[str, typer.Option(help="log_prob, logit, contrast, separated by commas.")] = "log_prob",
    n_steps: o.Steps = 8,
    limit: so.Limit = 50,
    batch_size: o.BatchSize = 16,
    seed: so.Seed = 0,
    device: o.Device = "auto",
) -> None:
    """Measure whether maps change with the network's weights and with the text (Adebayo et al., 2018).

    Writes sanity.parquet, sanity.md, sanity.html and plots; in the folder of a study the results also enter its report.
    """
    from multimodal_cam.data.readers.question_record import read_questions
    from multimodal_cam.study.sources.photo_list import question_photos

    items = (
        question_photos(read_questions(questions)) if questions else _photos_with_boxes(entities, instances, captions, split)[0]
    )
    settings = _settings(
        "vqa" if questions else "captions",
        images,
        entities,
        (models, methods, scores),
        metrics=_metrics(None, False),
        controls=(),
        n_steps=n_steps,
        seed=seed,
        batch_size=batch_size,
        device=device,
    )
    _run_sanity(settings, items[:limit], out)


@study.command("report")
def study_report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished study.")],
) -> None:
    """Rewrite report.md and report.html from results.parquet."""
    from multimodal_cam.study.report.study_report import write_report

    print(write_report(folder))


def _settings(task: Task, images: Path, entities: Path | None, runs: tuple[str, str, str], **others: Any) -> Settings:
    """Settings of a command; `runs` are its models, methods and scores, each separated by commas."""
    from multimodal_cam.study.config import Settings

    models, methods, scores = map(_names, runs)
    folder = str(entities.resolve()) if entities else ""
    return Settings(task, str(images.resolve()), models, methods, scores, entities=folder, **others)


def _photos_with_boxes(
    entities: Path | None, instances: Path | None, captions: Path | None, split: Path | None
) -> tuple[list[StudyPhoto], dict[str, Path]]:
    """Photos to measure, and the files that list them, their captions and their boxes."""
    from multimodal_cam.data.readers.caption_file import read_captions
    from multimodal_cam.data.readers.coco import read_coco
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
        from multimodal_cam.core.json_object import read_utf8

        wanted = set(read_utf8(split).split())
        items = [item for item in items if item.image in wanted]
    return items, files


def _run(
    settings: Settings,
    items: Sequence[StudyPhoto],
    out: Path,
    files: dict[str, Path],
    engine: o.EngineName,
    workers: int,
    dry_run: bool,
) -> None:
    from multimodal_cam.study.report.study_report import write_report
    from multimodal_cam.study.runner.study_run import check_settings, failed_photos, remaining_work, run_study

    check_settings(settings)
    photos, shards = remaining_work(settings, items, out)
    if dry_run:
        print(f"{photos} of {len(items)} photos in {shards} shards of {settings.shard_size} to measure, into {out}")
        for name in ("models", "methods", "scores", "metrics", "controls"):
            print(f"{name}: {', '.join(getattr(settings, name)) or 'none'}")
        return
    with rate_display(len(items)) as progress:
        run_study(settings, items, out, files=files, engine=engine.value, workers=workers, progress=progress)
    if failed := failed_photos(out):
        photo, reason = next(iter(failed.items()))
        print_diagnostic(f"{len(failed)} of {len(items)} photos failed, all in errors.parquet; the first, {photo}: {reason}")
    print(write_report(out))


def _run_sanity(settings: Settings, items: Sequence[StudyPhoto], out: Path) -> None:
    from multimodal_cam.study.report.sanity_section import write_sanity
    from multimodal_cam.study.report.study_report import write_report
    from multimodal_cam.study.runner.randomization_run import measure_sanity
    from multimodal_cam.study.runner.result_store import read_run
    from multimodal_cam.study.runner.study_run import check_settings

    check_settings(settings)
    with rate_display(len(items) * len(settings.models)) as progress:
        progress(0)
        measure_sanity(settings, items, out, progress=progress)
    print(write_sanity(out, settings.seed))
    if (out / "run.json").is_file() and read_run(out).get("finished"):
        print(write_report(out))


def _names(text: str) -> tuple[str, ...]:
    """Names in a list separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _metrics(text: str | None, faithfulness: bool) -> tuple[str, ...]:
    from multimodal_cam.study.measure.perturbation import FAITHFULNESS
    from multimodal_cam.study.measure.placement import DEFAULT, METRICS

    chosen = DEFAULT if text is None else tuple(METRICS) if text == "all" else _names(text)
    return (*chosen, *(name for name in FAITHFULNESS if name not in chosen)) if faithfulness else chosen


def _controls(text: str | None) -> tuple[str, ...]:
    from multimodal_cam.study.measure.controls import CONTROLS

    return tuple(CONTROLS) if text is None else () if text == "none" else _names(text)
