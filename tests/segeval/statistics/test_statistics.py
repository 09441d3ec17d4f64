import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from segeval import MetricArgumentError, ShapeMismatchError, mean_over_cases, mean_over_labels
from segeval.statistics import bootstrap_weights, interval_of

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


def test_an_infinite_value_makes_the_mean_infinite_and_no_end_nan():
    """One of 3 patients is infinite: of the resamples (2/3)^3 = 30 % lack it, so only the upper end is inf."""
    result = mean_over_cases([1.0, 2.0, math.inf], ["a", "b", "c"])
    assert (result.mean, result.n, result.left_out) == (math.inf, 3, 0)
    assert 1.0 <= result.low <= 2.0
    assert result.high == math.inf


def test_infinities_of_both_signs_have_no_mean():
    result = mean_over_cases([math.inf, -math.inf, 1.0], ["a", "b", "c"])
    assert math.isnan(result.mean) and math.isnan(result.low) and math.isnan(result.high)


def test_an_infinite_label_makes_the_mean_over_labels_infinite():
    assert mean_over_labels([[math.inf, 0.5], [1.0, 0.5]], ["a", "b"]).mean == math.inf


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, math.inf, math.nan]), min_size=2, max_size=8))
def test_intervals_with_infinite_values_are_ordered_and_never_nan(values):
    result = mean_over_cases(values, [str(i) for i in range(len(values))], resamples=200)
    if result.patients > 1:
        assert result.low <= result.high


def test_bootstrap_weights_share_draws_with_the_means():
    """A pooled share of sums, resampled with the same draws, is the mean when every patient has one voxel."""
    values, patients = np.random.default_rng(5).random(12), [f"{i:02}" for i in range(12)]
    weights = bootstrap_weights(12, 2000, seed=9)
    assert (weights.sum(axis=1) == 12).all() and weights.shape == (2000, 12)
    low, high = interval_of(weights @ values / 12)
    result = mean_over_cases(values, patients, seed=9)
    assert (result.low, result.high) == pytest.approx((low, high), abs=1e-12)


def test_bootstrap_weights_cannot_be_changed_by_one_of_their_users():
    with pytest.raises(ValueError, match="read-only"):
        bootstrap_weights(3)[0, 0] = 7


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_intervals_of_finite_samples_are_numpys_percentiles(samples, confidence):
    expected = np.percentile(samples, [50 * (1 - confidence), 50 * (1 + confidence)])
    assert interval_of(samples, confidence) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-6)


def test_no_sample_no_interval():
    assert all(math.isnan(end) for end in interval_of([math.nan]))


def test_an_end_between_a_finite_and_an_infinite_sample_is_a_sample():
    """Of 1, inf, inf the 2.5th percentile lies a twentieth of the way to inf, the 97.5th between the two infinite."""
    assert interval_of([1.0, math.inf, math.inf]) == (1.0, math.inf)
    assert interval_of([-math.inf, -math.inf, 1.0]) == (-math.inf, 1.0)
    assert interval_of([-math.inf, 1.0, 2.0, math.inf]) == (-math.inf, math.inf)


@pytest.mark.parametrize("arguments", [(0,), (3, 0)])
def test_draws_of_nothing_are_refused(arguments):
    with pytest.raises(MetricArgumentError, match="received"):
        bootstrap_weights(*arguments)


@pytest.mark.parametrize("cases_a_patient", [1, 3])
def test_coverage_of_the_interval(cases_a_patient):
    """300 studies of 40 normal patients, 95 % intervals.

    The percentile interval of a mean is, but for its own noise, mean ± 1.96 sd √((n-1)/n) / √n, which covers with the
    probability that |t| with 39 degrees of freedom is below 1.96 √(39/40): 93.9 %. Cases of one patient agree here, so
    an interval that took them for independent would be 1/√3 as wide and cover 73 %.
    """
    rng = np.random.default_rng(11)
    patients = [f"{i:02}" for i in range(40) for _ in range(cases_a_patient)]
    covered = 0
    for study in range(300):
        values = np.repeat(rng.normal(0.8, 0.1, 40), cases_a_patient)
        result = mean_over_cases(values, patients, resamples=400, seed=study)
        covered += result.low <= 0.8 <= result.high
    expected = 1 - 2 * stats.t.sf(1.96 * math.sqrt(39 / 40), 39)
    low, high = stats.binom.interval(0.999, 300, expected)
    assert low <= covered <= high
