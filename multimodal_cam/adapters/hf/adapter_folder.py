"""Folders that hold an adapter (LoRA and its kin) and name the model that it was trained on, as PEFT and trainers write them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from torch import nn

from ...core.json_object import read_object
from ...extras import needed_by
from ..unwrapping import unwrapped_pretrained
from .checkpoint import HUB_NAME, TOKENIZER_FILES, downloaded

CONFIG = "adapter_config.json"


def is_adapter_folder(folder: Path) -> bool:
    """Whether PEFT wrote the folder."""
    return (folder / CONFIG).is_file()


def base_of(folder: Path) -> str:
    """The base model of an adapter's folder: a folder, or the hub's `owner/name`.

    Raises ValueError where none is named, FileNotFoundError where it is not there.
    """
    named = read_object(folder / CONFIG, "save the adapter again").values.get("base_model_name_or_path")
    if not named:
        raise ValueError(f"{folder / CONFIG} names no base model: write its folder into base_model_name_or_path")
    for place in (Path(named), folder / named, folder.resolve().parent / named):
        if place.is_dir():
            return str(place)
    if HUB_NAME.fullmatch(named) and not Path(named).is_absolute():
        return str(downloaded(named, f"the base model that {folder} names"))
    raise FileNotFoundError(
        f"{folder} holds an adapter of {named!r}, which is not there: bring the base model here, and write its folder into "
        f"base_model_name_or_path in {CONFIG}"
    )


def with_adapter(network: nn.Module, folder: Path, processor: Any, *, pickled: bool) -> tuple[nn.Module, Any]:
    """The base model `network` with the folder's adapter in its layers, and its processor with the adapter's own tokenizer.

    Raises MissingPackageError without peft, FileNotFoundError without weights, ValueError for an adapter that does not fit, or
    for pickled weights that are not trusted.
    """
    with needed_by(f"{folder}, an adapter's folder,", "peft"):
        import peft
    if not (folder / "adapter_model.safetensors").is_file():
        if not (folder / "adapter_model.bin").is_file():
            raise FileNotFoundError(f"{folder} holds no weights of its adapter (adapter_model.safetensors): save them there, too")
        if not pickled:
            raise ValueError(
                f"{folder} has its weights as a pickle (adapter_model.bin), which may run code: load(..., pickled=True) if you "
                "trust it"
            )
    if any(next(folder.glob(pattern), None) is not None for pattern in TOKENIZER_FILES):
        processor = _with_own_tokenizer(network, folder, processor)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("error", message="Found missing adapter keys")
        try:
            adapted = peft.PeftModel.from_pretrained(network, str(folder))
        except (ValueError, RuntimeError, KeyError, UserWarning) as error:
            raise ValueError(f"{folder} does not fit its base model, {type(network).__name__}: {_first_line(error)}") from error
    return unwrapped_pretrained(adapted), processor


def _with_own_tokenizer(network: Any, folder: Path, processor: Any) -> Any:
    """The processor with the tokenizer that lies beside the adapter; embeddings grow with its new tokens."""
    import transformers

    processor.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if len(processor.tokenizer) > network.get_input_embeddings().num_embeddings:
        network.resize_token_embeddings(len(processor.tokenizer))
    return processor


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
