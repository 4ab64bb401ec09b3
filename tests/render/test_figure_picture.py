"""The figure as a PNG file, and the texts on it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toys import ANSWERS, hot_cell, region_explanation, toy_answer, toy_explanation

from multimodal_cam.render import figure_picture, text_writer
from multimodal_cam.render.figure_picture import figure_png
from multimodal_cam.render.text_writer import TextWriter


def picture(explanation: Any, **options: Any) -> np.ndarray:
    with Image.open(io.BytesIO(figure_png(explanation, **options)), formats=("PNG",)) as drawn:
        assert drawn.mode == "RGB"
        return np.asarray(drawn).astype(int)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are written."""
    written: list[str] = []
    write = TextWriter.write
    monkeypatch.setattr(
        TextWriter, "write", lambda self, canvas, text, *how: (written.append(text), write(self, canvas, text, *how))
    )
    return written


def panels_of(drawn: np.ndarray, count: int, photo: tuple[int, int]) -> list[np.ndarray]:
    """The pictures of the first row, found by where a photo of one colour begins and ends."""
    grey = np.abs(drawn - np.array([110, 120, 130])).max(axis=-1) < 3
    top, left = np.argwhere(grey)[0]
    step = figure_picture.PHOTO + figure_picture.GAP
    return [drawn[top : top + photo[1], left + i * step : left + i * step + photo[0]] for i in range(count)]


def test_it_has_the_photo_and_an_overlay_per_word(said: list[str]) -> None:
    e = toy_explanation("one two $x$")
    photo, *overlays = panels_of(picture(e), 4, (216, 162))
    for i, overlay in enumerate(overlays):
        difference = np.abs(overlay - photo).sum(axis=-1)
        row, column = np.unravel_index(difference.argmax(), difference.shape)
        assert (row * 14 // 162, column * 14 // 216) == hot_cell(i)
    assert said[:3] == ["one two $x$", "photo", ""]
    assert {"one", "two", "$x$", "0", "1.2 nats a cell", "toy · evidence of log_prob · layer features"} <= set(said)
    assert sum(text.endswith(" nats") for text in said) == 3


def test_it_has_an_overlay_per_answer_and_the_questions_words(said: list[str]) -> None:
    picture(toy_answer("blue"))
    assert {*ANSWERS, "55 %", "colour", "−0.50", "+0.20, unknown", "1.5 logit a cell"} <= set(said)
    assert "what each word adds to the score of “blue”, in logits" in said
    assert "“blue” was asked for: the model’s own answer is “brown”." in said


@pytest.mark.parametrize("size", [(1, 1), (3000, 40), (40, 3000)])
def test_extreme_photos(size: tuple[int, int]) -> None:
    drawn = picture(toy_explanation("a cat", Image.new("RGB", size)), scale="word")
    assert drawn.shape[0] < 600
    assert drawn.shape[1] > 400


def test_regions_are_drawn_as_boxes(said: list[str]) -> None:
    photo, first, *_ = panels_of(picture(region_explanation()), 2, (216, 162))
    changed = np.abs(first - photo).max(axis=-1) > 8
    assert changed[16, 22:86].all()
    assert not changed[30:44, 36:58].any()
    assert "1.3 nats a region" in said


def test_plain_texts_and_shaped_ones_stand_on_one_line_in_one_size() -> None:
    """Pillow and matplotlib draw the same letters at the same place."""
    writer, ink = TextWriter(["Haus", "كلب"]), []
    for plain in (text_writer.PLAIN, text_writer.re.compile("x")):
        canvas = Image.new("L", (90, 40), 255)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text_writer, "PLAIN", plain)
            writer.write(canvas, "Haus", (45, 28), 20, "black")
        rows, columns = np.nonzero(np.asarray(canvas) < 128)
        ink.append((rows.min(), rows.max(), columns.min(), columns.max()))
    assert np.abs(np.subtract(*ink)).max() <= 1
    assert abs(ink[0][1] - 27) <= 1


def test_arabic_is_joined_and_written_from_right_to_left() -> None:
    texts = ["كلب", "\u0643\u200c\u0644\u200c\u0628"]  # the same letters, kept apart
    writer = TextWriter(texts)
    joined, apart = (writer.width(text, 40) for text in texts)
    assert joined < 0.95 * apart
    starts = []
    for text in ("וi.", "i.ו"):  # what is Hebrew at its start is read from the right
        canvas = Image.new("L", (60, 50), 255)
        writer.write(canvas, text, (30, 40), 30, "black")
        starts.append(np.asarray(canvas))
    assert not np.array_equal(*starts)


def test_texts_are_wrapped_and_shortened_to_pixels() -> None:
    long = "a dog runs over the wet green summer grass"
    writer = TextWriter([long])
    lines = writer.wrapped(long, 17, 150)
    assert " ".join(lines) == long
    assert len(lines) > 2
    assert all(writer.width(line, 17) <= 150 for line in lines)
    assert writer.wrapped("", 17, 150) == [""]
    assert writer.shortened(long, 17, 150).endswith("…")
    assert writer.width(writer.shortened(long, 17, 150), 17) <= 150
    assert writer.shortened("dog", 17, 150) == "dog"
    assert "".join(writer.wrapped("x" * 99, 17, 150)) == "x" * 99
    assert all(writer.width(line, 17) <= 150 for line in writer.wrapped("x" * 99, 17, 150))


def test_what_no_font_has_is_a_sign_and_said_once(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match="no font here has") as warned:
        picture(toy_explanation("a \U0001f1eb\U0001f1f7 dog \U000f1234"))
    assert len(warned) == 1
