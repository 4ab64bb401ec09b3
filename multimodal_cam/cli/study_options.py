"""Options of the `study` commands, as annotated types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

StudyFolder = Annotated[Path, typer.Option(file_okay=False, help="Folder of the study; repeating the command resumes it.")]
Entities = Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Flickr30k Entities: phrases and boxes.")]
Instances = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="COCO's instances_*.json, with --captions captions_*.json.")
]
StudyCaptions = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="CSV file with the columns image,caption, or COCO's JSON.")
]
Split = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="File with names of photos, one a line.")]
Metrics = Annotated[
    str | None, typer.Option(help="Names separated by commas, or all (of localisation) [default: all but the slow ones].")
]
Controls = Annotated[str | None, typer.Option(help="Names separated by commas, or none [default: all].")]
Faithfulness = Annotated[
    bool, typer.Option("--faithfulness", help="Add the faithfulness metrics (deletion, insertion, ...), which are slow.")
]
Canvas = Annotated[
    Literal["pixels", "layer"], typer.Option(help="What faithfulness metrics perturb: the photo or, much faster, the layer.")
]
Models = Annotated[str, typer.Option(help="Names separated by commas.")]
Methods = Annotated[str, typer.Option(help="Names separated by commas; attention is skipped for models without it.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Measure only the first photos.")]
ShardSize = Annotated[int, typer.Option(min=1, help="Photos in a unit of work; an interrupted run loses at most one unit.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the shuffled weights and of the bootstrap.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be measured; write nothing.")]
