"""Folders of saved explanations: `image.png`, `maps.safetensors` and `manifest.json`."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.files import MANIFEST, SAVED_FILES
from ..core.geometry import Placement
from ..core.publication import finish_publication, new_folder
from ..core.signatures import sha256
from ..core.spans import Span
from .explanation_data import ExplanationData

FORMAT = 1
NAMES = ("model", "method", "score", "unit", "layer")  # strings that the manifest stores unchanged
TENSORS = (
    "token_maps",
    "token_scores",
    "token_log_probs",
    "token_reliance",
    "token_changes",
    "token_unplaced",
    "token_question",
    "alternative_log_probs",
    "alternative_scores",
    "alternative_maps",
)


def write_explanation(
    explanation: ExplanationData, folder: Path, *, overwrite: bool = False, more: Callable[[Path], None] | None = None
) -> Path:
    """Write the folder: it appears whole or not at all, with a signature that lists its files; returns where it stands.

    Args:
        overwrite: Replace an explanation that was saved there; files of others that lie beside it stay.
        more: Writes further files into the folder that it is given, before it appears.

    Raises:
        FileExistsError: `folder` holds something; with `overwrite`: something that is not an explanation of ours.
    """
    with new_folder(folder, "explanation", overwrite=overwrite) as new:
        explanation.image.save(new.draft / "image.png", compress_level=1)
        _write_tensors(_tensors(explanation), new.draft / "maps.safetensors")
        files = {name: sha256(new.draft / name) for name in sorted(SAVED_FILES)}
        manifest = json.dumps(_manifest(explanation) | {"files": files}, indent=1, ensure_ascii=False)
        (new.draft / MANIFEST).write_text(manifest, encoding="utf-8")
        if more is not None:
            more(new.draft)
    return new.path


def read_explanation(folder: Path) -> dict[str, Any]:
    """Fields of the explanation in `folder`. Raises ValueError when files are missing or altered."""
    from PIL import Image
    from safetensors.torch import load_file

    manifest = _read_manifest(folder)
    tensors: dict[str, Any] = load_file(folder / "maps.safetensors")
    with Image.open(folder / "image.png") as image:
        image.load()
    span_maps = {tuple(span): map for span, map in zip(manifest["spans"], tensors.pop("span_maps", ()), strict=True)}
    phrases = manifest["phrases"]
    return {
        "image": image,
        "text": manifest["text"],
        **{name: manifest[name] for name in NAMES},
        "counterfactual": manifest["counterfactual"],
        "tokens": tuple(manifest["tokens"]),
        "words": _spans(manifest["words"]),
        "placement": Placement(**manifest["placement"] | {"frame": tuple(manifest["placement"]["frame"])}),
        "parsed_phrases": None if phrases is None else _spans(phrases),
        "span_maps": span_maps,
        "question": manifest.get("question"),
        "question_spans": _spans(manifest.get("question_words", ())),
        "alternatives": tuple(map(tuple, manifest.get("alternatives", ()))),
        "instead_of": manifest.get("instead_of", {}),
        "provenance": manifest["provenance"],
        **tensors,
    }


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest. Raises ValueError for another format, and for files that do not match their digests."""
    finish_publication(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} holds no explanation: manifest.json is missing")
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["format"] != FORMAT:
        raise ValueError(f"{folder}: format {manifest['format']}, this version reads format {FORMAT}")
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise ValueError(f"{folder}: {name} is missing or not what was saved")
    return _renamed(manifest)


def _renamed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest in today's form. Older versions prefixed the score with the sign and called `n_steps` nodes."""
    if "counterfactual" in manifest:
        return manifest
    score, provenance = manifest["score"], dict(manifest["provenance"])
    if "nodes" in provenance:
        provenance["n_steps"] = provenance.pop("nodes")
    return manifest | {"score": score.removeprefix("-"), "counterfactual": score.startswith("-"), "provenance": provenance}


def _manifest(explanation: ExplanationData) -> dict[str, Any]:
    phrases = explanation.phrases_so_far
    return {
        "format": FORMAT,
        "text": explanation.text,
        **{name: getattr(explanation, name) for name in NAMES},
        "counterfactual": explanation.counterfactual,
        "image": [explanation.placement.width, explanation.placement.height],
        "placement": asdict(explanation.placement),
        "tokens": explanation.tokens,
        "words": [asdict(word) for word in explanation.words],
        "phrases": None if phrases is None else [asdict(phrase) for phrase in phrases],
        "spans": list(explanation.span_maps),
        "question": explanation.question,
        "question_words": [asdict(word) for word in explanation.question_spans],
        "alternatives": explanation.alternatives,
        "instead_of": dict(explanation.instead_of),
        "provenance": dict(explanation.provenance),
    }


def _spans(entries: Any) -> tuple[Span, ...]:
    return tuple(Span(**entry) for entry in entries)


def _tensors(explanation: ExplanationData) -> dict[str, Tensor]:
    named = {name: getattr(explanation, name) for name in TENSORS}
    if explanation.span_maps:
        named["span_maps"] = torch.stack(list(explanation.span_maps.values()))
    return {name: value.contiguous() for name, value in named.items() if value is not None}


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file that other users may read; a full disk raises OSError, as for every other file."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(errno.ENOSPC, f"{error}", str(path)) from error
    path.chmod(0o644)
