"""Index pages of many explanations."""

from __future__ import annotations

import re

import pytest

from multimodal_cam.render import index_page
from multimodal_cam.render.index_page import IndexEntry, index_pages


def entry(number: int, text: str = "a dog", question: str | None = None) -> IndexEntry:
    return IndexEntry(f"photos/{number}.jpg", text, question, f"{number} #1", "index.html", "thumbnail.jpg")


def test_every_explanation_has_a_card_with_thumbnail_name_and_link() -> None:
    ((name, page),) = index_pages([entry(1), entry(2, "<b>&", 'is "it"?')])
    assert name == "index.html"
    assert page.count("<li>") == 2
    assert 'href="1%20%231/index.html"' in page
    assert 'src="1%20%231/thumbnail.jpg" loading="lazy"' in page
    assert "<q>is &quot;it&quot;?</q> &lt;b&gt;&amp;" in page
    assert "photos/2.jpg" in page
    assert "<nav" not in page


def test_large_batches_have_pages_that_link_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_page, "CARDS_A_PAGE", 2)
    pages = dict(index_pages([entry(i) for i in range(19)]))
    assert list(pages) == ["index.html", *(f"index-{i}.html" for i in range(2, 11))]
    links = re.findall(r'<a href="(index[^"]*)">(\d+)', pages["index-5.html"])
    assert [int(number) for _, number in links[: len(links) // 2]] == [1, 3, 4, 6, 7, 10]  # once above, once below
    assert all(file in pages for file, _ in links)


def test_a_name_of_any_bytes_can_be_written() -> None:
    ((_, page),) = index_pages([IndexEntry("\udcff.jpg", "a", None, "x", "index.html", "thumbnail.jpg")])
    page.encode()
