"""Index pages of many explanations."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import networks
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


@pytest.mark.slow
def test_in_a_browser_thumbnails_appear_and_the_filter_hides_cards(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium")
    for number in range(3):
        (tmp_path / f"{number} #1").mkdir()
        networks.noise_image(number).save(tmp_path / f"{number} #1" / "thumbnail.jpg")
    said = ["a dog on grass", "a cat", "a dog"]
    for name, page in index_pages([entry(i, text, "what is it?") for i, text in enumerate(said)]):
        (tmp_path / name).write_text(page)
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened, refused = browser.new_page(), []
        opened.on("console", lambda message: refused.append(message.text))
        opened.goto((tmp_path / "index.html").as_uri(), wait_until="networkidle")
        assert opened.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        opened.fill("#filter", "dog Photos/2")
        assert opened.locator("#cards > li:visible").count() == 1
        assert opened.locator("#count").inner_text().strip() == "1 of 3"
        opened.fill("#filter", "")
        assert opened.locator("#cards > li:visible").count() == 3
        assert refused == []
        browser.close()
