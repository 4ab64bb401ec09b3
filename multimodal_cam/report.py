"""Explanations for people and programs outside of Python: JSON records, and folders of pages, pictures and maps.

A folder holds `index.html` (`index-2.html` and so on after 50 photos), `results.jsonl` with one record a line,
and for every photo a folder with its `figure.png` and what `Explanation.load` reads.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .explanation import Explanation, Part, Scale

FORMAT = 1
RECORDS = "results.jsonl"
PHOTOS_A_PAGE = 50
SIDE = 1024  # pixels: what a page shows of a photo


# ---- records -----------------------------------------------------------------------------------------------


def record(explanation: Explanation, image: str, *, phrases: bool = False) -> dict[str, Any]:
    """What `--json` says about a photo: JSON types only, None where there is no number.

    `peak` is where a word's map is strongest, `[x, y]` in fractions of the photo from its top left corner; None
    when nothing in the photo speaks for the word.
    """
    found: dict[str, Any] = {
        "format": FORMAT,
        "image": image,
        "text": explanation.text,
        "words": [_part(explanation, explanation.part(word)) for word in explanation.words],
    }
    if phrases:
        found["phrases"] = [_part(explanation, part) for part in explanation.phrases()]
    if explanation.words:
        found["whole"] = _part(explanation, explanation.whole())
    return found | {
        "model": explanation.model,
        "method": explanation.method,
        "score": explanation.score,
        "unit": explanation.unit,
        "layer": explanation.layer,
    }


def failure_record(image: str, error: Exception) -> dict[str, Any]:
    """What `--json` says about a photo that failed."""
    return {"format": FORMAT, "image": image, "error": message(error), "kind": type(error).__name__}


def message(error: BaseException) -> str:
    """The error in one line; what `KeyError` would put in quotes is left as it is."""
    said = error.args[0] if isinstance(error, KeyError) and len(error.args) == 1 else error
    return " ".join(str(said).split()) or type(error).__name__


def peak(explanation: Explanation, part: Part) -> list[float] | None:
    """The centre of the strongest cell, `[x, y]` in fractions of the photo; None for an empty map."""
    if not part.known or part.is_empty:
        return None
    h, w = part.map.shape
    row, column = divmod(int(part.map.argmax()), w)
    x0, y0, x1, y1 = explanation.placement.frame
    x, y = x0 + (x1 - x0) * (column + 0.5) / w, y0 + (y1 - y0) * (row + 0.5) / h
    return [round(min(max(value, 0.0), 1.0), 4) for value in (x, y)]


def _part(explanation: Explanation, part: Part) -> dict[str, Any]:
    return {
        "text": part.text,
        "known": part.known,
        "score": _number(part.score),
        "log_prob": _number(part.log_prob),
        "probability": _number(math.exp(part.log_prob)),
        "reliance": _number(part.reliance),
        "unplaced": _number(part.unplaced),
        "completeness": _number(part.completeness),
        "peak": peak(explanation, part),
    }


def _number(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


# ---- folders -----------------------------------------------------------------------------------------------


class Report:
    """Writes a folder photo by photo; only the photos of one page are kept in memory, at a page's size."""

    def __init__(self, folder: Path, *, scale: Scale = "caption", phrases: bool = False) -> None:
        self.folder, self.scale, self.phrases = folder, scale, phrases
        self._taken: set[str] = {"index.html", RECORDS}
        self._waiting: list[Explanation] = []
        self._pages = 0

    def add(self, explanation: Explanation, image: str) -> None:
        """Writes the photo's own folder, and its record."""
        from .render.overlay import shrink

        folder = explanation.save(self.folder / self._name(image))
        explanation.figure(scale=self.scale).savefig(folder / "figure.png")
        self._record(record(explanation, image, phrases=self.phrases))
        self._waiting.append(shrink(explanation, SIDE))
        if len(self._waiting) == PHOTOS_A_PAGE:
            self._page()

    def fail(self, image: str, error: Exception) -> None:
        """Writes the record of a photo that failed."""
        self._record(failure_record(image, error))

    def finish(self) -> None:
        """Writes the page of the photos since the last one."""
        if self._waiting:
            self._page()

    def _page(self) -> None:
        from .render.html import page

        self._pages += 1
        name = "index.html" if self._pages == 1 else f"index-{self._pages}.html"
        (self.folder / name).write_text(page(self._waiting), encoding="utf-8")
        self._waiting = []

    def _record(self, found: dict[str, Any]) -> None:
        with (self.folder / RECORDS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found, allow_nan=False) + "\n")

    def _name(self, image: str) -> str:
        """A folder name of its own for a photo, like the photo's."""
        stem = "".join(c if c.isprintable() else "_" for c in Path(image).stem)[:80].strip(". ") or "photo"
        stem = stem.encode("utf-8", "replace").decode("utf-8")
        name, number = stem, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.casefold())
        return name


