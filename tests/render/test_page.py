"""The page at work, in headless Chromium."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toys import hot_cell, region_explanation, toy_explanation

from multimodal_cam import Explanation
from multimodal_cam.core.geometry import center_crop, letterbox, paint_boxes, place
from multimodal_cam.metrics.overlap import BoxRule
from multimodal_cam.render.colour import colours, cover
from multimodal_cam.render.html import page

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the page is tested in Chromium, which is not installed"),
]

WORDS = ".words button"
PHRASES = ".longer button"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page of explanations; afterwards it must have raised no error and asked nobody for anything."""
    requests, errors, contexts = [], [], []

    def visit(*explanations: Explanation, boxes: BoxRule | None = None, **options: Any) -> Any:
        file = tmp_path / "page.html"
        file.write_text(page(explanations, boxes=boxes), encoding="utf-8")
        contexts.append(browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.goto(file.as_uri())
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("data:", tmp_path.as_uri()))] == []


def drawn(tab: Any, index: int = 0) -> np.ndarray:
    """What is on the canvas over the photo: `(H, W, 4)`, 8 bits."""
    url = tab.locator(".stage canvas").nth(index).evaluate("canvas => canvas.toDataURL()")
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def expected(map: torch.Tensor, e: Explanation, top: float, size: tuple[int, int]) -> np.ndarray:
    """The same through geometry and colour, as `Explanation.heatmap` and `overlay` do it."""
    heat = place(map[None], e.placement, size)[0] / top
    rgba = torch.cat([colours(heat), cover(heat)[..., None]], dim=-1)
    return (rgba * 255).round().to(torch.uint8).numpy()


def assert_same_picture(got: np.ndarray, wanted: np.ndarray) -> None:
    """Browsers store colours premultiplied: they are exact to a level or two where they are opaque."""
    got, wanted = got.astype(int), wanted.astype(int)
    assert np.abs(got[..., 3] - wanted[..., 3]).max() <= 2
    opaque = wanted[..., 3] > 128
    assert opaque.any()
    assert np.abs(got - wanted)[opaque].max() <= 4


def hottest(picture: np.ndarray, grid: tuple[int, int] = (14, 14)) -> tuple[int, int]:
    """The grid cell of the middle of all that is most opaque and lightest."""
    strength = picture[..., 3].astype(int) + picture[..., :3].sum(axis=-1, dtype=int) * (picture[..., 3] > 250)
    rows, columns = np.nonzero(strength == strength.max())
    return int(rows.mean() * grid[0] / len(picture)), int(columns.mean() * grid[1] / picture.shape[1])


def shown(tab: Any) -> str:
    return tab.inner_text(".readout h3")


def pressed(tab: Any, selector: str = WORDS) -> list[int]:
    return tab.eval_on_selector_all(selector, "all => all.flatMap((one, i) => one.ariaPressed === 'true' ? [i] : [])")


# ---- what it shows -----------------------------------------------------------------------------------------


def test_it_shows_the_word_that_leans_most_on_the_photo_at_once(visit: Callable[..., Any]) -> None:
    e = toy_explanation()
    best = int(e.reliance.argmax())
    tab = visit(e)
    assert shown(tab) == e.words[best].text
    assert hottest(drawn(tab)) == hot_cell(best)
    assert f"+{float(e.reliance[best]):.2f}" in tab.inner_text(".readout")
    assert "61 %" in tab.inner_text(".readout")
    assert "adds up to these nats within 0.002 nats" in tab.inner_text(".readout")


def test_hover_draws_the_word_that_is_pointed_at(visit: Callable[..., Any]) -> None:
    e = toy_explanation()
    tab = visit(e)
    for i in (0, 2, 5):
        tab.locator(WORDS).nth(i).hover()
        assert shown(tab) == e.words[i].text
        assert hottest(drawn(tab)) == hot_cell(i)
    assert "heatmap of “the”" in tab.get_attribute(".stage canvas", "aria-label").lower()


