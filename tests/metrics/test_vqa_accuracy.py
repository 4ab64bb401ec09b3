"""metrics/vqa_accuracy.py: figures by hand, against leaving people out one by one, and VQA's way of writing answers."""

from __future__ import annotations

import pytest

from multimodal_cam.metrics.vqa_accuracy import exact_accuracy, normalise_answer, soft_accuracy


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Yes", "yes"),
        (" yes!\n", "yes"),
        ("The two dogs.", "2 dogs"),
        ("none", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("an apple\tand a pear", "apple and pear"),
        ("red/white", "red white"),  # a mark between words parts them
        ("red / white", "red white"),
        ("t-shirt - blue", "tshirt blue"),  # the same mark stands beside a blank elsewhere: it goes without a trace
        ("100,978", "100978"),
        ("1,000 red-brown", "1000 redbrown"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("U.S.A", "usa"),
        ("2:50 pm", "2:50 pm"),
        ("girl's", "girl's"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldntve", "couldntve"),
        ("oclock", "o'clock"),
        ("wed", "wed"),  # not we'd
        ("lets", "lets"),
        ("The", ""),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalise_answer(text) == normal
    assert normalise_answer(normal) == normal


@pytest.mark.parametrize(("same", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_soft_accuracy_of_ten_people(same: int, score: float) -> None:
    """Three of ten: without one of the three 2/3, in the seven other cases 1: (3 * 2/3 + 7) / 10 = 0.9."""
    assert soft_accuracy("cat", ["cat"] * same + ["dog"] * (10 - same)) == pytest.approx(score)


@pytest.mark.parametrize("people", [4, 5, 10])
def test_soft_accuracy_is_the_mean_over_leaving_one_out(people: int) -> None:
    for same in range(people + 1):
        answers = ["cat"] * same + [f"dog {n}" for n in range(people - same)]
        left = [answers[:n] + answers[n + 1 :] for n in range(people)]
        slowly = sum(min(others.count("cat") / 3, 1) for others in left) / people
        assert soft_accuracy("cat", answers) == pytest.approx(slowly)


def test_both_sides_are_normalised_also_where_people_agree() -> None:
    assert soft_accuracy("2", ["two"] * 5 + ["Two."] * 5) == 1
    assert soft_accuracy("Yes.", ["yes"] * 10) == 1


@pytest.mark.parametrize("answers", [[], ["yes"] * 3, "yes yes"])
def test_too_few_people(answers: list[str] | str) -> None:
    with pytest.raises(ValueError, match="4 people or more"):
        soft_accuracy("yes", answers)


def test_exact_accuracy() -> None:
    assert exact_accuracy("A dog", "dog") == 1.0
    assert exact_accuracy("dog", "dogs") == 0.0
