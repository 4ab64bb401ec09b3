"""The commands `neurons label` and `neurons score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from . import study_options as so
from .output import print_json, print_line, rate_display

if TYPE_CHECKING:
    from multimodal_cam import TaskAdapter

neurons = o.command_group("Name the channels of a network, and measure what the names are worth.")
NamedPhotos = Annotated[Path, typer.Option(exists=True, file_okay=False, help="Flickr30k Entities: phrases and boxes.")]


@neurons.command("label")
def label(
    images: o.ImageFolder,
    entities: NamedPhotos,
    model: o.Model = "nic",
    split: so.Split = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to write [default: channels.json in the model's folder].")
    ] = None,
    quantile: Annotated[float, typer.Option(help="Share of all cells in which a channel counts as active.")] = 0.005,
    min_count: Annotated[int, typer.Option(min=1, help="Photos in which a concept must be, to be tried.")] = 10,
    limit: so.Limit = None,
    batch_size: o.BatchSize = 16,
    device: o.Device = "auto",
) -> None:
    """Name the channels of a model's layer after the things they mark: Network Dissection (Bau et al., CVPR 2017).

    Concepts are the head nouns of the phrases of Flickr30k Entities, in their boxes. With the names, `--channels` and
    `e.explanation_text` say why a word was said. The file holds the hash of the weights and is refused with others.
    """
    from multimodal_cam.core.channel_names import DETECTOR, write_channel_names
    from multimodal_cam.study.neurons.channel_labelling import label_channels, labelled_photos
    from multimodal_cam.study.sources.photo_list import listed_photos

    adapter = o.load_model(model, device)
    path = _names_file(adapter, out, "--out")
    photos = labelled_photos(images, entities, [item.image for item in listed_photos(split, entities, {})[:limit]])
    with rate_display(len(photos)) as progress:
        progress(0)
        names = label_channels(adapter, photos, quantile=quantile, min_count=min_count, batch_size=batch_size, progress=progress)
    write_channel_names(names, path)
    print_line(
        f"{path}: {len(names.detectors)} channels of {names.layer} pass an IoU of {DETECTOR}, "
        f"with {len({*names.detectors.values()})} of {names.concepts} names, on {names.photos} photos"
    )


@neurons.command("score")
def score(
    images: o.ImageFolder,
    entities: NamedPhotos,
    model: o.Model = "nic",
    split: so.Split = None,
    names: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File of names [default: channels.json in the model's folder]."),
    ] = None,
    limit: so.Limit = None,
    seed: so.Seed = 0,
    device: o.Device = "auto",
    as_json: o.Json = False,
) -> None:
    """Measure how often a noun is among the names of the channels that speak most for it, beside random ones and other nouns'."""
    from multimodal_cam.core.channel_names import read_channel_names
    from multimodal_cam.study.neurons.name_agreement import agreement_text, name_agreement
    from multimodal_cam.study.sources.photo_list import listed_photos

    adapter = o.load_model(model, device)
    named = read_channel_names(_names_file(adapter, names, "--names"))
    photos = [images / item.image for item in listed_photos(split, entities, {})[:limit]]
    with rate_display(len(photos)) as progress:
        progress(0)
        found = name_agreement(adapter, named, photos, entities, seed=seed, progress=progress)
    print_json(found.record()) if as_json else print_line(agreement_text(found))


def _names_file(model: TaskAdapter, given: Path | None, option: str) -> Path:
    """The file that is given, or that in the model's folder; a usage error for a model without one."""
    from multimodal_cam.adapters.contract import HasFolder
    from multimodal_cam.core.channel_names import FILE

    if given is not None:
        return given
    if not isinstance(model, HasFolder) or model.folder is None:
        raise typer.BadParameter(
            f"{model.name} has no folder of ours, which would hold its names: give a file", param_hint=option
        )
    return model.folder / FILE