@pytest.mark.parametrize("frame", [center_crop, letterbox])
@pytest.mark.parametrize("signed", [False, True])
def test_pixels_are_those_of_the_python_overlay(visit: Callable[..., Any], frame: Callable[..., Any], signed: bool) -> None:
    photo = Image.new("RGB", (200, 100), "grey")
    e = toy_explanation("a small cat", photo, placement=frame(200, 100), grid=(5, 7))
    e = replace(e, token_maps=e.token_maps * torch.tensor([1.0, 1.0, -0.7 if signed else 0.7])[:, None, None])
    tab = visit(e)
    if signed:
        tab.click("text=For and against")
    tab.locator(WORDS).nth(2).hover()
    map = e.maps[2] if signed else e.maps[2].clamp(min=0)
    got = drawn(tab)
    assert got.shape == (240, 480, 4)
    assert_same_picture(got, expected(map, e, float(e.maps.abs().max()), (240, 480)))
    outside = got[:, :100] if frame is center_crop else got[:0]
    assert not outside.any()


def test_each_word_its_own_scale(visit: Callable[..., Any]) -> None:
    e = toy_explanation()
    tab = visit(e)
    tab.locator(WORDS).nth(0).focus()
    shared = drawn(tab)
    tab.click("text=Each its own")
    tab.locator(WORDS).nth(0).focus()
    own = drawn(tab)
    assert own[..., :3].sum(dtype=int) != shared[..., :3].sum(dtype=int)
    assert_same_picture(own, expected(e.maps[0].clamp(min=0), e, float(e.maps[0].max()), own.shape[:2]))


def test_opacity(visit: Callable[..., Any]) -> None:
    tab = visit(toy_explanation())
    tab.get_by_label("Opacity").fill("0.25")
    assert tab.eval_on_selector(".stage canvas", "canvas => getComputedStyle(canvas).opacity") == "0.25"


def test_unknown_words_and_empty_maps_are_said(visit: Callable[..., Any]) -> None:
    e = toy_explanation(unknown=[1])
    e = replace(e, token_maps=torch.where(torch.arange(8)[:, None, None] == 4, -e.token_maps.abs(), e.token_maps))
    tab = visit(e)
    tab.locator(WORDS).nth(1).hover()
    assert "does not know this word" in tab.inner_text(".readout")
    assert not drawn(tab).any()
    assert "unknown word" in tab.locator(WORDS).nth(1).inner_text()
    tab.locator(WORDS).nth(4).hover()
    assert "Nothing in the photo speaks for it" in tab.inner_text(".readout")
    assert not drawn(tab).any()


def test_a_caption_is_text(visit: Callable[..., Any]) -> None:
    tab = visit(toy_explanation("<script>document.title='no'</script> <img/src=x/onerror=alert(1)>"))
    assert tab.title() == "Where each word came from"
    assert "<script>document.title='no'</script>" in tab.inner_text(".words")
    assert tab.locator("img").count() == 1


# ---- how it is used ----------------------------------------------------------------------------------------


def test_arrow_keys_walk_along_the_words(visit: Callable[..., Any]) -> None:
    e = toy_explanation()
    tab = visit(e)
    tab.keyboard.press("Tab")
    seen = [shown(tab)]
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home"):
        tab.keyboard.press(key)
        seen.append(shown(tab))
    assert seen == ["a", "brown", "dog", "brown", e.text, e.text, "a"]
    assert hottest(drawn(tab)) == hot_cell(0)
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("keyboard", [False, True])
def test_clicked_words_add_up(visit: Callable[..., Any], keyboard: bool) -> None:
    e = toy_explanation()
    tab = visit(e)
    for i in (2, 7):
        word = tab.locator(WORDS).nth(i)
        word.press("Space") if keyboard else word.click()
    assert pressed(tab) == [2, 7]
    assert shown(tab) == "dog + grass"
    both = e.maps[2] + e.maps[7]
    top = max(float(both.max()), float(e.maps.max()))
    assert_same_picture(drawn(tab), expected(both.clamp(min=0), e, top, drawn(tab).shape[:2]))
    assert f"+{float(e.reliance[2] + e.reliance[7]):.2f}" in tab.inner_text(".readout")
    tab.locator(WORDS).nth(0).hover()
    assert shown(tab) == "a", "pointing still looks at one word"
    tab.mouse.move(1, 1)
    assert shown(tab) == "dog + grass"
    tab.locator(WORDS).nth(2).click()
    assert pressed(tab) == [7]
    tab.keyboard.press("Escape")
    assert pressed(tab) == []
    assert tab.locator(".clear").is_disabled()


