import math
import time

import numpy as np
import pytest

from multimodal_cam.metrics.calibration import (
    auroc,
    auroc_difference,
    auroc_interval,
    auroc_within,
    auroc_within_interval,
    expected_calibration_error,
    reliability_curve,
    reliability_intervals,
)
from multimodal_cam.metrics.intervals import cluster_bootstrap, mean_interval


def rows(n=400, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=n).round(1)  # with ties
    return scores, generator.random(n) < 1 / (1 + np.exp(-scores)), np.arange(n) // 4


def test_auroc_by_hand():
    """Pairs (true, false): 3 > 1, 3 > 2, 2 > 1 and 2 = 2, a half: 3.5 of 4."""
    assert auroc([1, 2, 2, 3], [False, True, False, True]) == 3.5 / 4


def test_auroc_at_its_ends():
    assert auroc([0, 1], [0, 1]) == 1
    assert auroc([1, 0], [0, 1]) == 0
    assert auroc([1, 1, 1], [0, 1, 0]) == 0.5
    assert math.isnan(auroc([1, 2], [1, 1]))


def test_auroc_equals_scipy_and_scikit_learn():
    stats, metrics = pytest.importorskip("scipy.stats"), pytest.importorskip("sklearn.metrics")
    scores, labels, _ = rows()
    u = stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert auroc(scores, labels) == pytest.approx(u / (labels.sum() * (~labels).sum()), abs=1e-12)
    assert auroc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_the_interval_is_that_of_repeated_rows():
    """A photo that is drawn twice counts as if its rows stood there twice."""
    scores, labels, photos = rows(80)

    def repeated(weights):
        often = weights.astype(int)
        return auroc(scores.repeat(often), labels.repeat(often))

    fast, slow = auroc_interval(scores, labels, photos, n=50), cluster_bootstrap(repeated, photos, n=50)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high))
    assert fast.low < fast.value < fast.high
    assert fast.groups == 20


def test_curve_by_hand():
    low, high = reliability_curve([1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 1, 1], bins=2)
    assert (low.low, low.high, low.score, low.rate, low.rows) == (1, 3, 2, pytest.approx(1 / 3), 3)
    assert (high.low, high.high, high.score, high.rate, high.rows) == (4, 6, 5, pytest.approx(2 / 3), 3)


def test_curve_never_parts_equal_scores_and_loses_no_row():
    scores, labels, _ = rows()
    found = reliability_curve(scores, labels)
    assert sum(b.rows for b in found) == len(scores)
    assert sum(b.rows * b.rate for b in found) == pytest.approx(labels.sum())
    assert all(a.high < b.low for a, b in zip(found, found[1:], strict=False))
    assert found[-1].rate > found[0].rate
    assert [b.rows for b in reliability_curve([0, 0, 0, 0, 1], [0, 1, 0, 1, 1], bins=5)] == [4, 1]
    assert [b.rows for b in reliability_curve([7, 7, 7], [0, 1, 0])] == [3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auroc([1, math.nan], [0, 1]), "hold NaN"),
        (lambda: auroc([1, 2], [0]), r"shapes \(2,\) and \(1,\)"),
        (lambda: reliability_curve([], []), "each row"),
        (lambda: reliability_curve([1, 2], [0, 1], bins=0), "1 or more"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_hundred_thousand_rows_take_a_moment():
    scores, labels, photos = rows(100_000)
    start = time.perf_counter()
    auroc_interval(scores, labels, photos, n=100)
    assert time.perf_counter() - start < 5  # 0.3 s alone


def test_the_difference_is_paired():
    scores, labels, photos = rows()
    same = auroc_difference(scores, 2 * scores, labels, photos, n=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    noise = np.random.default_rng(1).normal(size=len(scores))
    found = auroc_difference(scores, noise, labels, photos, n=200)
    assert found.value == pytest.approx(auroc(scores, labels) - auroc(noise, labels))
    assert found.excludes(0)


def test_the_curves_intervals_are_those_of_its_rates():
    scores, labels, photos = rows()
    found, bins = reliability_intervals(scores, labels, photos, bins=4), reliability_curve(scores, labels, bins=4)
    assert [i.value for i in found] == pytest.approx([b.rate for b in bins])
    assert [i.rows for i in found] == [b.rows for b in bins]
    lowest = scores <= bins[0].high
    assert found[0] == mean_interval(np.where(lowest, labels, np.nan), photos)


def test_auroc_within_bins_counts_only_pairs_of_a_bin():
    # bin a: true 2 above false 1 -> 1 of 1 pair; bin b: true 5 between false 4 and 6 -> 1 of 2; over all: 2, 5 against 1, 4, 6
    scores, labels, bins = [2, 1, 5, 4, 6], [1, 0, 1, 0, 0], ["a", "a", "b", "b", "b"]
    assert auroc_within(scores, labels, bins) == pytest.approx(2 / 3)
    assert auroc(scores, labels) == pytest.approx(3 / 6)
    assert np.isnan(auroc_within([1, 2], [1, 0], ["a", "b"]))
    with pytest.raises(ValueError, match="bins: expected one for each of 2 rows"):
        auroc_within([1, 2], [1, 0], ["a"])


def test_a_number_that_only_knows_the_bin_is_chance_within_bins():
    bins = np.repeat([0, 1, 2], 40)
    labels = np.concatenate([np.arange(40) < n for n in (5, 20, 35)])
    assert auroc(bins, labels) > 0.8
    interval = auroc_within_interval(bins, labels, bins, np.arange(120), n=50)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.5, 0.5)


def test_expected_calibration_error_by_hand():
    # two bins of a half: (.2, .4) mean .3, right 0 -> gap .3; (.8, .6) mean .7, right 1 -> gap .3; together .3
    assert expected_calibration_error([0.2, 0.4, 0.8, 0.6], [0, 0, 1, 1], bins=2) == pytest.approx(0.3)
    # an edge belongs to the bin below: .5 is with .1; mean .3, right 1/2 -> .2 for two rows; .9 alone, right -> .1
    assert expected_calibration_error([0.5, 0.1, 0.9], [1, 0, 1], bins=2) == pytest.approx((2 * 0.2 + 0.1) / 3)
    assert expected_calibration_error([0.0, 1.0], [0, 1]) == 0
    with pytest.raises(ValueError, match="probabilities in 0..1, got numbers from 0.5 to 2"):
        expected_calibration_error([0.5, 2], [0, 1])
