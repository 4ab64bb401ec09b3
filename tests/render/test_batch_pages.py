"""A batch's pages in headless Chromium, opened from the disk: the index with its filter, and the way from photo to photo."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import pytest
from toys import toy_answer, toy_explanation

from multimodal_cam.render import index_page
from multimodal_cam.render.html import page
from multimodal_cam.render.index_page import ENTRIES, IndexEntry, entries_script, index_pages
from multimodal_cam.render.overlay import jpeg

playwright = pytest.importorskip("playwright.sync_api", reason="the pages are tested with playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the pages are tested in Chromium, which is not installed"),
]
TEXTS = [
    "a dog on grass",
    "a cat",
    "a dog",
    "two dogs",
    "a <b> bird",
    "ein Hund läuft",
    "一只狗",
    "a red ball",
    "a boat",
    "a dog",
]
CARDS = "#cards > li"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def write_batch(folder: Path) -> None:
    """Ten photos, four cards a page; names that need quoting; one answer to a question."""
    entries = []
    for number, text in enumerate(TEXTS):
        image = networks.noise_image(number)
        e = replace(toy_answer("red", "what is red?", image), text=text) if number == 7 else toy_explanation(text, image)
        entries.append(IndexEntry(f"photos/{number}.jpg", text, e.question, f"{number} #1 ä%?"))
        place = folder / entries[-1].folder
        place.mkdir(parents=True)
        (place / "index.html").write_text(page([e], index="../index.html", photo="image.jpg"), encoding="utf-8")
        for name in ("image.jpg", "thumbnail.jpg"):
            (place / name).write_bytes(jpeg(image))
    for name, content in index_pages(entries, "index.html", "thumbnail.jpg"):
        (folder / name).write_text(content, encoding="utf-8")
    (folder / ENTRIES).write_text(entries_script(entries))


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_page, "CARDS_A_PAGE", 4)
        write_batch(folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file; afterwards there must have been no error, and no request to anywhere but the disk."""
    contexts, errors, requests = [], [], []

    def visit(file: Path, **options: Any) -> Any:
        contexts.append(browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda message: errors.append(message.text))
        tab.goto(file.as_uri())
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("data:", "file:"))] == []


def expect(locator: Any) -> Any:
    return playwright.expect(locator)


@pytest.mark.parametrize("options", [{}, PHONE, {"color_scheme": "dark"}], ids=["desktop", "phone", "dark"])
def test_the_filter_works_across_the_pages(visit: Callable[..., Any], batch: Path, options: dict[str, Any]) -> None:
    tab = visit(batch / "index-2.html", **options)
    expect(tab.locator(CARDS)).to_have_count(4)
    tab.fill("#filter", "DOG photos/")
    expect(tab.locator("#count")).to_have_text("4 of 10")
    assert tab.locator(f"{CARDS} small").all_inner_texts() == [f"photos/{i}.jpg" for i in (0, 2, 3, 9)]
    expect(tab.locator("nav").first).to_be_hidden()
    tab.wait_for_function("[...document.images].every((image) => image.naturalWidth > 0)")
    tab.fill("#filter", "狗")
    expect(tab.locator("#count")).to_have_text("1 of 10")
    tab.fill("#filter", "what red")
    expect(tab.locator(f"{CARDS} q")).to_have_text("what is red?")
    tab.fill("#filter", "<b>")
    expect(tab.locator(f"{CARDS} strong")).to_have_text("a <b> bird")
    tab.fill("#filter", "")
    expect(tab.locator(CARDS)).to_have_count(4)
    assert tab.locator(f"{CARDS} small").first.inner_text() == "photos/4.jpg"
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_was_looked_for_is_there_again_on_the_way_back(visit: Callable[..., Any], batch: Path) -> None:
    tab = visit(batch / "index.html")
    tab.fill("#filter", "boat")
    tab.click(f"{CARDS} a")
    expect(tab.locator("nav.batch span")).to_have_text("9 of 10")
    tab.go_back()
    expect(tab.locator("#count")).to_have_text("1 of 10")
    expect(tab.locator("#filter")).to_have_value("boat")