def test_phrases_and_the_whole_text(visit: Callable[..., Any]) -> None:
    e = toy_explanation()
    tab = visit(e)
    tab.get_by_role("button", name="a brown dog").click()
    assert pressed(tab) == [0, 1, 2]
    assert pressed(tab, PHRASES) == [0]
    map = e["a brown dog"].map.clamp(min=0)
    top = max(float(map.max()), float(e.maps.max()))
    assert_same_picture(drawn(tab), expected(map, e, top, drawn(tab).shape[:2]))
    tab.get_by_role("button", name="whole text").click()
    assert pressed(tab) == list(range(8))
    assert f"+{e.whole().reliance:.2f}" in tab.inner_text(".readout")


def test_maps_that_do_not_add_up_are_not_added(visit: Callable[..., Any]) -> None:
    e = replace(toy_explanation("a red bird", linear=False), parsed_phrases=())
    # a method that is not linear has maps of its phrases too: none here
    tab = visit(e)
    assert "do not add up under layer_cam" in tab.inner_text("main")
    assert not tab.locator("[data-set=adding]").is_visible()
    tab.locator(WORDS).nth(0).click()
    tab.locator(WORDS).nth(2).click(modifiers=["Control"])
    assert pressed(tab) == [2]
    tab.get_by_role("button", name="whole text").click()
    assert shown(tab) == e.text


def test_settings_hold_for_all_photos_and_words_for_one(visit: Callable[..., Any]) -> None:
    tab = visit(toy_explanation(), toy_explanation("two cats", Image.new("RGB", (40, 90))))
    before = drawn(tab, 1)
    tab.locator("article").nth(0).get_by_text("Each its own").click()
    assert tab.locator("article").nth(1).get_by_text("Each its own").get_attribute("aria-pressed") == "true"
    tab.locator("article").nth(0).locator(WORDS).nth(3).click()
    assert tab.locator(".readout h3").all_inner_texts() == ["runs", "cats"]
    assert np.array_equal(before[..., 3] > 0, drawn(tab, 1)[..., 3] > 0)


# ---- where it is used --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(160, 120), (3000, 40), (40, 3000), (1, 1)])
def test_phone_width_does_not_scroll_sideways(visit: Callable[..., Any], size: tuple[int, int]) -> None:
    long = "an " + "unbelievably" * 6 + " long word over the green grass of home"
    e = replace(toy_explanation(long, Image.new("RGB", size)), layer="backbone." * 30, provenance={"k" * 90: "v" * 200})
    tab = visit(e, viewport={"width": 375, "height": 812}, is_mobile=True, has_touch=True)
    tab.locator("summary").nth(0).tap()
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate("innerWidth") == 375
    photo, canvas = (tab.locator(f".stage {name}").bounding_box() for name in ("img", "canvas"))
    assert photo == pytest.approx(canvas, abs=1)


