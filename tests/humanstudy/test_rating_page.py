"""The page at work in headless Chromium, from the first question to the scores of the files that it saved."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from raters import class_study, reliability_study, source_of, write_lists

from multimodal_cam.humanstudy.answer_files import read_answers
from multimodal_cam.humanstudy.rater_scores import score_answers
from multimodal_cam.humanstudy.study_key import StudyKey, read_key

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the page is tested in Chromium, which is not installed"),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
OPTIONS = ".options button"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lists(class_study(photos=6, checks=4), tmp_path_factory.mktemp("study"))


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a study's page; afterwards there must have been no error, and no request to anywhere."""
    contexts, errors, requests = [], [], []

    def visit(folder: Path, rater: int | None = None, context: Any = None, **options: Any) -> Any:
        if context is None:
            context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
            contexts.append(context)
        tab = context.new_page()
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda message: errors.append(message.text))
        tab.goto((folder / "study.html").as_uri() + (f"#rater={rater}" if rater else ""))
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("data:", "file:", "blob:"))] == []


def right_option(tab: Any, key: StudyKey, lists: dict[str, Any]) -> str:
    """The right option of the question on the screen, which the key knows by its picture and prompt."""
    prompt, source = tab.inner_text("#question h2"), tab.get_attribute(".pictures img", "src")
    for name, question in lists["questions"].items():
        picture = f"data:image/jpeg;base64,{lists['pictures'][question['pictures'][0]]}"
        if question["prompt"] == prompt and picture == source:
            found = key.questions[name]
            assert found.right is not None
            return found.options[found.right]
    raise AssertionError(prompt)


def labels(tab: Any) -> list[str]:
    return [text.split("\n")[-1].lstrip("12345 ") for text in tab.locator(OPTIONS).all_inner_texts()]


def wait(tab: Any) -> None:
    tab.wait_for_timeout(170)  # the page takes nothing for an answer that comes sooner


def answer_all(tab: Any, choose: Callable[[Any], int], *, press: bool = True) -> None:
    tab.get_by_role("button", name="Start").click()
    while tab.locator("#question").is_visible():
        wait(tab)
        position = choose(tab)
        tab.keyboard.press(str(position + 1)) if press else tab.locator(OPTIONS).nth(position).tap()


def save(tab: Any, out: Path) -> Path:
    with tab.expect_download() as download:
        tab.locator(".save:visible").first.click()
    out.mkdir(exist_ok=True)
    file = out / download.value.suggested_filename
    download.value.save_as(file)
    return file


def test_planted_raters_from_the_page_to_the_scores(visit: Callable[..., Any], study: Path, tmp_path: Path) -> None:
    key, data, chance = read_key(study), source_of(study), random.Random(4)

    def perfect(tab: Any) -> int:
        return labels(tab).index(right_option(tab, key, data))

    planted = {1: perfect, 2: perfect, 4: perfect, 3: lambda tab: chance.randrange(2), 5: lambda tab: 0}
    for rater, choose in planted.items():
        tab = visit(study, rater)
        answer_all(tab, choose)
        assert save(tab, tmp_path / "answers").name == f"answers-{rater}.json"
        assert "Saved as" in tab.inner_text("#end .saved")
    scores = score_answers(key, read_answers([tmp_path / "answers"], key))
    reports = {report.rater: report for report in scores.raters}
    assert all((reports[rater].accuracy, reports[rater].left_out) == (1, "") for rater in (1, 2, 4))
    assert reports[5].left_out == "2 of 4 attention checks are right"
    assert reports[5].leftmost == 1
    assert reports[3].left_out
    assert all(one.mean.value == 1 for one in scores.conditions)


def test_a_closed_tab_goes_on_where_it_was(visit: Callable[..., Any], study: Path, tmp_path: Path) -> None:
    tab = visit(study, 2)
    tab.get_by_role("button", name="Start").click()
    for _ in range(4):
        wait(tab)
        tab.keyboard.press("ArrowRight")
    asked = tab.inner_text("#question h2"), tab.get_attribute(".pictures img", "src")
    context = tab.context
    tab.close()
    again = visit(study, None, context)
    assert again.input_value("#rater") == "2"
    assert "4 of 10 questions are answered already" in again.inner_text("#progress-kept")
    again.get_by_role("button", name="Go on").click()
    assert again.inner_text(".course span") == "5 of 10"
    assert (again.inner_text("#question h2"), again.get_attribute(".pictures img", "src")) == asked
    part = json.loads(save(again, tmp_path).read_text())
    assert (part["complete"], len(part["answers"]), part["rater"]) == (False, 4, 2)
    other = visit(study, 3, context)
    assert other.inner_text("#progress-kept") == ""


