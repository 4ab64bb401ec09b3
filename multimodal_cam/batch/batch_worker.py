"""A worker that explains photos and makes, of each explanation, all that its folder will hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..adapters.contract import TaskAdapter
from ..core.errors import message
from ..render.html import PHOTO_SIDE, page
from ..render.overlay import jpeg, shrink
from ..results.explanation_data import ExplanationData
from ..results.io import COPY
from ..results.json_records import record
from ..results.photo_copy import PhotoCopy, fingerprint
from ..results.records import Failure
from .batch_settings import BatchItem, BatchSettings
from .record_log import photo_facts

THUMBNAIL, PAGE, FIGURE = "thumbnail.jpg", "index.html", "figure.png"
THUMBNAIL_SIDE = 240  # pixels
INDEX_LINK = "../index.html"


@dataclass(frozen=True)
class ItemResult:
    """What came of an item.

    Attributes:
        record: What `results.jsonl` says of it.
        explanation: The explanation to save, with its photo at display size; None where none is saved, or the item failed.
        copy: That photo as a file.
        files: Further files of its folder, by their names.
        rows: Rows of the table with its maps.
        error: Why it failed.
    """

    item: BatchItem
    record: dict[str, Any]
    explanation: ExplanationData | None = None
    copy: PhotoCopy | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    rows: Sequence[dict[str, Any]] = ()
    error: Exception | None = None


class ExplanationWorker:
    """Worker that loads the model once and explains one batch of items after the other."""

    def __init__(self, settings: BatchSettings, model: TaskAdapter | None = None) -> None:
        from .. import load

        self.settings = settings
        self.model = load(settings.model, **settings.loading) if model is None else model

    def __call__(self, items: Sequence[BatchItem], progress: Callable[[int], None]) -> Iterator[ItemResult]:
        """Yield a result for each item, in order; they are explained together, and drawn one by one."""
        from .. import explain

        settings, questions = self.settings, [item.question for item in items]
        asked = {} if None in questions else {"question": questions}
        images = [item.image for item in items]
        options = {**settings.options, **asked, "batch_size": settings.batch_size, "on_error": "skip"}
        for item, found in zip(items, explain(self.model, images, **options), strict=True):
            yield self._result(item, found)
            progress(1)

    def _result(self, item: BatchItem, found: ExplanationData | Failure) -> ItemResult:
        told = record(item.image, found, phrases=self.settings.phrases, boxes=self.settings.boxes)
        if isinstance(found, Failure):
            asked = {} if item.question is None else {"question": item.question}
            return ItemResult(item, told | asked, error=found.error)
        told["file"] = photo_facts(item.image)
        if self.settings.format == "html":
            return _page_result(item, told, found, self.settings)
        if self.settings.format == "parquet":
            from .batch_table import rows_of

            return ItemResult(item, told, rows=rows_of(item, found, told))
        return ItemResult(item, told)


class RemoteWorker(ExplanationWorker):
    """The same in another process: a whole shard is sent back at once, and of errors the text alone, which can always be sent."""

    def __call__(self, items: Sequence[BatchItem], progress: Callable[[int], None]) -> Any:
        return [_sendable(result) for result in super().__call__(items, progress)]


def _sendable(result: ItemResult) -> ItemResult:
    return result if result.error is None else replace(result, error=ValueError(message(result.error)))


def _page_result(item: BatchItem, told: dict[str, Any], found: ExplanationData, settings: BatchSettings) -> ItemResult:
    """What the folder of a photo holds: explanation, its photo at display size, page, thumbnail and, if wanted, figure."""
    small = replace(
        shrink(found, PHOTO_SIDE), token_channels=None
    )  # as large as the layer for each word; records name the strongest
    copy = PhotoCopy(jpeg(small.image), found.image.size, fingerprint(found.image))
    files = {
        PAGE: page([small], index=INDEX_LINK, photo=COPY, boxes=settings.boxes).encode(),
        THUMBNAIL: jpeg(shrink(small, THUMBNAIL_SIDE).image, quality=75),
    }
    if settings.figure:
        from ..render.figure_picture import figure_png  # loads matplotlib

        files[FIGURE] = figure_png(small, scale=settings.scale, boxes=settings.boxes)
    return ItemResult(item, told, small, copy, files)
