"""Latin square, balance of sides, checks, and what the page's source gives away."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from raters import METHODS, class_study, page_lists, reliability_study, write_lists

from multimodal_cam.humanstudy.question_lists import latin_lists


def test_a_rater_sees_each_photo_once_and_each_condition_equally_often() -> None:
    study = class_study(photos=12, checks=4)
    assert len(study.lists) == 3
    for shown in study.lists:
        asked = [study.questions[name] for name in shown if not study.questions[name].check]
        assert Counter(one.stimulus for one in asked) == {f"{i}.jpg": 1 for i in range(12)}
        assert Counter(one.question.conditions[0] for one in asked) == dict.fromkeys(METHODS, 4)
        sides = Counter((one.question.conditions[0], one.question.right) for one in asked)
        assert set(sides.values()) == {2}


def test_all_lists_together_show_each_photo_under_each_condition_once() -> None:
    study = class_study(photos=7, checks=0)
    shown = [study.questions[name] for names in study.lists for name in names]
    assert Counter((one.stimulus, one.question.conditions) for one in shown) == {
        (f"{i}.jpg", (method,)): 1 for i in range(7) for method in METHODS
    }


def test_models_stand_left_as_often_as_right() -> None:
    study = reliability_study(photos=8, checks=2)
    for shown in study.lists:
        asked = [study.questions[name] for name in shown if not study.questions[name].check]
        assert Counter(one.question.conditions[0] for one in asked) == {"strong-net": 4, "weak": 4}


def test_checks_say_what_to_choose_and_both_ends_are_right_equally_often() -> None:
    for study in (class_study(checks=8), reliability_study(checks=8)):
        checks = [one for one in study.questions.values() if one.check]
        assert len(checks) == 8
        for one in checks:
            assert f"choose “{one.question.options[one.question.right]}”" in one.question.prompt
        last = len(checks[0].question.options) - 1
        assert Counter(one.question.right for one in checks) == {0: 4, last: 4}
        assert all(sum(study.questions[name].check for name in shown) == 8 for shown in study.lists)


def test_fewer_photos_than_conditions_are_an_error() -> None:
    with pytest.raises(ValueError, match="expected at least 3 photos that can be asked about, got 2"):
        class_study(photos=2)
    with pytest.raises(ValueError, match="expected at least 1 photos that can be asked about, got 0"):
        latin_lists([], 0, 0)


# ---- blinded -----------------------------------------------------------------------------------------------------------------


def hidden(folder: Path) -> str:
    """The page's source without its pictures."""
    return re.sub(r"[A-Za-z0-9+/=]{80,}", "", (folder / "study.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("study", "task"), [(class_study, "class"), (reliability_study, "reliability")])
def test_the_source_names_no_condition_no_photo_and_no_right_answer(study, task, tmp_path: Path) -> None:
    source = hidden(write_lists(study(), tmp_path, task)).lower()
    for name in (*METHODS, "strong-net", "weak", "0.jpg", '"right":', '"check":', '"conditions"', '"stimulus"'):
        assert name not in source, name


def test_neither_ids_nor_order_of_the_source_follow_conditions(tmp_path: Path) -> None:
    """Sorted by id, neighbours are of one condition no more often than by chance."""
    study = class_study(photos=60, checks=0)
    order = [study.questions[name].question.conditions[0] for name in sorted(study.questions)]
    same = sum(one == other for one, other in zip(order, order[1:], strict=False)) / (len(order) - 1)
    assert same == pytest.approx(1 / 3, abs=0.1)
    assert all(names == sorted(names) for names in page_lists(write_lists(study, tmp_path)))


def test_the_page_forbids_itself_every_request(tmp_path: Path) -> None:
    source = (write_lists(class_study(photos=3), tmp_path) / "study.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in source
    assert not re.search(r"https?://|<link[^>]+stylesheet|<script[^>]+src", source)
    assert " style=" not in source


def test_the_same_study_has_the_same_id_and_another_one_another(tmp_path: Path) -> None:
    keys = [
        json.loads((write_lists(class_study(photos=photos), tmp_path / name) / "key.json").read_text())["study"]
        for name, photos in (("a", 6), ("b", 6), ("c", 9))
    ]
    assert keys[0] == keys[1] != keys[2]