def test_keyboard_only(visit: Callable[..., Any], study: Path) -> None:
    tab = visit(study, 1)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "rater"
    tab.keyboard.press("Enter")
    wait(tab)
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    second = labels(tab)[1]
    assert second in tab.evaluate("document.activeElement.textContent")
    tab.keyboard.press("Enter")
    assert tab.inner_text(".course span") == "2 of 10"
    tab.keyboard.press("3")  # no such answer
    tab.keyboard.press("Backspace")
    assert tab.inner_text(".course span") == "1 of 10"
    assert [one.get_attribute("aria-pressed") for one in tab.locator(OPTIONS).all()] == ["false", "true"]
    wait(tab)
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("Backspace")
    assert tab.locator(OPTIONS).first.get_attribute("aria-pressed") == "true"


def test_the_second_half_of_a_double_click_is_no_answer(visit: Callable[..., Any], study: Path) -> None:
    tab = visit(study, 1)
    tab.get_by_role("button", name="Start").click()
    wait(tab)
    tab.evaluate(f"for (const _ of [1, 2]) document.querySelector({OPTIONS!r}).click()")
    assert tab.inner_text(".course span") == "2 of 10"
    wait(tab)
    tab.evaluate("for (const _ of [1, 2]) document.dispatchEvent(new KeyboardEvent('keydown', { key: '1' }))")
    assert tab.inner_text(".course span") == "3 of 10"


def test_every_second_round_of_raters_sees_the_answers_the_other_way_round(visit: Callable[..., Any], study: Path) -> None:
    shown = []
    for rater in (1, 4):
        tab = visit(study, rater)
        tab.get_by_role("button", name="Start").click()
        found = {}
        for _ in range(10):
            found[tab.inner_text("#question h2"), tab.get_attribute(".pictures img", "src")] = labels(tab)
            wait(tab)
            tab.keyboard.press("1")
        shown.append(found)
    assert shown[0].keys() == shown[1].keys()
    assert list(shown[0]) != list(shown[1])
    assert all(shown[0][one] == shown[1][one][::-1] for one in shown[0])


def test_a_phone_and_five_answers(visit: Callable[..., Any], tmp_path: Path) -> None:
    folder = write_lists(reliability_study(photos=3, checks=2), tmp_path / "study", "reliability")
    tab = visit(folder, 2, **PHONE)
    answer_all(tab, lambda tab: _fits(tab) or 1, press=False)
    key = read_key(folder)
    (one,) = read_answers([save(tab, tmp_path / "answers")], key)
    assert {answer.choice for answer in one.answers} == {1}
    scores = score_answers(key, [one], share=0)
    assert sum(score.mean.value for score in scores.conditions) == 0
    assert tab.input_value("textarea") != ""


def _fits(tab: Any) -> None:
    """Nothing is wider than the screen; all answers and both pictures are on it, large enough for a thumb."""
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for one in [*tab.locator(OPTIONS).all(), *tab.locator(".pictures img").all()]:
        box = one.bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
        assert 0 <= box["y"] <= box["y"] + box["height"] <= 844
        assert min(box["height"], box["width"]) >= 40


def test_without_storage_the_page_says_so_and_works(visit: Callable[..., Any], browser: Any, study: Path, tmp_path: Path) -> None:
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } })")
    tab = visit(study, 1, context)
    assert "This browser keeps nothing" in tab.inner_text("#not-kept")
    answer_all(tab, lambda tab: 0)
    assert json.loads(save(tab, tmp_path).read_text())["complete"]
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_the_page(visit: Callable[..., Any], study: Path, scheme: str) -> None:
    tab = visit(study, 1, color_scheme=scheme)
    tab.get_by_role("button", name="Start").click()
    for selector in ("#question h2", f"{OPTIONS} >> nth=0", ".course span", "#back"):
        ratio = tab.locator(selector).evaluate(CONTRAST)
        assert ratio >= 4.5 or (selector == "#back" and tab.locator(selector).is_disabled()), (selector, ratio)


CONTRAST = """one => {
  const rgb = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (colour) => rgb(colour).map((c) => c / 255).map((c) => (c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  let behind = one;
  const clear = (node) => getComputedStyle(node).backgroundColor === 'rgba(0, 0, 0, 0)';
  while (behind.parentElement && clear(behind)) behind = behind.parentElement;
  const [a, b] = [light(getComputedStyle(one).color), light(getComputedStyle(behind).backgroundColor)];
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
}"""
