"""Scores of a study with people: accuracy or mean reliability of each condition, agreement, and which raters count.

Reliability is that of Selvaraju et al., ICCV 2017, section 5.2: +2 for a model that seems clearly more reliable than the other,
+1 slightly, 0 both alike, -1 and -2 for the other one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..metrics.intervals import Interval, crossed_bootstrap
from ..metrics.rater_agreement import RatingScale, krippendorff_alpha
from .answer_files import RaterAnswer, RaterAnswers
from .study_key import COMPARISONS, StudyKey

PASS = 0.8  # share of right answers to attention checks
FIRST = 2  # rating of the first picture when it is clearly more reliable; each further option is one less

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RaterReport:
    """How a rater answered.

    Attributes:
        checks: Attention checks answered, of `all_checks`; `passed` of them rightly.
        accuracy: Share of right answers to the other questions; NaN where the task knows no right ones.
        leftmost: Share of answers that stood leftmost on the screen.
        left_out: Why the rater does not count; empty for one that does.
    """

    rater: int
    answers: int
    checks: int
    all_checks: int
    passed: int
    accuracy: float
    leftmost: float
    left_out: str


@dataclass(frozen=True)
class ConditionScore:
    """Mean of a condition with its interval over raters and photos; Krippendorff's alpha; median seconds of an answer."""

    condition: str
    mean: Interval
    alpha: float
    seconds: float


@dataclass(frozen=True)
class StudyScores:
    """Scores of a study; `measure` is accuracy or reliability, `differences` are of the means of two conditions."""

    measure: str
    conditions: tuple[ConditionScore, ...]
    differences: tuple[tuple[str, str, Interval], ...]
    alpha: float
    raters: tuple[RaterReport, ...]


@dataclass(frozen=True)
class _Row:
    """What an answer says of one condition; raters agree who give one `unit` one `rating`."""

    condition: str
    value: float
    rater: int
    stimulus: str
    unit: str
    rating: float
    seconds: float


def score_answers(key: StudyKey, answers: Sequence[RaterAnswers], *, share: float = PASS, seed: int = 0) -> StudyScores:
    """Scores of all raters that answer at least `share` of their attention checks rightly, of whom half must be answered.

    Raises ValueError where no rater counts.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share of checks: expected a number from 0 to 1, got {share}")
    reports = tuple(_report(key, one, share) for one in answers)
    counted = [one for one, report in zip(answers, reports, strict=True) if not report.left_out]
    rows = [row for one in counted for answer in one.answers for row in _rows(key, one.rater, answer)]
    if not rows:
        reasons = "; ".join(f"rater {report.rater}: {report.left_out or 'no answer'}" for report in reports)
        raise ValueError(f"no rater is left to be scored: {reasons}")
    table = _Table(rows, "ordinal" if key.task == COMPARISONS else "nominal", seed)
    seen = [condition for condition in key.conditions if any(row.condition == condition for row in rows)]
    pairs: list[tuple[str, str]] = [] if key.task == COMPARISONS and len(seen) == 2 else list(combinations(seen, 2))
    return StudyScores(
        "reliability" if key.task == COMPARISONS else "accuracy",
        tuple(table.score(condition) for condition in seen),
        tuple((one, other, table.difference(one, other)) for one, other in pairs),
        table.alpha(None),
        reports,
    )


class _Table:
    """The rows of all raters that count, by column."""

    def __init__(self, rows: Sequence[_Row], scale: RatingScale, seed: int) -> None:
        self.rows, self.scale, self.seed = rows, scale, seed
        self.values = np.array([row.value for row in rows])
        self.conditions = np.array([row.condition for row in rows])

    def score(self, condition: str) -> ConditionScore:
        own = [row for row in self.rows if row.condition == condition]
        mean = _bootstrap(own, _mean(np.array([row.value for row in own])), self.seed)
        return ConditionScore(condition, mean, self.alpha(condition), float(np.median([row.seconds for row in own])))

    def difference(self, one: str, other: str) -> Interval:
        first, second = self.conditions == one, self.conditions == other

        def statistic(weights: Floats) -> float:
            return _mean(self.values)(weights * first) - _mean(self.values)(weights * second)

        return _bootstrap(self.rows, statistic, self.seed)

    def alpha(self, condition: str | None) -> float:
        """Agreement about a condition, or about all; each answer counts once."""
        once = {(row.rater, row.unit): row for row in self.rows if condition in (None, row.condition)}
        return krippendorff_alpha([row.rating for row in once.values()], [row.unit for row in once.values()], self.scale)


def _bootstrap(rows: Sequence[_Row], statistic: Callable[[Floats], float], seed: int) -> Interval:
    return crossed_bootstrap(statistic, [row.rater for row in rows], [row.stimulus for row in rows], seed=seed)


def _mean(values: Floats) -> Callable[[Floats], float]:
    """The mean of values by weights; NaN where all weights are 0."""
    return lambda weights: float(weights @ values / weights.sum()) if weights.sum() else math.nan


def _rows(key: StudyKey, rater: int, answer: RaterAnswer) -> list[_Row]:
    """What an answer says: of one condition whether it is right, or of two by how much each seems more reliable."""
    question, seconds = key.questions[answer.question], answer.milliseconds / 1000
    if question.check:
        return []
    if key.task != COMPARISONS:
        right = float(answer.choice == question.right)
        (condition,) = question.conditions
        return [_Row(condition, right, rater, question.stimulus, answer.question, answer.choice, seconds)]
    first, second = question.conditions
    value = float(FIRST - answer.choice)
    rating = value if first < second else -value
    unit = f"{question.stimulus}: {' and '.join(sorted(question.conditions))}"
    return [
        _Row(condition, sign * value, rater, question.stimulus, unit, rating, seconds)
        for condition, sign in ((first, 1), (second, -1))
    ]


def _report(key: StudyKey, one: RaterAnswers, share: float) -> RaterReport:
    checks = [answer for answer in one.answers if key.questions[answer.question].check]
    others = [answer for answer in one.answers if not key.questions[answer.question].check]
    passed = sum(answer.choice == key.questions[answer.question].right for answer in checks)
    right = [answer.choice == key.questions[answer.question].right for answer in others if key.task != COMPARISONS]
    all_checks = sum(question.check for question in key.questions.values())
    left_out = ""
    if not others:
        left_out = "no question is answered"
    elif len(checks) < all_checks / 2:
        left_out = f"only {len(checks)} of {all_checks} attention checks are answered"
    elif passed < share * len(checks):
        left_out = f"{passed} of {len(checks)} attention checks are right"
    return RaterReport(
        one.rater,
        len(others),
        len(checks),
        all_checks,
        passed,
        float(np.mean(right)) if right else math.nan,
        float(np.mean([answer.position == 0 for answer in one.answers])) if one.answers else math.nan,
        left_out,
    )
