"""Index pages of many explanations: a thumbnail, a name and a text for each, a filter, links to their pages and to each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from string import Template
from typing import NamedTuple
from urllib.parse import quote

from .assets import BESIDE, asset, policy

CARDS_A_PAGE = 1000
ENTRIES = "index-entries.js"  # what all cards say: read by the filter, and by pages that lead to their neighbours


class IndexEntry(NamedTuple):
    """An explanation on an index page: its photo, what was said and asked, and its folder."""

    image: str
    text: str
    question: str | None
    folder: str


def entries_script(entries: Sequence[IndexEntry], cards_a_page: int | None = None) -> str:
    """Content of `index-entries.js`: a script, as a page on a disk may read no other file.

    `cards_a_page` is 0 where the index is no list of cards; by default what `index_pages` takes.
    """
    rows = [[entry.folder, entry.text, entry.question or "", _printable(entry.image)] for entry in entries]
    data = {"pageSize": CARDS_A_PAGE if cards_a_page is None else cards_a_page, "entries": rows}
    return f"window.explanationIndex = {json.dumps(data, separators=(',', ':'))};\n"


def index_pages(entries: Sequence[IndexEntry], page: str, thumbnail: str) -> Iterator[tuple[str, str]]:
    """Yield the file name and the document of each index page: `index.html`, `index-2.html` and so on.

    A page asks for the thumbnails that lie beside it, as they come into view, for `index-entries.js` when something is
    looked for, and for nothing else. `page` and `thumbnail` are the names of these files in each folder.
    """
    starts = range(0, len(entries), CARDS_A_PAGE)
    names = {"page": page, "thumbnail": thumbnail, "entries": ENTRIES}
    for number, start in enumerate(starts, start=1):
        cards = [_card(entry, i, names) for i, entry in enumerate(entries[start : start + CARDS_A_PAGE], start=start + 1)]
        yield _file_name(number), _document(cards, names, number, len(entries))


def _document(cards: Sequence[str], names: Mapping[str, str], number: int, total: int) -> str:
    style, script, pages = asset("index.css"), asset("index.js"), -(-total // CARDS_A_PAGE)
    return Template(asset("index_page.html")).substitute(
        policy=policy(style, script, images=f"{BESIDE} data:", scripts=BESIDE),
        style=style,
        script=script,
        title=f"{total:,} explanations" + (f", page {number} of {pages}" if pages > 1 else ""),
        names=" ".join(f'data-{key}="{escape(quote(name))}"' for key, name in names.items()),
        pages=_page_links(number, pages),
        cards="\n".join(cards),
    )


def _card(entry: IndexEntry, number: int, names: Mapping[str, str]) -> str:
    folder = quote(entry.folder)
    asked = f"<q>{escape(entry.question)}</q> " if entry.question else ""
    return (
        f'<li id="e{number}"><a href="{folder}/{quote(names["page"])}">'
        f'<img src="{folder}/{quote(names["thumbnail"])}" loading="lazy" alt="">'
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
