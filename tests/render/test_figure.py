"""Overlays, the figure and the text of the page; the page at work is in test_page.py."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toys import ANSWERS, hot_cell, region_explanation, toy_answer, toy_explanation

from multimodal_cam.core import spans
from multimodal_cam.core.familiarity import Familiarity
from multimodal_cam.core.geometry import center_crop
from multimodal_cam.core.spans import Span
from multimodal_cam.render.colour import colours, cover
from multimodal_cam.render.figure import figure
from multimodal_cam.render.html import page, save_page
from multimodal_cam.render.overlay import overlay, shrink
from multimodal_cam.render.remarks import note, percent, remarks, signed


def data_of(html: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL).group(1))


def photos_of(html: str) -> list[Image.Image]:
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", html)
    return [Image.open(io.BytesIO(base64.b64decode(photo))) for photo in found]


def without_photos(html: str) -> str:
    return re.sub(r"data:image/jpeg;base64,[^\"]+", "", html)


def oklab(rgb: torch.Tensor) -> torch.Tensor:
    """OKLab of sRGB (Ottosson 2020)."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4).double()
    to_lms = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    to_lms += [[0.0883024619, 0.2817188376, 0.6299787005]]
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    to_lab += [[0.0259040371, 0.7827717662, -0.8086757660]]
    lms = (linear @ torch.tensor(to_lms).double().T) ** (1 / 3)
    return lms @ torch.tensor(to_lab).double().T


# ---- colour ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_lightness_grows_in_equal_steps(sign: int) -> None:
    lightness = oklab(colours(sign * torch.linspace(0.001, 1, 41)))[:, 0]
    steps = lightness.diff()
    assert steps.min() > 0
    assert steps.max() / steps.mean() < 1.5


def test_for_and_against_are_as_light_and_differ_from_blue_to_yellow() -> None:
    """That axis is the one which red-green colour blindness leaves."""
    heat = torch.linspace(0.2, 1, 20)
    warm, cool = oklab(colours(heat)), oklab(colours(-heat))
    assert (warm[:, 0] - cool[:, 0]).abs().max() < 0.03
    assert (warm[:, 2] - cool[:, 2]).min() > 0.1


def test_nothing_covers_nothing() -> None:
    assert torch.equal(cover(torch.tensor([0.0, 0.25, -0.25, 1.0])), torch.tensor([0.0, 0.5, 0.5, 1.0]))


# ---- overlay -----------------------------------------------------------------------------------------------


def test_overlay_changes_pixels_where_heat_is_and_no_others() -> None:
    photo = Image.effect_noise((40, 30), 60).convert("RGB")
    heat = torch.zeros(30, 40)
    heat[10:20, 5:15], heat[10:20, 25:35] = 1.0, -1.0
    drawn, before = np.array(overlay(photo, heat)).astype(int), np.array(photo).astype(int)
    changed = (drawn != before).any(axis=-1)
    assert np.array_equal(changed, heat.numpy() != 0)
    red, blue = drawn[15, 10], drawn[15, 30]
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_opacity_one_hides_the_photo_and_zero_the_heat() -> None:
    photo, heat = Image.new("RGB", (4, 3), "white"), torch.ones(3, 4)
    full = torch.from_numpy(np.array(overlay(photo, heat, opacity=1.0)))
    assert torch.equal(full[0, 0], (colours(torch.ones(())) * 255).round().to(torch.uint8))
    assert overlay(photo, heat, opacity=0.0).tobytes() == photo.tobytes()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1"])
def test_overlay_takes_every_kind_of_image(mode: str) -> None:
    photo = Image.new("RGBA", (5, 4), (0, 0, 0, 0)) if mode == "RGBA" else Image.new(mode, (5, 4))
    drawn = overlay(photo, torch.full((4, 5), torch.nan))
    assert (drawn.mode, drawn.size) == ("RGB", (5, 4))
    if mode in ("RGBA", "LA"):
        assert drawn.getpixel((0, 0)) == (255, 255, 255)


