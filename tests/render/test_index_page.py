"""Index pages of many explanations; how they and the pages of photos work together in a browser is in test_batch_pages.py."""

from __future__ import annotations

import json
import re

import pytest

from multimodal_cam.render import index_page
from multimodal_cam.render.index_page import IndexEntry, entries_script, index_pages


def entry(number: int, text: str = "a dog", question: str | None = None) -> IndexEntry:
    return IndexEntry(f"photos/{number}.jpg", text, question, f"{number} #1")


def pages_of(entries: list[IndexEntry]) -> dict[str, str]:
    return dict(index_pages(entries, "index.html", "thumbnail.jpg"))


def test_every_explanation_has_a_card_with_thumbnail_name_and_link() -> None:
    ((name, page),) = pages_of([entry(1), entry(2, "<b>&", 'is "it"?')]).items()
    assert name == "index.html"
    assert page.count("<li ") == 2
    assert 'href="1%20%231/index.html"' in page
    assert 'src="1%20%231/thumbnail.jpg" loading="lazy"' in page
    assert "<q>is &quot;it&quot;?</q> &lt;b&gt;&amp;" in page
    assert "photos/2.jpg" in page
    assert "<nav" not in page


def test_large_batches_have_pages_that_link_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_page, "CARDS_A_PAGE", 2)
    pages = pages_of([entry(i) for i in range(19)])
    assert list(pages) == ["index.html", *(f"index-{i}.html" for i in range(2, 11))]
    links = re.findall(r'<a href="(index[^"]*)">(\d+)', pages["index-5.html"])
    assert [int(number) for _, number in links[: len(links) // 2]] == [1, 3, 4, 6, 7, 10]  # once above, once below
    assert all(file in pages for file, _ in links)
    assert re.findall(r'id="(e\d+)"', pages["index-10.html"]) == ["e19"]


def test_one_script_says_what_all_cards_say() -> None:
    script = entries_script([entry(1, "</script>", 'is "it"?'), IndexEntry("\udcff 狗.jpg", "a\u2028b", None, "x")])
    assert script.isascii()
    data = json.loads(script.removeprefix("window.explanationIndex = ").removesuffix(";\n"))
    assert data == {
        "pageSize": index_page.CARDS_A_PAGE,
        "entries": [["1 #1", "</script>", 'is "it"?', "photos/1.jpg"], ["x", "a\u2028b", "", "? 狗.jpg"]],
    }
    assert len(entries_script([entry(i) for i in range(1000)])) < 60_000


def test_a_name_of_any_bytes_can_be_written() -> None:
    (page,) = pages_of([IndexEntry("\udcff.jpg", "a", None, "x")]).values()
    page.encode()
