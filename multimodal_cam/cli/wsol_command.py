"""The command `study wsol`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options as o
from . import study_options as so
from .output import print_line, print_rows, rate_display

ILSVRC_TITLE = "Localisation error on ILSVRC"
PHRASE_TITLE = "Localisation error of words and phrases"


def wsol(
    out: so.StudyFolder,
    ilsvrc: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="ILSVRC's folder, with Data/CLS-LOC and Annotations/CLS-LOC."),
    ] = None,
    subset: Annotated[str, typer.Option(help="Folder of --ilsvrc: val or train.")] = "val",
    images: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Photos of --entities.")] = None,
    entities: so.Entities = None,
    split: so.Split = None,
    models: Annotated[
        str | None, typer.Option(help="Names separated by commas [default: efficientnet_lite0 for --ilsvrc, else nic].")
    ] = None,
    methods: so.Methods = "grad_cam,evidence",
    box_rule: Annotated[o.BoxRule, typer.Option(help="Rule of the boxes for --ilsvrc; of phrases both are measured.")] = (
        o.BoxRule.segment
    ),
    n_steps: o.Steps = 8,
    limit: so.Limit = None,
    batch_size: o.BatchSize = 16,
    seed: so.Seed = 0,
    device: o.Device = "auto",
    as_json: o.Json = False,
) -> None:
    """Measure how often the box of a map misses: weakly supervised localisation (overlap below .5 is an error).

    With --ilsvrc, ILSVRC's top-1 and top-5 error of classifiers; with --images and --entities, the error of words and phrases of
    human captions. Beside each: the box of another class's or word's map, the photo's centre, the whole image. Writes wsol.md and
    wsol.json; a study of phrases resumes when the command is repeated.
    """
    from multimodal_cam.study.wsol.localisation_error import write_errors

    if (ilsvrc is None) == (entities is None) or (entities is None) != (images is None):
        raise typer.BadParameter("give either ILSVRC's folder (--ilsvrc), or --images and Flickr30k Entities (--entities)")
    if ilsvrc is not None:
        names = (models or "efficientnet_lite0").split(",")
        rows = _class_rows(
            ilsvrc, subset, names, methods.split(","), limit, rule=box_rule.value, batch_size=batch_size, seed=seed, device=device
        )
    else:
        assert images is not None and entities is not None  # noqa: PT018  checked above
        rows = _phrase_rows(
            out,
            images,
            entities,
            split,
            limit,
            models=tuple((models or "nic").split(",")),
            methods=tuple(methods.split(",")),
            n_steps=n_steps,
            batch_size=batch_size,
            seed=seed,
            device=device,
        )
    path = write_errors(out, PHRASE_TITLE if ilsvrc is None else ILSVRC_TITLE, rows)
    print_rows(rows, as_json)
    if not as_json:
        print_line(str(path))


def _class_rows(
    folder: Path, subset: str, models: list[str], methods: list[str], limit: int | None, device: str, **options: Any
) -> list[dict[str, Any]]:
    from multimodal_cam.data.readers.ilsvrc import read_classes, read_photos
    from multimodal_cam.study.wsol.class_error import class_errors

    classes, photos = read_classes(folder), read_photos(folder, subset, limit)
    rows = []
    with rate_display(len(photos) * len(models) * len(methods)) as progress:
        progress(0)
        for name in models:
            rows += class_errors(o.load_model(name, device), photos, classes, methods, progress=progress, **options)
    return rows


def _phrase_rows(
    out: Path, images: Path, entities: Path, split: Path | None, limit: int | None, **options: Any
) -> list[dict[str, Any]]:
    from multimodal_cam.study.config import Settings
    from multimodal_cam.study.runner.study_run import run_study
    from multimodal_cam.study.sources.photo_list import listed_photos
    from multimodal_cam.study.wsol.phrase_error import CONTROL, RULES, phrase_errors

    items = listed_photos(split, entities, {})[:limit]
    settings = Settings(
        "captions",
        str(images.resolve()),
        scores=("log_prob",),
        metrics=tuple(RULES.values()),
        controls=(CONTROL,),
        entities=str(entities.resolve()),
        **options,
    )
    with rate_display(len(items)) as progress:
        run_study(settings, items, out, files=o.drop_none(split=split), progress=progress)
    return phrase_errors(out, settings.seed)
