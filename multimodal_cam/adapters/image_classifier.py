"""Image classifiers of transformers: `...ForImageClassification` with its image processor, from a folder or loaded already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .classifier import Classifier, classifier
from .hf.config_check import check_config
from .hf.stored_weights import load_weights, require_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

MARK = "ForImageClassification"  # in the names of their classes


def is_image_classifier(model: Any) -> bool:
    """Whether a network, or a folder that `save_pretrained` wrote, is one of transformers' image classifiers."""
    if not isinstance(model, Path):
        return MARK in type(model).__name__
    return any(MARK in name for name in check_config(model).get("architectures") or [])


def adapt_image_classifier(network: nn.Module, processor: Any, name: str) -> Classifier:
    """The adapter of a network that is loaded already; the labels are those of its configuration.

    Raises TypeError if the processor takes no images.
    """
    processor = getattr(processor, "image_processor", None) or processor
    if not callable(processor) or not hasattr(processor, "preprocess"):
        raise TypeError(
            f"processor: expected an image processor, got {type(processor).__name__}; AutoImageProcessor.from_pretrained(...) "
            "gives one"
        )
    return classifier(
        network,
        preprocess=processor,
        outputs="logits",
        name=name,
        provenance={"weights": name, "architecture": type(network).__name__},
    )


def load_image_classifier(
    folder: Path, name: str, *, pickled: bool = False, dtype: torch.dtype | None = None, **options: Any
) -> Classifier:
    """The adapter of a folder with `config.json`, weights and `preprocessor_config.json`, on the CPU.

    Raises FileNotFoundError for missing files, ValueError for pickled weights that are not trusted.
    """
    import transformers

    library: Any = transformers
    if not (folder / "preprocessor_config.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no image processor (preprocessor_config.json): processor.save_pretrained(...) writes it"
        )
    if not pickled and not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")):
            raise ValueError(
                f"{folder} has its weights as pickles (*.bin), which may run code: convert them, or load(..., pickled=True) if "
                "you trust them"
            )
        raise FileNotFoundError(f"{folder} holds no weights (*.safetensors): download or save them there, too")
    options |= {"local_files_only": True}
    given = {} if dtype is None else {"dtype": dtype}
    network, report = load_weights(library.AutoModelForImageClassification, folder, pickled=pickled, **given, **options)
    require_weights(folder, network, report)
    return adapt_image_classifier(network, library.AutoImageProcessor.from_pretrained(folder, **options), name)
