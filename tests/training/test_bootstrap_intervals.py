"""Bootstrap intervals: against the normal interval, paired, and with users who have no value."""

import math

import numpy as np
import pytest

from training.bootstrap_intervals import Interval, bootstrap_intervals


def test_an_interval_contains_the_mean_shrinks_with_more_users_and_is_reproducible() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.1, 1, (50, 1)), rng.normal(0.1, 1, (5000, 1))
    (narrow,), (wide,) = bootstrap_intervals(many, seed=1), bootstrap_intervals(few, seed=1)
    assert wide.mean == pytest.approx(few.mean())
    assert wide.low < wide.mean < wide.high
    assert narrow.high - narrow.low < (wide.high - wide.low) / 5
    # The bootstrap interval is close to the normal one, mean +- 1.96 standard errors.
    assert narrow.high - narrow.mean == pytest.approx(1.96 * many.std() / math.sqrt(5000), rel=0.1)
    assert bootstrap_intervals(few, seed=1) == [wide]


def test_a_true_mean_is_outside_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(3)
    missed = [
        not interval.low <= 0.5 <= interval.high
        for trial in range(100)
        for interval in bootstrap_intervals(rng.random((60, 2)), seed=trial, draws=400, level=0.8)
    ]
    assert np.mean(missed) == pytest.approx(0.2, abs=0.06)


def test_columns_are_independent_and_users_without_a_value_do_not_count() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((300, 2))
    values[100:, 1] = np.nan
    both = bootstrap_intervals(values, seed=4)
    assert bootstrap_intervals(values[:, :1], seed=4) == both[:1]
    (single,) = bootstrap_intervals(values[:100, 1:], seed=4)
    assert both[1].mean == pytest.approx(single.mean)
    assert both[1].high - both[1].low == pytest.approx(single.high - single.low, rel=0.1)


def test_a_column_without_values_has_no_interval() -> None:
    (interval,) = bootstrap_intervals(np.full((3, 1), np.nan), seed=0)
    assert all(math.isnan(value) for value in (interval.low, interval.mean, interval.high))


def test_the_text_of_an_interval_has_signs() -> None:
    assert str(Interval(-0.01, 0.02, 0.05)) == "+0.0200 [-0.0100, +0.0500]"