def test_overlay_refuses_another_size_and_opacity() -> None:
    with pytest.raises(ValueError, match=r"expected shape \(3, 4\), the image's, got \(4, 3\)"):
        overlay(Image.new("RGB", (4, 3)), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="opacity"):
        overlay(Image.new("RGB", (4, 3)), torch.zeros(3, 4), opacity=2.0)


def test_shrink_keeps_the_frame_and_a_pixel_at_least() -> None:
    wide = toy_explanation(image=Image.new("RGB", (3000, 2)), placement=center_crop(3000, 2))
    small = shrink(wide, 300)
    assert small.image.size == (small.placement.width, small.placement.height) == (300, 1)
    assert small.placement.frame == wide.placement.frame


# ---- figure ------------------------------------------------------------------------------------------------


def test_figure_has_the_photo_and_an_overlay_per_word() -> None:
    e = toy_explanation("one $two$ three four five six seven", unknown=[3])
    drawn = figure(e)
    drawn.canvas.draw()
    panels = [axis for axis in drawn.findobj() if hasattr(axis, "get_title") and axis.get_title()]
    assert [axis.get_title() for axis in panels] == ["photo", *e.text.split()]
    assert len({round(axis.get_position().y0, 3) for axis in panels}) == 2, "eight panels wrap onto two rows"
    assert panels[4].get_xlabel() == "unknown word"
    assert panels[1].get_xlabel() == f"{signed(float(e.reliance[0]))} nats"
    photo, first = (np.array(axis.images[0].get_array()).astype(int) for axis in panels[:2])
    difference = np.abs(first - photo).sum(axis=-1)
    row, column = np.unravel_index(difference.argmax(), difference.shape)
    assert (row * 14 // photo.shape[0], column * 14 // photo.shape[1]) == hot_cell(0)


@pytest.mark.parametrize("size", [(1, 1), (3000, 40), (40, 3000)])
def test_figure_of_extreme_photos(size: tuple[int, int]) -> None:
    file = io.BytesIO()
    figure(toy_explanation("a cat", Image.new("RGB", size)), scale="word").savefig(file, dpi=30)
    assert Image.open(file).width > 50


def test_notes_say_what_a_map_lacks() -> None:
    e = toy_explanation(unknown=[1])
    against = replace(e, token_maps=-e.token_maps.abs(), token_reliance=torch.full((8,), -0.25))
    assert note(e["brown"]) == "unknown word"
    assert note(against["dog"]) == "−0.25 nats, nothing positive"
    assert [signed(value) for value in (-0.001, 0.0, 1.5, -1.5)] == ["0.00", "0.00", "+1.50", "−1.50"]


# ---- page --------------------------------------------------------------------------------------------------


def test_page_is_small_without_its_photo() -> None:
    html = page([toy_explanation("a small brown dog runs fast over the wet green summer grass")])
    assert len(without_photos(html).encode()) < 40_000


def test_page_escapes_whatever_people_and_models_say() -> None:
    evil = "<script>alert(1)</script> \"'&amp; </style> $data ]]> <!--"
    html = page([replace(toy_explanation(evil), model=evil, layer=evil, provenance={evil: evil})], title=evil)
    assert html.count("<script") == 2
    assert html.count("</script>") == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert data_of(html)["explanations"][0]["parts"][0]["text"] == "<script>alert(1)</script>"


def test_page_asks_nobody_for_anything() -> None:
    html = page([toy_explanation()])
    assert "default-src 'none'" in html
    assert "unsafe" not in html
    own = re.sub(r'id="data">.*?</script>', "", without_photos(html), flags=re.DOTALL)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch|XMLHttp|innerHTML|eval", own)


def test_page_holds_each_map_to_a_part_in_thirty_thousand() -> None:
    e = toy_explanation(unknown=[2])
    parts = data_of(page([e]))["explanations"][0]["parts"]
    for i, (part, map) in enumerate(zip(parts, e.maps, strict=False)):
        if i == 2:
            assert part["map"] is None
            continue
        levels = np.frombuffer(base64.b64decode(part["map"]["grid"]), "<i2").reshape(14, 14)
        assert np.abs(levels * part["map"]["step"] - map.numpy()).max() <= map.abs().max() / 60_000


def test_tiny_and_zero_maps_survive() -> None:
    e = toy_explanation("almost nothing")
    e = replace(e, token_maps=torch.stack([e.token_maps[0] * 1e-12, torch.zeros(14, 14)]))
    tiny, zero, *_ = data_of(page([e]))["explanations"][0]["parts"]
    assert 0 < tiny["map"]["step"] < 1e-15
    assert zero["map"]["step"] == 0


def test_impossible_words_have_no_number_rather_than_broken_json() -> None:
    e = replace(toy_explanation(), token_log_probs=torch.full((8,), -torch.inf))
    assert data_of(page([e]))["explanations"][0]["parts"][0]["logProb"] is None


def test_page_has_words_then_phrases_then_the_whole_text_once_each() -> None:
    e = toy_explanation("a brown dog runs over the green grass")
    parts = data_of(page([e]))["explanations"][0]["parts"]
    assert [part["text"] for part in parts] == [*e.text.split(), "a brown dog", "the green grass", e.text]
    assert [part["words"] for part in parts[8:]] == [[0, 1, 2], [5, 6, 7], list(range(8))]
    answer = data_of(page([toy_explanation("yes")]))["explanations"][0]["parts"]
    assert [part["text"] for part in answer] == ["yes"]


def test_page_without_spacy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ImportError("no pipeline")

    monkeypatch.setattr(spans, "_pipeline", absent)
    html = page([toy_explanation()])
    assert "No phrases: spaCy" in html
    assert len(data_of(html)["explanations"][0]["parts"]) == 9


def test_page_of_nothing_said() -> None:
    e = toy_explanation()
    empty = {name: torch.zeros(0) for name in ("token_scores", "token_log_probs", "token_reliance", "token_changes")}
    silent = replace(e, text="", tokens=(), words=(), token_maps=torch.zeros(0, 14, 14), **empty)
    assert data_of(page([silent]))["explanations"][0]["parts"] == []
    figure(silent)


def test_photo_is_shrunk_and_leaves_its_metadata_behind() -> None:
    file, photo = io.BytesIO(), Image.new("RGB", (3000, 1500), "teal")
    exif = photo.getexif()
    exif[0x010E] = "where I live"
    photo.save(file, "JPEG", exif=exif)
    [embedded] = photos_of(page([toy_explanation("a", Image.open(file))]))
    assert embedded.size == (1024, 512)
    assert not embedded.getexif()


def test_save_page_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_page([toy_explanation(), toy_explanation("a cat")], tmp_path / "page.html", title="Two")
    html = path.read_text(encoding="utf-8")
    assert html.count("<article") == 2
    assert "<title>Two</title>" in html

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_page([toy_explanation()], path)
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text(encoding="utf-8") == html


# ---- a question and its answers ----------------------------------------------------------------------------


def texts_of(drawn: Any) -> list[str]:
    return [text.get_text() for text in drawn.findobj() if hasattr(text, "get_text") and text.get_text()]


def test_figure_of_an_answer_has_an_overlay_per_answer_and_the_questions_words() -> None:
    e = toy_answer("blue", "What colour is the $zorb$ dog?")
    drawn = figure(e)
    drawn.canvas.draw()
    panels = [axis for axis in drawn.findobj() if hasattr(axis, "get_title") and axis.get_title() and axis.images]
    assert [axis.get_title() for axis in panels] == ["photo", *ANSWERS]
    assert [axis.get_xlabel() for axis in panels[1:]] == ["55 %", "20 %", "10 %", "5 %", "3 %", "1 %"]
    photo, *overlays = (np.array(axis.images[0].get_array()).astype(int) for axis in panels)
    for i, picture in enumerate(overlays):
        difference = np.abs(picture - photo).sum(axis=-1)
        row, column = np.unravel_index(difference.argmax(), difference.shape)
        assert (row * 14 // photo.shape[0], column * 14 // photo.shape[1]) == hot_cell(i)
    said = texts_of(drawn)
    assert "What colour is the $zorb$ dog? – blue" in said
    assert {"colour", "+1.00", "−0.50", "zorb", "+0.20, unknown"} <= set(said)
    assert "what each word adds to the score of “blue”, in logits" in said
    assert any("“blue” was asked for" in text for text in said)


@pytest.mark.parametrize(("scale", "legend"), [("caption", "1.5 logit a cell"), ("word", "each answer's strongest cell")])
def test_scale_of_answers(scale: Any, legend: str) -> None:
    drawn = figure(toy_answer("blue"), scale=scale)
    pictures = [np.array(axis.images[0].get_array()) for axis in drawn.findobj() if hasattr(axis, "images") and axis.images]
    weakest, strongest = pictures[1].max(axis=(0, 1)), pictures[6].max(axis=(0, 1))
    assert np.array_equal(weakest, strongest) == (scale == "word")
    assert legend in texts_of(drawn)


@pytest.mark.parametrize("question", [None, "why " * 40, "is $ שלום?"])
def test_figure_of_odd_questions(question: str | None) -> None:
    file = io.BytesIO()
    figure(toy_answer("a long answer", question, answers={"a long answer": 1.0})).savefig(file, dpi=30)
    assert Image.open(file).width > 50


def test_a_long_question_leaves_room_for_the_answer() -> None:
    assert any(text.endswith("… – brown") for text in texts_of(figure(toy_answer(question="why " * 90))))


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "< 0.001 %"),
        (0.00012, "0.012 %"),
        (0.0345, "3.5 %"),
        (0.5, "50 %"),
        (0.996, "99.6 %"),
        (0.9999, "> 99.9 %"),
        (1, "100 %"),
    ],
)
def test_percent(share: float, said: str) -> None:
    assert percent(share) == said


