import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from segeval import MetricArgumentError, ShapeMismatchError, mean_over_cases, mean_over_labels

scores = st.lists(st.floats(0, 1), min_size=2, max_size=12)


@given(scores)
def test_mean_lies_within_its_interval_and_the_interval_within_the_values(values):
    result = mean_over_cases(values, [str(i) for i in range(len(values))])
    slack = 1e-12
    assert min(values) - slack <= result.low <= result.high <= max(values) + slack
    assert result.mean == pytest.approx(np.mean(values))
    assert (result.n, result.left_out, result.patients) == (len(values), 0, len(values))


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(3).beta(8, 2, 40)
    ours = mean_over_cases(values, [str(i) for i in range(40)], resamples=20000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=1)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=2e-3)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=2e-3)


def test_two_patients_by_hand():
    """Means of resamples are 0, 1/2, 1 with probability 1/4, 1/2, 1/4, so that 30 % to 70 % is all 1/2."""
    result = mean_over_cases([0.0, 1.0], ["a", "b"])
    assert (result.mean, result.low, result.high) == (0.5, 0.0, 1.0)
    narrow = mean_over_cases([0.0, 1.0], ["a", "b"], confidence=0.4)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_patients_are_drawn_whole():
    """Ten cases of one patient tell as much as one: the interval is that of two patients."""
    values, patients = [0.0] * 10 + [1.0] * 10, ["a"] * 10 + ["b"] * 10
    grouped = mean_over_cases(values, patients)
    assert (grouped.low, grouped.high, grouped.patients, grouped.n) == (0.0, 1.0, 2, 20)
    apart = mean_over_cases(values, [str(i) for i in range(20)])
    assert apart.low > 0.2
    assert apart.high < 0.8


def test_seed_decides_the_interval():
    values, patients = np.linspace(0, 1, 15) ** 2, [str(i) for i in range(15)]
    assert mean_over_cases(values, patients, seed=7) == mean_over_cases(values, patients, seed=7)
    assert mean_over_cases(values, patients, seed=7) != mean_over_cases(values, patients, seed=8)


def test_one_patient_has_no_interval():
    result = mean_over_cases([0.5, 0.7], ["a", "a"])
    assert result.mean == pytest.approx(0.6)
    assert math.isnan(result.low)
    assert math.isnan(result.high)


def test_values_that_are_missing_are_left_out_and_counted():
    result = mean_over_cases([0.5, math.nan, 0.7], ["a", "b", "c"])
    assert result.mean == pytest.approx(0.6)
    assert (result.n, result.left_out, result.patients) == (2, 1, 2)


def test_nothing_at_all():
    result = mean_over_cases([math.nan], ["a"])
    assert math.isnan(result.mean)
    assert (result.n, result.left_out, result.patients) == (0, 1, 0)


def test_labels_weigh_the_same_however_many_cases_they_have():
    """Label means are 0.6 and 1.0 (one case), so the mean is 0.8; over values it would be (0.4+0.8+1)/3."""
    result = mean_over_labels([[0.4, math.nan], [0.8, 1.0]], ["a", "b"])
    assert result.mean == pytest.approx(0.8)
    assert (result.n, result.left_out) == (3, 1)


def test_a_label_without_values_is_left_out_of_the_mean():
    assert mean_over_labels([[0.4, math.nan], [0.8, math.nan]], ["a", "b"]).mean == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("arguments", "settings", "error"),
    [
        (([0.1, 0.2], ["a"]), {}, ShapeMismatchError),
        (([0.1], ["a"]), {"confidence": 95}, MetricArgumentError),
        (([0.1], ["a"]), {"resamples": 0}, MetricArgumentError),
    ],
)
def test_faults_are_named(arguments, settings, error):
    with pytest.raises(error, match="received"):
        mean_over_cases(*arguments, **settings)
