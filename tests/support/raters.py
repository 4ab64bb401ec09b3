"""Small studies with people without a model, and planted raters that answer them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from multimodal_cam.humanstudy.question_lists import QuestionLists, key_data, latin_lists, page_data
from multimodal_cam.humanstudy.rater_questions import RaterQuestion, Stimulus
from multimodal_cam.render.rating_page import rating_page

METHODS = ("grad_cam", "guided_backprop", "zebra-cam")
THINGS = ("dog", "ball", "grass", "boat")
RATINGS = ("A clearly more", "A slightly more", "Both alike", "B slightly more", "B clearly more")


def plain_picture(number: int, condition: str, size: tuple[int, int] = (320, 240)) -> bytes:
    """A JPEG file that differs by number and condition."""
    image = Image.new("RGB", size, (70 + 13 * number % 150, 110, 140))
    at = 20 + 40 * (len(condition) % 5)
    ImageDraw.Draw(image).ellipse((at, 40 + number, at + 120, 160 + number), fill=(250, 180, 40))
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


def class_study(photos: int = 12, checks: int = 8) -> QuestionLists:
    """Which of two things, under `METHODS`; the right one stands left for as many photos as right."""
    stimuli = []
    for i in range(photos):
        shown, other = THINGS[i % 4], THINGS[(i + 1) % 4]
        right = i // len(METHODS) % 2
        options = (shown, other) if right == 0 else (other, shown)
        stimuli.append(
            Stimulus(
                f"{i}.jpg",
                tuple(RaterQuestion("What do the colours show?", (plain_picture(i, m),), options, (m,), right) for m in METHODS),
            )
        )
    return latin_lists(stimuli, checks, seed=0)


def reliability_study(photos: int = 8, checks: int = 8) -> QuestionLists:
    """Which of two models is more reliable."""
    stimuli = []
    for i in range(photos):
        pictures = {name: plain_picture(i, name) for name in ("strong-net", "weak")}
        orders = (("strong-net", "weak"), ("weak", "strong-net"))
        prompt = "A and B both said “a dog”. Which is more reliable, by what it looked at?"
        variants = tuple(RaterQuestion(prompt, (pictures[a], pictures[b]), RATINGS, (a, b)) for a, b in orders)
        stimuli.append(Stimulus(f"{i}.jpg", variants))
    return latin_lists(stimuli, checks, seed=0)


def write_lists(lists: QuestionLists, folder: Path, task: str = "class") -> Path:
    """Page and key as `write_study` writes them; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    data = page_data("Which of two things?", lists)
    conditions = METHODS if task == "class" else ("strong-net", "weak")
    (folder / "key.json").write_text(json.dumps(key_data(task, conditions, lists, data["study"])))
    (folder / "study.html").write_text(rating_page(data, "Say which of two things the colours show."), encoding="utf-8")
    return folder


Choose = Callable[[str, dict[str, Any]], int]  # question's id and what the key says of it -> index of an option


def saved_answers(folder: Path, rater: int, choose: Choose, out: Path | None = None) -> Path:
    """The file that a rater would save who chooses so, everything answered in two seconds a question."""
    key = json.loads((folder / "key.json").read_text())
    lists = page_lists(folder)
    turned = (rater - 1) // len(lists) % 2
    answers = []
    for name in lists[(rater - 1) % len(lists)]:
        question = key["questions"][name]
        choice, count = choose(name, question), len(question["options"])
        position = count - 1 - choice if turned and count == 2 else choice
        answers.append({"question": name, "choice": choice, "position": position, "milliseconds": 2000})
    file = (out or folder) / f"answers-{rater}.json"
    file.write_text(json.dumps({"format": 1, "study": key["study"], "rater": rater, "answers": answers}))
    return file


def source_of(folder: Path) -> dict[str, Any]:
    """What the page knows."""
    source = (folder / "study.html").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(source.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    return data


def page_lists(folder: Path) -> list[list[str]]:
    lists: list[list[str]] = source_of(folder)["lists"]
    return lists


def perfect(name: str, question: dict[str, Any]) -> int:
    return int(question["right"])


def guessing(seed: int) -> Choose:
    chance = random.Random(seed)
    return lambda name, question: chance.randrange(len(question["options"]))
