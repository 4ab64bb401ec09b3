"""Index pages of many explanations: a thumbnail, a name and a text for each, a filter, links to their pages and to each other."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple
from urllib.parse import quote

CARDS_A_PAGE = 1000


class IndexEntry(NamedTuple):
    """An explanation on an index page: its photo, what was said and asked, and its folder, with the page and thumbnail in it."""

    image: str
    text: str
    question: str | None
    folder: str
    page: str
    thumbnail: str


def index_pages(entries: Sequence[IndexEntry]) -> Iterator[tuple[str, str]]:
    """Yield the file name and the document of each index page: `index.html`, `index-2.html` and so on.

    A page asks for the thumbnails that lie beside it, as they come into view, and for nothing else.
    """
    starts = range(0, len(entries), CARDS_A_PAGE)
    for number, start in enumerate(starts, start=1):
        part = entries[start : start + CARDS_A_PAGE]
        yield _file_name(number), _document(part, number, len(starts), len(entries))


def _document(entries: Sequence[IndexEntry], number: int, pages: int, total: int) -> str:
    style, script = _asset("index.css"), _asset("index.js")
    return Template(_asset("index_page.html")).substitute(
        policy=f"default-src 'none'; img-src 'self' file: data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        title=f"{total:,} explanations" + (f", page {number} of {pages}" if pages > 1 else ""),
        where="on this page" if pages > 1 else "",
        pages=_page_links(number, pages),
        cards="\n".join(map(_card, entries)),
    )


def _card(entry: IndexEntry) -> str:
    folder = quote(entry.folder)
    asked = f"<q>{escape(entry.question)}</q> " if entry.question else ""
    return (
        f'<li><a href="{folder}/{quote(entry.page)}"><img src="{folder}/{quote(entry.thumbnail)}" loading="lazy" alt="">'
        f"<strong>{asked}{escape(entry.text) or '(no words)'}</strong><small>{escape(_printable(entry.image))}</small></a>"
    )


def _page_links(number: int, pages: int) -> str:
    """Links to the first, the last and the neighbouring index pages."""
    if pages == 1:
        return ""
    shown = sorted({1, pages, *range(max(1, number - 2), min(pages, number + 2) + 1)})
    links = []
    for before, page in zip([0, *shown], shown, strict=False):
        links += ["<span>…</span>"] if page > before + 1 else []
        links.append(f"<b>{page}</b>" if page == number else f'<a href="{_file_name(page)}">{page}</a>')
    return f'<nav aria-label="Pages">{" ".join(links)}</nav>'


def _file_name(number: int) -> str:
    return "index.html" if number == 1 else f"index-{number}.html"


def _printable(text: str) -> str:
    """A path whose bytes may be no text."""
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
