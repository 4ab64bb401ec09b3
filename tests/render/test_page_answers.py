"""A question and its answers in the page, in headless Chromium."""
# ruff: noqa: F811  a fixture that is imported is a test's parameter

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_page import CHROMIUM, CONTRASTS, assert_same_picture, browser, drawn, expected, hottest, shown, visit  # noqa: F401
from toys import ANSWERS, hot_cell, toy_answer, toy_explanation

from multimodal_cam.render.remarks import percent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the page is tested in Chromium, which is not installed"),
]

BARS = ".answers button"
PHONE = {"viewport": {"width": 375, "height": 812}, "is_mobile": True, "has_touch": True}


def bar(tab: Any, i: int) -> Any:
    return tab.locator(BARS).nth(i)


def difference(tab: Any, first: int, second: int, e: Any) -> None:
    """What is drawn is the map of one answer less that of another."""
    maps = list(e.answer_maps.values())
    map = maps[first] - maps[second]
    top = max(float(map.abs().max()), max(float(one.max()) for one in maps))
    assert_same_picture(drawn(tab), expected(map, e, top, drawn(tab).shape[:2]))


def test_it_shows_the_explained_answer_at_once(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer("black"))
    assert tab.title() == "Where each answer came from"
    assert shown(tab) == "black"
    assert hottest(drawn(tab)) == hot_cell(1)
    assert {"20 %", "+0.75", "+2.50"} <= set(tab.locator(".figures dd").all_inner_texts())
    assert "for “black”" in tab.inner_text(".sides")


def test_bars_are_as_long_as_the_probabilities(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer("blue"))
    assert tab.locator(BARS).count() == 6
    for i, (text, share) in enumerate(ANSWERS.items()):
        assert text in bar(tab, i).inner_text()
        assert percent(share) in bar(tab, i).inner_text()
        track, fill = (bar(tab, i).locator(name).bounding_box()["width"] for name in ("svg", "rect"))
        assert fill / track == pytest.approx(share, abs=0.01)


def test_a_click_shows_an_answer_and_pointing_looks_at_one(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer())
    for i in (2, 4):
        bar(tab, i).click()
        assert hottest(drawn(tab)) == hot_cell(i)
        assert bar(tab, i).get_attribute("aria-pressed") == "true"
    bar(tab, 1).hover()
    assert shown(tab) == "black"
    assert tab.get_attribute(".stage canvas", "aria-label").startswith("Heatmap of “black”: strongest 54 % from the left")
    tab.mouse.move(1, 1)
    assert shown(tab) == "red"


def test_shift_click_compares_two_answers(visit: Callable[..., Any]) -> None:
    e = toy_answer()
    tab = visit(e)
    bar(tab, 2).click()
    bar(tab, 1).click(modifiers=["Shift"])
    tab.mouse.move(1, 1)
    assert shown(tab) == "white rather than black"
    difference(tab, 2, 1, e)
    said = tab.inner_text(".readout")
    assert "The map of “white” less that of “black”: warm speaks for “white” rather than “black”" in said
    assert "−0.50" in said
    assert "finds “black” 2 times as likely as “white”" in said
    assert tab.locator(".sides span").all_inner_texts() == ["for “black”", "for “white”"]
    assert "compared with" in bar(tab, 1).inner_text()
    assert tab.input_value("select") == "1"
    assert tab.get_by_role("button", name="For and against").is_disabled()
    assert "most for “white”" in tab.get_attribute(".stage canvas", "aria-label")
    tab.keyboard.press("Escape")
    assert shown(tab) == "white"
    assert hottest(drawn(tab)) == hot_cell(2)


