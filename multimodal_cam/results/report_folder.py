"""Explanations for people and programs outside of Python: JSON records, and folders of pages, pictures and maps.

A folder holds `index.html` (`index-2.html` and so on after 50 photos), `results.jsonl` with one record a line,
and for every photo a folder with its `figure.png` and what `Explanation.load` reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.files import RECORDS

if TYPE_CHECKING:
    from .._explain import Failure
    from ..adapters.contract import TaskAdapter
    from .explanation import Explanation, Scale, SpanExplanation

FORMAT = 1
PHOTOS_A_PAGE = 50
SIDE = 1024  # pixels: what a page shows of a photo


# ---- records -----------------------------------------------------------------------------------------------


def record(image: str, result: Explanation | Failure, *, phrases: bool = False) -> dict[str, Any]:
    """What `--json` says about a photo: JSON types only, None where there is no number.

    `peak` is where a word's map is strongest, `[x, y]` in fractions of the photo from its top left corner; None
    when nothing in the photo speaks for the word. A photo that failed has `error` and its `kind` instead. `question`,
    `question_words`, `answers`, `instead_of` and `counterfactual` are there only where they apply.
    """
    from .._explain import Failure

    found: dict[str, Any] = {"format": FORMAT, "image": image}
    if isinstance(result, Failure):
        return found | {"error": message(result.error), "kind": type(result.error).__name__}
    found["text"] = result.text
    found["words"] = [_part(result, result.part(word)) for word in result.words]
    if phrases:
        found["phrases"] = [_part(result, part) for part in result.phrases()]
    if result.words:
        found["whole"] = _part(result, result.whole())
    return found | _asked(result) | {name: getattr(result, name) for name in ("model", "method", "score", "unit", "layer")}


def message(error: BaseException) -> str:
    """The error in one line; what `KeyError` would put in quotes is left as it is."""
    said = error.args[0] if isinstance(error, KeyError) and len(error.args) == 1 else error
    return " ".join(str(said).split()) or type(error).__name__


def peak(explanation: Explanation, part: SpanExplanation) -> list[float] | None:
    """The centre of the strongest cell, `[x, y]` in fractions of the photo; None for an empty map."""
    if not part.known or part.is_empty:
        return None
    h, w = part.map.shape
    row, column = divmod(int(part.map.argmax()), w)
    x0, y0, x1, y1 = explanation.placement.frame
    x, y = x0 + (x1 - x0) * (column + 0.5) / w, y0 + (y1 - y0) * (row + 0.5) / h
    return [round(min(max(value, 0.0), 1.0), 4) for value in (x, y)]


def _asked(explanation: Explanation) -> dict[str, Any]:
    """The question and its answers, likeliest first, and what was compared; nothing of a caption."""
    answers = [
        {
            "text": part.text,
            "probability": _number(math.exp(part.log_prob)),
            "score": _number(part.score),
            "peak": peak(explanation, part),
        }
        for part in explanation.answer_parts
    ]
    words = [{"text": word.text, "share": _number(word.share), "known": word.known} for word in explanation.question_words]
    found = {
        "question": explanation.question,
        "question_words": words,
        "answers": answers,
        "instead_of": dict(explanation.instead_of),
        "counterfactual": explanation.score.startswith("-"),
    }
    return {name: value for name, value in found.items() if value}


def _part(explanation: Explanation, part: SpanExplanation) -> dict[str, Any]:
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


# ---- photos, one after the other ---------------------------------------------------------------------------


def explain_each(
    model: TaskAdapter, photos: Sequence[str], *, batch_size: int = 32, **options: Any
) -> Iterator[tuple[str, Explanation | Failure]]:
    """`explain`, batch by batch, so that no more than a batch is in memory; a photo that fails is a Failure."""
    from .._explain import explain

    for start in range(0, len(photos), batch_size):
        batch = list(photos[start : start + batch_size])
        found = explain(model, batch, batch_size=batch_size, on_error="skip", **options)
        yield from zip(batch, found, strict=True)


# ---- folders -----------------------------------------------------------------------------------------------


class Report:
    """Writes a folder photo by photo; only the photos of one page are kept in memory, at a page's size."""

    def __init__(self, folder: Path, *, scale: Scale = "caption", phrases: bool = False) -> None:
        self.folder, self.scale, self.phrases = folder, scale, phrases
        self._taken: set[str] = {"index.html", RECORDS}
        self._waiting: list[Explanation] = []
        self._pages = 0

    def add(self, image: str, result: Explanation | Failure) -> None:
        """Writes the photo's own folder and its record; of a failure, the record."""
        from .._explain import Failure

        self._record(record(image, result, phrases=self.phrases))
        if isinstance(result, Failure):
            return
        folder = result.save(self.folder / self._name(image))
        result.figure(scale=self.scale).savefig(folder / "figure.png")
        from ..render.overlay import shrink

        self._waiting.append(shrink(result, SIDE))
        if len(self._waiting) == PHOTOS_A_PAGE:
            self._page()

    def finish(self) -> None:
        """Writes the page of the photos since the last one."""
        if self._waiting:
            self._page()

    def _page(self) -> None:
        from ..render.html import page

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
