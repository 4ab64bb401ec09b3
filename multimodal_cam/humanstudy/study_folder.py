"""The folder of a study with people: `study.html` for the raters, `key.json` for whoever scores their answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.publication import new_folder
from ..render.rating_page import rating_page
from .question_lists import key_data, latin_lists, page_data
from .rater_tasks import PHOTO_ALONE, TASKS, StudySource
from .study_key import KEY

KIND = "human study"
PAGE = "study.html"


@dataclass(frozen=True)
class WrittenStudy:
    """What was written, and how large it is: `photos` stimuli under `conditions`, `questions` for each rater in `lists` lists."""

    path: Path
    conditions: tuple[str, ...]
    photos: int
    questions: int
    lists: int
    left_out: Mapping[str, int]


def write_study(task: str, source: StudySource, folder: Path, *, checks: int = 8, overwrite: bool = False) -> WrittenStudy:
    """Write page and key of `task` (a name of `TASKS`), whole or not at all.

    Args:
        checks: Attention checks of each rater.

    Raises:
        ValueError: Nothing can be asked about the photos, or about fewer than there are conditions.
        FileExistsError: `folder` holds something; with `overwrite`: something that is no study of ours.
    """
    stimuli = list(TASKS[task].make(source))
    if not stimuli:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in source.left_out.items())
        raise ValueError(f"none of the photos can be asked about: {reasons or 'no photo was given'}")
    lists = latin_lists(stimuli, checks, source.seed)
    data = page_data(TASKS[task].title, lists)
    conditions = (*source.conditions, *([PHOTO_ALONE] if source.photo_alone else []))
    key = key_data(task, conditions, lists, data["study"])
    with new_folder(folder, KIND, overwrite=overwrite) as new:
        (new.draft / PAGE).write_text(rating_page(data, TASKS[task].lead), encoding="utf-8")
        (new.draft / KEY).write_text(json.dumps(key, indent=1, ensure_ascii=False), encoding="utf-8")
    return WrittenStudy(new.path, conditions, len(stimuli), len(lists.lists[0]), len(lists.lists), dict(source.left_out))