def test_answers_are_compared_without_a_mouse(visit: Callable[..., Any]) -> None:
    e = toy_answer()
    tab = visit(e)
    tab.keyboard.press("Tab")
    tab.keyboard.press("ArrowDown")
    assert shown(tab) == "black"
    tab.keyboard.press("Enter")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Shift+Enter")
    assert shown(tab) == "black rather than white"
    tab.get_by_label("Compare with").select_option("gold")
    assert shown(tab) == "black rather than gold"
    difference(tab, 1, 3, e)
    tab.get_by_label("Compare with").select_option("")
    assert shown(tab) == "black"
    assert tab.get_by_label("Compare with").locator("option:disabled").all_inner_texts() == ["black"]


def test_choosing_the_other_one_ends_a_comparison(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer())
    tab.get_by_label("Compare with").select_option("gold")
    bar(tab, 3).click()
    assert shown(tab) == "gold"
    assert tab.input_value("select") == ""


def test_the_same_scale_or_each_its_own_holds_for_differences(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer())
    tab.get_by_label("Compare with").select_option("black")
    assert "+1.4 logit a cell" in tab.inner_text(".legend")
    tab.click("text=Each its own")
    assert "+1.1 logit a cell" in tab.inner_text(".legend")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"linear": False}, "cannot be compared under layer_cam: it is not linear"),
        ({"score": "contrast"}, "already compared with"),
    ],
)
def test_where_a_difference_means_nothing_it_is_not_offered(visit: Callable[..., Any], options: Any, reason: str) -> None:
    tab = visit(toy_answer(**options))
    assert tab.get_by_label("Compare with").is_disabled()
    assert reason in tab.inner_text(".compare")
    bar(tab, 2).click(modifiers=["Shift"])
    assert shown(tab) == "white"
    assert hottest(drawn(tab)) == hot_cell(2)


def test_words_of_the_question_have_shares(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer())
    words = tab.locator(".asked li").all_inner_texts()
    assert [re.split(r"\s+", word, maxsplit=1) for word in words][:2] == [["What", "+1.00"], ["colour", "−0.50"]]
    assert "unknown" in words[4]
    assert "The model does not know this word: “zorb”" in tab.inner_text("main")
    assert "adds to the score of “brown”, in logits" in tab.inner_text("main")
    colours = tab.eval_on_selector_all(".asked li", "all => all.map((one) => [one.className, one.style.cssText])")
    assert [kind for kind, _ in colours] == ["warm", "cool", "warm", "cool", "unknown warm", "cool"]
    assert "100%" in colours[0][1]


def test_what_speaks_against_an_answer_says_so(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer(counterfactual=True))
    text = tab.inner_text("main")
    assert "what is warm speaks against “brown”, not for it" in text
    assert "what it adds against “brown”" in text
    assert "Against the answer" in text
    assert "logit, sign reversed" in text
    assert shown(tab) == "against brown"
    assert tab.locator(".sides span").all_inner_texts() == ["", "against “brown”"]
    tab.get_by_label("Compare with").select_option("gold")
    assert "warm speaks against “brown” rather than “gold”" in tab.inner_text(".readout")


def test_an_answer_instead_of_another_says_what_is_compared(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer(score="contrast", instead_of={"brown": "black"}))
    assert "what speaks for “brown” rather than “black”" in tab.inner_text("main")
    assert "adds for “brown” rather than “black”, in nats" in tab.inner_text("main")
    assert tab.get_by_label("Compare with").is_enabled()


def test_several_questions_and_a_caption(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer(), toy_answer("black", "Is it?"), toy_explanation())
    assert tab.title() == "Where each word came from"
    assert tab.locator(".readout h3").all_inner_texts() == ["brown", "black", "grass"]
    assert tab.evaluate("[...document.images].every((image) => image.naturalWidth === 160)")
    tab.locator("article").nth(1).get_by_label("Compare with").select_option("red")
    assert tab.locator(".readout h3").all_inner_texts() == ["brown", "black rather than red", "grass"]