def test_remarks_say_what_the_maps_are_about() -> None:
    assert remarks(toy_answer()) == []
    assert remarks(toy_explanation()) == []
    far = "The model has seen nothing like this photo (distance 41.2, threshold 33.1)."
    assert remarks(replace(toy_explanation(), familiarity=Familiarity(41.234, 33.1))) == [far]
    assert remarks(replace(toy_explanation(), familiarity=Familiarity(33.1, 33.1))) == []
    assert remarks(toy_answer("red")) == ["“red” was asked for: the model’s own answer is “brown”."]
    named_otherwise = replace(toy_answer(), text="Brown", words=(Span("Brown", 0, 1),))
    assert remarks(named_otherwise) == []
    assert remarks(toy_answer(counterfactual=True)) == [
        "Counterfactual: the score’s sign is reversed, so what is warm speaks against “brown”, not for it."
    ]
    assert remarks(toy_answer(score="contrast", instead_of={"brown": "black"})) == [
        "“brown” is compared with “black”: the map shows what speaks for “brown” rather than “black”.",
        "The other answers are compared with “black”, too.",
    ]
    assert (
        "against “brown” and for “black”"
        in remarks(toy_answer(score="contrast", counterfactual=True, instead_of={"brown": "black"}))[1]
    )
    assert "likeliest rivals" in remarks(toy_answer(score="contrast"))[0]
    caption = replace(toy_explanation(), score="contrast", instead_of={"dog": "cat"})
    assert [text.partition(" ")[0] for text in remarks(caption)] == ["“dog”", "All"]