@contextmanager
def whole_or_nothing(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder beside `target` that takes its place in the end; after an error it is gone.

    Raises FileExistsError when `target` holds something (with `overwrite`: something that is no report), and
    OSError when nothing can be written there.
    """
    _check_target(target, overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name[:80]}-", dir=target.parent))
    except OSError as error:
        raise OSError(f"cannot write to {str(target)!r} ({error.strerror}): choose another folder") from error
    try:
        yield partial
        partial.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.is_dir() and overwrite and (target / RECORDS).is_file():
        return
    if target.is_dir() and overwrite:
        raise FileExistsError(f"{str(target)!r} holds other things than a report: choose another folder")
    if target.exists():
        raise FileExistsError(f"{str(target)!r} is there already: choose another folder, or --overwrite to replace it")


def unused(folder: Path) -> Path:
    """`folder`, or the first of `folder-2`, `folder-3` that does not exist yet."""
    candidate, number = folder, 1
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


# ---- photos ------------------------------------------------------------------------------------------------

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})


def photos_in(arguments: Sequence[str]) -> list[str]:
    """Files as they are; folders as the photos in them and below, sorted by path.

    In folders, files count by their suffix (`SUFFIXES`); hidden ones and saved explanations are left out.
    Raises ValueError for a folder without photos.
    """
    photos: list[str] = []
    for argument in arguments:
        if not Path(argument).is_dir():
            photos.append(argument)
            continue
        found = sorted(str(path) for path in _walk(Path(argument)))
        if not found:
            raise ValueError(f"no photos in {argument!r}: looked for {', '.join(sorted(SUFFIXES))}")
        photos += found
    return photos


def _walk(folder: Path) -> Iterator[Path]:
    if (folder / "manifest.json").is_file() or (folder / RECORDS).is_file():
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


# ---- what there is -----------------------------------------------------------------------------------------


def model_rows() -> list[dict[str, Any]]:
    """The bundled models: name, task, default method, tapped layer, its grid, and the size of the vocabulary."""
    from .loading import load
    from .models.bundle import bundled

    return [_model_row(load(name, device="cpu")) for name in bundled()]


def _model_row(model: Any) -> dict[str, Any]:
    import torch
    from PIL import Image

    from .explaining import find_layer
    from .tap import LayerTap

    inputs = model.preprocess([Image.new("RGB", (64, 64))])
    layer, name = find_layer(model, None)
    with torch.no_grad(), LayerTap(layer, name) as tap:
        logits = model.logits(inputs, None, torch.zeros(1, 1, dtype=torch.long, device=inputs.pixels.device))
    return {
        "name": model.name,
        "task": getattr(model, "task", "captioning"),
        "method": model.method,
        "layer": name,
        "grid": list(tap.activations.shape[2:]),
        "vocabulary": logits.shape[-1],
    }


def method_rows() -> list[dict[str, Any]]:
    """The methods: name, whether phrase maps are sums of word maps, and the paper."""
    from .methods import LINEAR, METHODS

    rows = [{"name": "evidence", "linear": True, "paper": EVIDENCE}]
    for name, function in METHODS.items():
        paper = (function.__doc__ or "").strip().split("\n")[0].split(":")[0]
        rows.append({"name": name, "linear": name in LINEAR, "paper": paper})
    return sorted(rows, key=lambda row: str(row["name"]))


EVIDENCE = "Integrated gradients at the layer, Sundararajan et al., ICML 2017, eq. 1"
