"""Balanced logistic regression, against cases worked out by hand."""

import numpy as np
import pytest

from multimodal_cam.metrics.logistic import fit_logistic


def test_one_binary_column_gives_the_odds_of_the_balanced_classes():
    # of 8 true rows 6 have a 1, of 4 false rows 1: balanced, p(1 | true) = 3/4 and p(1 | false) = 1/4, so odds 3 and 1/3
    values = np.array([1] * 6 + [0] * 2 + [1] + [0] * 3, dtype=float)[:, None]
    fit = fit_logistic(values, [True] * 8 + [False] * 4, ["x"], ridge=0)
    np.testing.assert_allclose(fit.log_odds([[1.0], [0.0]]), [np.log(3), -np.log(3)], atol=1e-3)
    np.testing.assert_allclose(fit.probabilities([[1.0], [0.0]]), [0.75, 0.25], atol=1e-3)


def test_a_column_that_says_nothing_gets_no_weight():
    x = np.tile([0.0, 1.0, 2.0, 3.0], 10)
    fit = fit_logistic(np.stack([x, np.zeros(40)], axis=1), x >= 2, ["x", "constant"], ridge=0.1)
    assert fit.coefficients[0] > 0.5
    assert abs(fit.coefficients[1]) < 1e-9
    assert fit.deviations[1] == 1


def test_the_direction_of_two_columns():
    random = np.random.default_rng(0)
    rows = random.normal(size=(4000, 2))
    labels = random.random(4000) < 1 / (1 + np.exp(-(2 * rows[:, 0] - rows[:, 1])))
    first, second = fit_logistic(rows, labels, ["a", "b"]).coefficients
    assert first == pytest.approx(2, abs=0.25)
    assert second == pytest.approx(-1, abs=0.2)


@pytest.mark.parametrize(
    ("rows", "labels", "line"),
    [
        ([[1.0], [2.0]], [True, True], "true and false rows, got 2 that are all the same"),
        ([[1.0], [np.nan]], [True, False], "NaN"),
        ([[1.0, 2.0]], [True], r"1 numbers for each row, got shapes \(1, 2\)"),
    ],
)
def test_what_cannot_be_fitted(rows, labels, line):
    with pytest.raises(ValueError, match=line):
        fit_logistic(rows, labels, ["x"])