def test_figure_and_page_say_that_a_photo_is_of_another_world() -> None:
    e = replace(toy_explanation(), familiarity=Familiarity(41.2, 33.1))
    drawn = figure(e)
    said = [axis.get_xlabel() for part in drawn.subfigs for axis in part.axes]
    assert any("seen nothing like this photo" in label for label in said)
    assert "<p class=remark>The model has seen nothing like this photo (distance 41.2, threshold 33.1).</p>" in page([e])


def test_the_explained_answer_is_shown_even_when_it_is_unlikely() -> None:
    e = toy_answer("blue")
    assert [part.text for part in e.answer_parts] == list(ANSWERS)
    assert [text for text, _ in e.answers] == list(ANSWERS)[:5]
    assert [part.text for part in toy_answer("black").answer_parts] == list(ANSWERS)[:5]
    for part in e.answer_parts[:5]:
        assert torch.equal(part.map, e.answer_maps[part.text])
    assert toy_explanation().answer_parts == ()


def test_page_of_an_answer_is_small_without_its_photo() -> None:
    assert len(without_photos(page([toy_answer("blue", "what is the colour of the dog that runs over there")])).encode()) < 40_000


def test_a_photo_of_several_questions_is_in_the_page_once() -> None:
    other = toy_answer("black", "Is it?", Image.new("RGB", (30, 40)))
    html = page([toy_answer(), toy_answer("black", "Is it?"), other])
    assert len(photos_of(html)) == 2
    assert re.findall(r'data-as="(\d)"', html) == ["1"]


