"""Options of the `study` commands, as annotated types."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer


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
