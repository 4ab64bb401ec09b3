"""Krippendorff's alpha: his own example, cases by hand, planted raters."""

import math

import numpy as np
import pytest

from multimodal_cam.metrics.rater_agreement import krippendorff_alpha

NONE = math.nan
EXAMPLE = [  # four raters, twelve units: Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, section D
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
    [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
]


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_example(scale, alpha):
    values = np.array(EXAMPLE)
    units = np.tile(np.arange(values.shape[1]), len(values))
    assert krippendorff_alpha(values.ravel(), units, scale) == pytest.approx(alpha, abs=0.0006)


def test_by_hand():
    """Units (0, 0), (1, 1), (0, 1): two of six coincidences differ, by chance 2 * 3 * 3 / 5 of 6 do."""
    assert krippendorff_alpha([0, 0, 1, 1, 0, 1], list("aabbcc")) == pytest.approx(1 - 2 / (18 / 5))


def test_agreement_chance_and_opposition():
    generator = np.random.default_rng(0)
    truth, units = generator.integers(2, size=2000), np.arange(2000)
    twice = np.tile(units, 2)
    assert krippendorff_alpha(np.tile(truth, 2), twice) == 1
    assert krippendorff_alpha(generator.integers(2, size=4000), twice) == pytest.approx(0, abs=0.05)
    assert krippendorff_alpha(np.concatenate([truth, 1 - truth]), twice) == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize("values", [[], [1, 2, 3], [1, 1, NONE], [2, 2, 2]])
def test_where_nothing_can_be_said_it_is_nan(values):
    assert math.isnan(krippendorff_alpha(values, [0, 0, 1][: len(values)] if values == [2, 2, 2] else list(range(len(values)))))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"unknown scale 'ratio'; choose from nominal"):
        krippendorff_alpha([1, 2], [0, 0], "ratio")
    with pytest.raises(ValueError, match=r"one unit for each value, got shapes \(2,\) and \(3,\)"):
        krippendorff_alpha([1, 2], [0, 0, 0])