def test_page_escapes_questions_and_answers() -> None:
    evil = "</script><script>alert(1)</script> \"'&amp; $data 🐶 שלום"
    html = page(
        [toy_answer(evil, evil, answers={evil: 0.6, "<b>": 0.2}, score="contrast", counterfactual=True, instead_of={evil: evil})]
    )
    assert html.count("<script") == 2
    assert html.count("</script>") == 2
    assert "<b>" not in re.sub(r"<p[^>]*><b>", "", html)
    assert [part["text"] for part in data_of(html)["explanations"][0]["parts"]] == [evil, "<b>"]


def test_words_of_a_question_are_spelled_as_it_was_asked() -> None:
    found = re.findall(r"<li[^>]*><span>(.*?)</span>", page([toy_answer(question="What COLOUR, exactly, is it?")]))
    assert found == ["What", "COLOUR,", "exactly,", "is", "it?"]
    model = replace(
        toy_answer(question="x's y"), question_spans=(Span("dog's", 0, 1), Span("tail", 1, 2)), question="Dog’s tail?"
    )
    assert re.findall(r"<li[^>]*><span>(.*?)</span>", page([model])) == ["Dog’s", "tail?"]
    changed = replace(toy_answer(question="what is it"), question="İ")
    assert re.findall(r"<li[^>]*><span>(.*?)</span>", page([changed])) == ["what", "is", "it"]


def test_a_question_whose_words_have_no_shares_is_still_there() -> None:
    e = replace(toy_answer(question="Is <it>?"), token_question=None)
    assert '<p class="asked" dir="auto">Is &lt;it&gt;?</p>' in page([e])
    caption = replace(toy_explanation(), question="What is it?")
    html = page([caption])
    assert '<p class="asked" dir="auto">What is it?</p>' in html
    assert 'data-part="0"' in html


def test_an_answer_that_the_model_does_not_know_is_a_word() -> None:
    e = replace(toy_answer(), words=(replace(toy_answer().words[0], known=False),))
    assert data_of(page([e]))["explanations"][0]["kind"] == "word"


# ---- regions -----------------------------------------------------------------------------------------------------------------


def test_regions_are_drawn_as_boxes_and_not_filled() -> None:
    e = region_explanation()
    (axis,) = [axis for axis in figure(e).axes if axis.get_title() == e.words[0].text]
    drawn, photo = np.asarray(axis.images[0].get_array()).astype(int), np.asarray(shrink(e, 480).image).astype(int)
    changed = np.abs(drawn - photo).max(axis=-1) > 8
    top, left, bottom, right = (round(share * side) for share, side in zip((0.1, 0.1, 0.5, 0.4), changed.shape * 2, strict=True))
    assert changed[top, left:right].all()
    assert changed[top:bottom, right - 1].all()
    assert not changed[top + 12 : 2 * top, left + 12 : right - 12].any()
    assert "a region" in legend(e)


def legend(e: Any) -> str:
    return " ".join(label.get_text() for axis in figure(e).axes for label in axis.get_xticklabels())


def test_the_page_has_the_boxes() -> None:
    e = region_explanation()
    (found,) = data_of(page([e]))["explanations"]
    assert found["boxes"] == [list(box) for box in e.placement.boxes]
    assert found["cell"] == "region"
    assert data_of(page([toy_explanation()]))["explanations"][0]["boxes"] == []