def test_many_hits_come_a_part_at_a_time(visit: Callable[..., Any], tmp_path: Path) -> None:
    entries = [IndexEntry(f"{i}.jpg", "a dog", None, str(i)) for i in range(450)]
    (tmp_path / "thumbnail.jpg").write_bytes(jpeg(networks.noise_image(0)))
    for name, content in index_pages(entries, "index.html", "../thumbnail.jpg"):
        (tmp_path / name).write_text(content)
    (tmp_path / ENTRIES).write_text(entries_script(entries))
    tab = visit(tmp_path / "index.html")
    tab.fill("#filter", "dog")
    expect(tab.locator("#count")).to_have_text("450 of 450")
    for shown in (200, 400):
        expect(tab.locator(CARDS)).to_have_count(shown)
        tab.click("#more")
    expect(tab.locator(CARDS)).to_have_count(450)
    expect(tab.locator("#more")).to_be_hidden()


def test_the_filter_says_when_its_file_is_gone(browser: Any, batch: Path, tmp_path: Path) -> None:
    shutil.copy(batch / "index.html", tmp_path)
    tab = browser.new_page()
    tab.goto((tmp_path / "index.html").as_uri())
    tab.fill("#filter", "dog")
    expect(tab.locator("#count")).to_have_text(f"The filter needs {ENTRIES}, which is not beside this page.")
    tab.close()


def test_arrow_keys_walk_along_the_cards(visit: Callable[..., Any], batch: Path) -> None:
    tab = visit(batch / "index.html", viewport={"width": 700, "height": 900})
    columns = tab.evaluate("getComputedStyle(document.getElementById('cards')).gridTemplateColumns.split(' ').length")
    focused = "[...document.querySelectorAll('#cards a')].indexOf(document.activeElement)"
    tab.focus("#filter")
    for key, at in [("ArrowDown", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowDown", columns), ("ArrowUp", 0), ("End", 3)]:
        tab.keyboard.press(key)
        assert tab.evaluate(focused) == at, key
    tab.keyboard.press("Enter")
    expect(tab.locator("nav.batch span")).to_have_text("4 of 10")


@pytest.mark.parametrize("options", [{}, PHONE, {"color_scheme": "dark"}], ids=["desktop", "phone", "dark"])
def test_from_photo_to_photo_and_back_to_the_index(visit: Callable[..., Any], batch: Path, options: dict[str, Any]) -> None:
    tab = visit(batch / "0 #1 ä%?" / "index.html", **options)
    place = tab.locator("nav.batch span")
    expect(place).to_have_text("1 of 10")
    expect(tab.get_by_text("← Previous")).to_be_hidden()
    tab.get_by_text("Next →").click()
    expect(place).to_have_text("2 of 10")
    tab.wait_for_function("[...document.images].every((image) => image.naturalWidth > 0)")
    for key, at in [("ArrowRight", 3), ("ArrowRight", 4), ("ArrowLeft", 3), ("ArrowRight", 4), ("ArrowRight", 5)]:
        tab.keyboard.press(key)
        expect(place).to_have_text(f"{at} of 10")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.get_by_text("All explanations").click()
    assert tab.url.endswith("/index-2.html#e5")
    expect(tab.locator(f"{CARDS}:target small")).to_have_text("photos/4.jpg")


def test_arrow_keys_on_words_and_settings_stay_on_the_page(visit: Callable[..., Any], batch: Path) -> None:
    tab = visit(batch / "2 #1 ä%?" / "index.html")
    expect(tab.locator("nav.batch span")).to_have_text("3 of 10")
    address = tab.url
    tab.focus(".words button")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.activeElement.textContent").startswith("dog")
    tab.focus("input[type=range]")
    tab.keyboard.press("ArrowLeft")
    tab.wait_for_timeout(100)
    assert tab.url == address


def test_a_page_of_a_batch_that_has_not_ended_has_no_neighbours(browser: Any, batch: Path, tmp_path: Path) -> None:
    shutil.copytree(batch / "3 #1 ä%?", tmp_path / "3")
    tab = browser.new_page()
    tab.goto((tmp_path / "3" / "index.html").as_uri())
    expect(tab.get_by_text("All explanations")).to_be_visible()
    expect(tab.get_by_text("Next →")).to_be_hidden()
    tab.close()
