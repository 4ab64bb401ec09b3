import math
import time
from dataclasses import astuple

import numpy as np
import pytest

from multimodal_cam.metrics.intervals import (
    Interval,
    cluster_bootstrap,
    crossed_bootstrap,
    mean_interval,
    mean_intervals,
)


def rows(seed=0, photos=60, words=5):
    generator = np.random.default_rng(seed)
    groups = np.repeat([f"{i}.jpg" for i in range(photos)], words)
    own = np.repeat(generator.normal(size=photos), words)
    return own + generator.normal(size=len(groups)), groups


def test_two_groups_by_hand():
    """Draws are (a, a), (a, b) twice and (b, b): means 0, 3/4 and 1 with probabilities 1/4, 1/2, 1/4."""
    interval = mean_interval([0, 1, 1, 1], ["a", "b", "b", "b"], n=4000)
    assert interval == Interval(0.75, 0.0, 1.0, rows=4, groups=2)
    middle = mean_interval([0, 1, 1, 1], ["a", "b", "b", "b"], n=4000, level=0.4)
    assert (middle.low, middle.high) == (0.75, 0.75)


def test_the_fast_mean_is_the_general_bootstrap_of_the_weighted_mean():
    values, groups = rows()
    slow = cluster_bootstrap(lambda weights: float(np.average(values, weights=weights)), groups, n=200, seed=3)
    fast = mean_interval(values, groups, n=200, seed=3)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high))
    assert (fast.rows, fast.groups) == (slow.rows, slow.groups) == (300, 60)


def test_width_is_that_of_the_groups_means_not_of_the_rows():
    """With groups of one size the standard error is that of the groups' means; rows as their own groups look too sure."""
    values, groups = rows(photos=400)
    means = values.reshape(400, 5).mean(axis=1)
    expected = 2 * 1.96 * means.std() / math.sqrt(400)
    interval = mean_interval(values, groups, n=2000)
    assert interval.high - interval.low == pytest.approx(expected, rel=0.08)
    alone = mean_interval(values, np.arange(len(values)), n=2000)
    assert alone.high - alone.low < 0.8 * expected


def test_paired_difference_leaves_rows_out_that_either_lacks():
    a, b = np.array([1.0, math.nan, 3.0, 5.0]), np.array([0.0, 9.0, math.nan, 2.0])
    interval = mean_interval(a - b, [0, 0, 1, 2])
    assert interval.value == pytest.approx(2.0)
    assert (interval.rows, interval.groups) == (2, 2)
    assert interval.excludes(0)
    assert not interval.excludes(1)


def test_columns_share_their_draws_and_leave_nan_out_each_for_itself():
    values, groups = rows()
    holes = np.where(np.arange(len(values)) % 3 == 0, np.nan, values)
    both = mean_intervals({"all": values, "some": holes}, groups, n=100)
    for name, column in (("all", values), ("some", holes)):
        assert astuple(both[name]) == pytest.approx(astuple(mean_interval(column, groups, n=100)))
        assert both[name].value == pytest.approx(np.nanmean(column))


def test_without_groups_to_draw_there_is_no_interval():
    one = mean_interval([1.0, 2.0], ["a", "a"])
    assert one.value == 1.5
    assert math.isnan(one.low)
    assert not one.excludes(0)
    none = mean_interval([math.nan, math.nan], ["a", "b"])
    assert math.isnan(none.value)
    assert (none.rows, none.groups) == (0, 0)


def test_a_split_that_few_photos_have_leaves_out_the_draws_without_it():
    values = [1.0, 2.0] + [math.nan] * 8
    interval = mean_interval(values, range(10), n=500)
    assert (interval.low, interval.value, interval.high) == (1.0, 1.5, 2.0)


def test_the_same_seed_gives_the_same_interval_and_another_another():
    values, groups = rows()
    assert mean_interval(values, groups, seed=1) == mean_interval(values, groups, seed=1)
    assert mean_interval(values, groups, seed=1) != mean_interval(values, groups, seed=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0], [0, 1]), "mean: 1 values for 2 rows"),
        (lambda: mean_interval([[1.0]], [0]), r"got shape \(1, 1\)"),
        (lambda: mean_interval([], []), "expected one for each row"),
        (lambda: mean_interval([1.0, 2.0], [0, 1], level=95), "between 0 and 1"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_hundred_thousand_rows_take_a_moment():
    values = np.random.default_rng(0).normal(size=(10, 100_000))
    photos = np.arange(100_000) // 12
    start = time.perf_counter()
    mean_intervals({str(i): column for i, column in enumerate(values)}, photos)
    assert time.perf_counter() - start < 5  # 0.4 s alone


def test_crossed_groups_are_both_drawn():
    """Values that differ by row group and by column group: the variance of the mean is the sum of both groups' variances."""
    generator = np.random.default_rng(0)
    raters, photos = generator.normal(size=30), generator.normal(size=40)
    values = (raters[:, None] + photos).ravel()
    rows, columns = np.repeat(np.arange(30), 40), np.tile(np.arange(40), 30)

    def mean(weights):
        return float(weights @ values / weights.sum())

    interval = crossed_bootstrap(mean, rows, columns, n=600)
    expected = 2 * 1.96 * math.sqrt(raters.var() / 30 + photos.var() / 40)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(expected, rel=0.15)
    assert (interval.rows, interval.groups) == (1200, 30)


def test_a_single_rater_is_kept_and_photos_are_drawn():
    values = np.array([0.0, 1.0, 1.0, 0.0])
    one = crossed_bootstrap(lambda weights: float(weights @ values / weights.sum()), ["r"] * 4, list("abcd"), n=200)
    assert one.low < 0.5 < one.high
    assert one.groups == 1
    alone = crossed_bootstrap(lambda weights: float(weights.sum()), ["r"], ["a"], n=5)
    assert math.isnan(alone.low)
    with pytest.raises(ValueError, match="columns: 1 names for 2 rows"):
        crossed_bootstrap(lambda weights: 0.0, ["r", "s"], ["a"])
