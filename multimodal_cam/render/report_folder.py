"""Report folders: pages, pictures, maps and records of many photos.

A folder holds `index.html` (`index-2.html` and so on after 50 photos), `results.jsonl` with one record a line,
and for every photo a folder with its `figure.png` and what `Explanation.load` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core.drafts import cut_name
from ..results.explanation_data import ExplanationData
from ..results.io import write_explanation
from ..results.json_records import record
from ..results.records import Failure, Scale
from .html import page
from .overlay import shrink

RECORDS = "results.jsonl"
STEM_BYTES = (
    160  # of a photo's file name that its folder keeps: whole file names may be longer than the hidden names made of them
)
PHOTOS_A_PAGE = 50
SIDE = 1024  # pixels: longer side of a photo on a page


class Report:
    """Writer of a report folder, photo by photo; keeps only the photos of one page in memory, at a page's size."""

    def __init__(self, folder: Path, *, scale: Scale = "caption", phrases: bool = False, taken: Iterable[str] = ()) -> None:
        """`taken` are names that no photo's folder may have."""
        self.folder, self.scale, self.phrases = folder, scale, phrases
        self._taken: set[str] = {"index.html", RECORDS, *(name.casefold() for name in taken)}
        self._waiting: list[ExplanationData] = []
        self._pages = 0

    def add(self, image: str, result: ExplanationData | Failure) -> None:
        """Write the photo's record and, unless it failed, a folder with its figure and maps."""
        self._append(record(image, result, phrases=self.phrases))
        if isinstance(result, Failure):
            return
        from .figure import figure  # loads matplotlib, which JSON alone does not need

        def draw(folder: Path) -> None:
            figure(result, scale=self.scale).savefig(folder / "figure.png")

        write_explanation(result, self.folder / self._folder_name(image), more=draw)
        self._waiting.append(shrink(result, SIDE))
        if len(self._waiting) == PHOTOS_A_PAGE:
            self._write_page()

    def finish(self) -> None:
        """Write the page of the photos added since the last one."""
        if self._waiting:
            self._write_page()

    def _write_page(self) -> None:
        self._pages += 1
        name = "index.html" if self._pages == 1 else f"index-{self._pages}.html"
        (self.folder / name).write_text(page(self._waiting), encoding="utf-8")
        self._waiting = []

    def _append(self, entry: dict[str, Any]) -> None:
        with (self.folder / RECORDS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")

    def _folder_name(self, image: str) -> str:
        """Unused folder name made from the photo's file name."""
        stem = Path(image).stem.encode("utf-8", "replace").decode("utf-8")
        stem = "".join(c if c.isprintable() else "_" for c in stem)
        stem = cut_name(stem, STEM_BYTES).strip(". ") or "photo"
        name, number = stem, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.casefold())
        return name
