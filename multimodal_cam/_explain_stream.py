"""explain_stream(): photos from a generator or a dataset go in, explanations come out, and no more than a batch is in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Unpack, runtime_checkable

from ._explain import ExplainOptions, explain
from ._explanation import Explanation
from .adapters.contract import TaskAdapter
from .results.records import Failure

if TYPE_CHECKING:
    from .core.images import ImageSource


@runtime_checkable
class PhotoDataset(Protocol):
    """What `torch.utils.data.Dataset` is: items by number."""

    def __getitem__(self, index: int, /) -> Any: ...

    def __len__(self) -> int: ...


class StreamItem(NamedTuple):
    """A photo with its own text and question, or those of the call."""

    image: ImageSource
    text: str | None
    question: str | None


def explain_stream(
    model: TaskAdapter,
    images: Iterable[Any] | PhotoDataset,
    *,
    text: str | None = None,
    question: str | None = None,
    **options: Unpack[ExplainOptions],
) -> Iterator[Explanation | Failure]:
    """Explain photos as they come: an iterator of results in their order, each batch computed when it is asked for.

    Args:
        model: What `load`, `captioner`, `vqa` or `classifier` gave.
        images: Any iterable (a generator, `Path.glob`) or `torch.utils.data.Dataset`. Of each item: the photo itself, as
            `explain` takes it; a mapping with `image` and perhaps `text` and `question`; or a tuple that begins with the photo,
            as datasets with labels give, the rest of which is not looked at.
        text: As in `explain`, for all photos that bring none of their own.
        question: Likewise.
        options: As in `explain`. With `on_error="skip"`, a photo that fails, or that a dataset cannot give, is a `Failure`.

    Returns:
        An iterator over an `Explanation` for each item. Wrong options are refused at once, not with the first result.

    Raises:
        TypeError: `images` is one photo, or can be neither iterated over nor indexed.
    """
    if not isinstance(images, (Iterable, PhotoDataset)) or _is_one_photo(images):
        raise TypeError(
            f"images: expected an iterable of photos or a dataset, got {type(images).__name__}: explain(model, photo) takes one"
        )
    explain(model, [], text=text, question=question, **options)
    return _results(model, _items(images, text, question, options.get("on_error") == "skip"), options)


def _results(
    model: TaskAdapter, items: Iterator[StreamItem | Failure], options: ExplainOptions
) -> Iterator[Explanation | Failure]:
    while batch := list(islice(items, options.get("batch_size", 32))):
        given = [item for item in batch if isinstance(item, StreamItem)]
        found = iter(_explained(model, given, options))
        for item in batch:
            yield item if isinstance(item, Failure) else next(found)


def _explained(model: TaskAdapter, items: Sequence[StreamItem], options: ExplainOptions) -> list[Any]:
    columns: dict[str, Any] = {name: [getattr(item, name) for item in items] for name in ("text", "question")}
    asked = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    return explain(model, [item.image for item in items], **asked, **options)


def _items(images: Any, text: str | None, question: str | None, skip: bool) -> Iterator[StreamItem | Failure]:
    """Yield the items; a dataset goes on after a number for which it raises, which a generator cannot."""
    if isinstance(images, Iterable):
        yield from (_item(item, text, question) for item in images)
        return
    for i in range(len(images)):
        try:
            item = images[i]
        except Exception as error:
            if not skip:
                raise
            yield Failure(i, error)
            continue
        yield _item(item, text, question)


def _item(item: Any, text: str | None, question: str | None) -> StreamItem:
    if isinstance(item, Mapping):
        if "image" not in item:
            raise TypeError(f"images: expected mappings with 'image', got the keys {', '.join(map(repr, item)) or 'none'}")
        return StreamItem(item["image"], item.get("text", text), item.get("question", question))
    if isinstance(item, (tuple, list)) and item:
        return StreamItem(item[0], text, question)
    return StreamItem(item, text, question)


def _is_one_photo(images: object) -> bool:
    """Whether it is a path, an image, an array or an item, which can be iterated over or indexed, too."""
    library = type(images).__module__.partition(".")[0]
    is_array = library in ("numpy", "torch", "PIL") and hasattr(images, "__array__")
    return is_array or isinstance(images, (str, bytes, os.PathLike, Mapping))