def test_texts_of_others_are_texts(visit: Callable[..., Any]) -> None:
    evil = "</script><img src=x onerror=alert(1)> \"'&amp;"
    answers = {evil: 0.5, "שלום עולם": 0.2, "🐶": 0.1, "very long " * 20: 0.05, "unbreakable" * 20: 0.01}
    tab = visit(toy_answer(evil, evil, answers=answers), toy_answer("כן", "האם זה כלב?", answers={"כן": 0.7, "לא": 0.3}), **PHONE)
    assert shown(tab) == evil
    assert tab.locator("img").count() == 2
    assert tab.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [375, 375]
    bar(tab, 1).tap()
    assert hottest(drawn(tab)) == hot_cell(1)


def test_a_tap_chooses_and_the_list_compares(visit: Callable[..., Any]) -> None:
    e = toy_answer()
    tab = visit(e, **PHONE)
    assert "Shift" not in tab.inner_text("main")
    bar(tab, 1).tap()
    assert shown(tab) == "black"
    tab.get_by_label("Compare with").select_option("brown")
    difference(tab, 1, 0, e)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(visit: Callable[..., Any], scheme: str) -> None:
    tab = visit(toy_answer("blue"), toy_answer(linear=False), color_scheme=scheme)
    tab.get_by_label("Compare with").first.select_option("black")
    contrasts = tab.evaluate(CONTRASTS)
    contrasts = {name: contrast for name, contrast in contrasts.items() if " OPTION " not in name}
    assert len(contrasts) > 50
    assert min(contrasts.values()) >= 4.5, min(contrasts.items(), key=lambda item: item[1])


def test_everything_has_a_name(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer())
    nameless = "all => all.filter((one) => !(one.textContent.trim() || one.labels?.length)).length"
    assert tab.eval_on_selector_all("button, input, select", nameless) == 0
    assert tab.get_by_role("list", name="The words of the question").is_visible()
    assert tab.get_by_role("group", name="Answers and their probabilities").is_visible()
    assert tab.get_by_role("article", name="What colour is the zorb dog? – brown").is_visible()
    assert tab.get_by_role("button", name="brown 55 %").is_visible()
    tab.click("text=All answers as a table")
    assert tab.locator("tbody tr").all_inner_texts()[:2] == ["brown\t55 %\t+3.00 logit", "black\t20 %\t+2.50 logit"]


def test_numbers_read_the_same_in_both_languages(visit: Callable[..., Any]) -> None:
    answers = {f"a{i}": share for i, share in enumerate((0.99961, 0.996, 0.0996, 0.0994, 0.00012, 0.000002))}
    tab = visit(toy_answer("a0", answers=answers))
    shares = tab.locator(f"{BARS} > small").all_inner_texts()
    for i in range(5):
        bar(tab, i).hover()
        assert tab.locator(".figures dd").first.inner_text() == shares[i]


def test_without_scripts_answers_and_shares_are_there(visit: Callable[..., Any]) -> None:
    tab = visit(toy_answer(), java_script_enabled=False)
    text = tab.inner_text("body")
    assert {"55 %", "brown", "zorb", "+0.20, unknown"} <= {line.strip() for line in text.splitlines()}
    assert "Compare with" not in text
    assert bar(tab, 0).locator("rect").bounding_box()["width"] > 50


def test_an_empty_map_is_said(visit: Callable[..., Any]) -> None:
    e = toy_answer()
    e.alternative_maps[0, 1] = -1
    e.alternative_maps[0, 2] = 0
    tab = visit(e)
    bar(tab, 2).hover()
    assert "Nothing in the photo speaks for it" in tab.inner_text(".readout")
    bar(tab, 3).hover()
    assert not np.any(drawn(tab))


def test_an_answer_that_needs_no_photo_is_said(visit: Callable[..., Any]) -> None:
    e = toy_answer()
    e.token_reliance[0] = -0.01
    tab = visit(e)
    assert "Without the photo the model finds it about as likely" in tab.inner_text(".readout")
    bar(tab, 1).hover()
    assert "Without the photo" not in tab.inner_text(".readout")