def test_a_tap_shows_the_word_alone_until_adding_is_on(visit: Callable[..., Any]) -> None:
    tab = visit(toy_explanation(), viewport={"width": 375, "height": 812}, is_mobile=True, has_touch=True)
    tab.locator(WORDS).nth(1).tap()
    tab.locator(WORDS).nth(2).tap()
    assert shown(tab) == "dog"
    tab.get_by_role("button", name="Add words up").tap()
    tab.locator(WORDS).nth(1).tap()
    assert shown(tab) == "brown + dog"
    assert pressed(tab) == [1, 2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(visit: Callable[..., Any], scheme: str) -> None:
    e = toy_explanation()
    tab = visit(replace(e, token_reliance=e.token_reliance * torch.tensor([1, -1] * 4)), color_scheme=scheme)
    contrasts = tab.evaluate(CONTRASTS)
    assert len(contrasts) > 30
    assert min(contrasts.values()) >= 4.5, min(contrasts.items(), key=lambda item: item[1])
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = np.mean([int(level) for level in paper[4:-1].split(",")])
    assert lightness > 200 if scheme == "light" else lightness < 50


def test_against_is_shaded_in_the_opposite_hue(visit: Callable[..., Any]) -> None:
    e = toy_explanation("for against")
    tab = visit(replace(e, token_reliance=torch.tensor([1.0, -1.0])))
    warm, cool = tab.eval_on_selector_all(WORDS, "all => all.map((one) => " + PAINTED + "(one))")
    assert warm[0] > warm[2]
    assert cool[2] > cool[0]


def test_without_scripts_the_photo_and_the_words_are_there(visit: Callable[..., Any]) -> None:
    tab = visit(toy_explanation(), java_script_enabled=False)
    text = tab.inner_text("body")
    assert "need JavaScript" in text
    assert "grass" in text
    assert "Opacity" not in text
    assert tab.locator("img").is_visible()
    assert tab.get_attribute("img", "alt") == "The photo: a brown dog runs over the green grass"


def test_every_control_has_a_name(visit: Callable[..., Any]) -> None:
    tab = visit(toy_explanation())
    nameless = "all => all.filter((one) => !(one.textContent.trim() || one.labels?.length)).length"
    assert tab.eval_on_selector_all("button, input", nameless) == 0
    assert tab.get_attribute(".readout", "aria-live") == "polite"
    assert tab.locator("[role=group]:not([aria-label])").count() == 0


# what stands behind an element's text: every background from the page's up, painted one over the other
PAINTED = """(element => {
    const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    for (const fill of behind) { context.fillStyle = fill; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
})"""

# WCAG 2 contrast of every visible element that has text of its own
CONTRASTS = (
    """() => {
    const painted = """
    + PAINTED
    + """;
    const ink = (colour) => {
        const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
        context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (rgb) => rgb.map((level) => level / 255)
        .map((level) => level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4)
        .reduce((sum, level, i) => sum + level * [0.2126, 0.7152, 0.0722][i], 0);
    const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const found = [...document.querySelectorAll("body *")].filter((one) => own(one) && one.checkVisibility());
    return Object.fromEntries(found.map((element, i) => {
        const [low, high] = [luminance(painted(element)), luminance(ink(getComputedStyle(element).color))].sort((a, b) => a - b);
        return [`${i} ${element.tagName} ${element.textContent.slice(0, 30)}`, (high + 0.05) / (low + 0.05)];
    }));
}"""
)


# ---- regions -----------------------------------------------------------------------------------------------------------------


def test_regions_are_outlines_of_their_boxes(visit: Callable[..., Any]) -> None:
    e = region_explanation()
    tab = visit(e)
    for i, map in enumerate(e.maps):
        tab.hover(f"{WORDS} >> nth={i}")
        got = drawn(tab)
        heat = paint_boxes(map[:, 0] / e.maps.max(), replace(e.placement, width=got.shape[1], height=got.shape[0]), outlines=True)
        rgba = torch.cat([colours(heat), cover(heat)[..., None]], dim=-1)
        assert_same_picture(got, (rgba * 255).round().to(torch.uint8).numpy())
        assert np.array_equal(got[..., 3] > 0, heat.numpy() > 0)
    assert tab.get_attribute(".stage canvas", "aria-label").endswith("strongest 65 % from the left and 32 % from the top")
    assert tab.inner_text(".legend .ticks").endswith("a region")


def test_boxes_of_maps_are_drawn_on_request(visit: Callable[..., Any]) -> None:
    e = toy_explanation()
    tab = visit(e, boxes="segment")
    tab.hover(f"{WORDS} >> nth=2")
    got = drawn(tab)
    ratio = got.shape[1] / e.image.width
    x0, y0, x1, y1 = (e.boxes("dog")[0] * ratio).round().int().tolist()
    assert (got[(y0 + y1) // 2, [x0, min(x1, got.shape[1] - 1)]] == 255).all()  # white, opaque
    assert (got[[y0, min(y1, got.shape[0] - 1)], (x0 + x1) // 2] == 255).all()
