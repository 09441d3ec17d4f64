"""Means with their counts and bootstrap confidence intervals over patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.errors import MetricArgumentError, ShapeMismatchError

__all__ = [
    "CONFIDENCE",
    "RESAMPLES",
    "MeanScore",
    "bootstrap_weights",
    "check_bootstrap",
    "check_seed",
    "interval_of",
    "mean_over_cases",
    "mean_over_labels",
    "means_of_totals",
    "patient_means",
    "totals_by_patient",
]

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class MeanScore:
    """A mean, what it is made of, and how sure it is.

    Attributes:
        mean: the mean; NaN where nothing has a value; inf where a value is inf (a structure missed, under a
            convention that says so), and NaN where one is inf and one -inf.
        n: number of values in it.
        left_out: number of values left out because they are NaN.
        patients: number of patients with a value.
        low: lower end of the confidence interval; NaN with fewer than two patients or without a mean. It may be
            inf, where so many resamples hold an infinite value.
        high: upper end; likewise.
        confidence: its coverage, such as 0.95.
    """

    mean: float
    n: int
    left_out: int
    patients: int
    low: float
    high: float
    confidence: float


def mean_over_cases(
    values: ArrayLike,
    patients: Sequence[str],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> MeanScore:
    """Average one number per case and bound the mean by a percentile bootstrap over patients.

    Whole patients are drawn with replacement, so that several cases of one patient do not pass for
    independent (Efron and Tibshirani 1993, chapters 8 and 13).

    Args:
        values: float64 (cases,), NaN where a case has no value; those are left out and counted.
        patients: patient of each case.
        confidence: coverage of the interval, between 0 and 1.
        resamples: number of bootstrap samples.
        seed: seed of the draws: equal arguments give equal intervals.

    Returns:
        The mean with n, the number left out, the number of patients and the interval.

    Raises:
        ShapeMismatchError: there is not one patient for each case.
        MetricArgumentError: confidence or resamples outside their range.

    Example:
        >>> score = mean_over_cases([0.8, 0.9, float("nan")], ["a", "b", "c"])
        >>> round(score.mean, 3), score.n, score.left_out, score.patients
        (0.85, 2, 1, 2)
    """
    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    return mean_over_labels(column, patients, confidence=confidence, resamples=resamples, seed=seed)


def mean_over_labels(
    values: ArrayLike,
    patients: Sequence[str],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> MeanScore:
    """Average over the cases for each label, then over the labels, with a bootstrap interval over patients.

    Args:
        values: float64 (cases, labels), NaN where a case has no value for a label. A label without any value
            is left out of the second mean.
        patients: patient of each case.
        confidence: coverage of the interval, between 0 and 1.
        resamples: number of bootstrap samples.
        seed: seed of the draws.

    Returns:
        The mean of the labels' means; n and left_out count values (case and label).

    Raises:
        ShapeMismatchError: not two axes, or not one patient for each case.
        MetricArgumentError: confidence or resamples outside their range.

    Example:
        >>> mean_over_labels([[1.0, 0.5], [float("nan"), 0.7]], ["a", "b"]).mean
        0.8
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or len(patients) != table.shape[0]:
        raise ShapeMismatchError(
            "values must be (cases, labels) with one patient for each case; "
            f"received shape {table.shape} and {len(patients)} patients"
        )
    check_bootstrap(confidence, resamples)
    check_seed(seed)
    _, totals = totals_by_patient(table, patients)
    count = totals.shape[1]
    mean = float(means_of_totals(totals.sum(axis=1)))
    low, high = math.nan, math.nan
    if count > 1 and not math.isnan(mean):
        low, high = interval_of(_resampled_means(totals, resamples, seed), confidence)
    n = int(totals[1].sum())
    return MeanScore(mean, n, int(table.size) - n, count, low, high, confidence)


def patient_means(values: ArrayLike, patients: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Average one number per case within each patient.

    Args:
        values: float64 (cases,), NaN where a case has no value.
        patients: patient of each case.

    Returns:
        The patients that have a value, in the order of their names, and the mean of each.

    Example:
        >>> patient_means([0.5, 0.7, 0.9], ["b", "b", "a"])[0]
        ('a', 'b')
    """
    names, totals = totals_by_patient(np.asarray(values, dtype=np.float64).reshape(-1, 1), patients)
    return names, means_of_totals(totals)


def bootstrap_weights(patients: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float64]:
    """Draw how often each patient is in each bootstrap sample.

    `patients` are drawn from `patients` with replacement, so each row is multinomial. A sum over patients, such as
    a confusion matrix, is resampled by one product: `weights @ sums`.

    Args:
        patients: number of patients, at least 1.
        resamples: number of bootstrap samples, at least 1.
        seed: seed of the draws: equal arguments give equal draws.

    Returns:
        float64 (resamples, patients), read-only: whole numbers; each row adds up to `patients`.

    Raises:
        MetricArgumentError: no patient, no sample, or a seed that is none.

    Example:
        >>> bootstrap_weights(3, resamples=4, seed=1).sum(axis=1).tolist()
        [3.0, 3.0, 3.0, 3.0]
    """
    if patients < 1 or resamples < 1:
        raise MetricArgumentError(
            f"patients and resamples must both be at least 1; received {patients} and {resamples}"
        )
    return _draw(patients, resamples, check_seed(seed))


@lru_cache(maxsize=4)
def _draw(patients: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Draw once for all the means of an evaluation, which mostly have the same patients."""
    draws = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    weights = draws.astype(np.float64)
    weights.flags.writeable = False
    return weights


def interval_of(samples: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Cut a percentile interval out of bootstrap samples of a number (Efron and Tibshirani 1993, chapter 13).

    Args:
        samples: float64 (resamples,); NaN, where a sample has no value, is left out. Percentiles are interpolated,
            but never between a finite and an infinite sample: there the end is a sample itself.
        confidence: coverage of the interval, between 0 and 1.

    Returns:
        Lower and upper end; NaN for both where no sample has a value.

    Raises:
        MetricArgumentError: confidence outside its range.

    Example:
        >>> interval_of([0.0, 1.0, 2.0, 3.0, 4.0], confidence=0.5)
        (1.0, 3.0)
        >>> interval_of([1.0, 2.0, float("inf")])
        (1.05, inf)
    """
    check_bootstrap(confidence)
    values = np.asarray(samples, dtype=np.float64)
    ordered = np.sort(values[~np.isnan(values)])
    if not ordered.size:
        return math.nan, math.nan
    low, high = (_percentile(ordered, share) for share in ((1 - confidence) / 2, (1 + confidence) / 2))
    return low, high


def _percentile(ordered: NDArray[np.float64], share: float) -> float:
    rank = share * (len(ordered) - 1)
    below, above = float(ordered[math.floor(rank)]), float(ordered[math.ceil(rank)])
    if math.isfinite(below) and math.isfinite(above):
        return below + (above - below) * (rank - math.floor(rank))
    return above if share > 0.5 else below


def check_bootstrap(confidence: float, resamples: int = 1) -> None:
    """Refuse a coverage that is none and a bootstrap without samples.

    Example:
        >>> check_bootstrap(95)
        Traceback (most recent call last):
            ...
        segeval.errors.MetricArgumentError: confidence must lie between 0 and 1 and resamples be at least 1; \
received 95 and 1
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise MetricArgumentError(
            f"confidence must lie between 0 and 1 and resamples be at least 1; received {confidence} and {resamples}"
        )


def check_seed(seed: int) -> int:
    """Refuse a seed from which draws cannot be repeated.

    Args:
        seed: an integer from 0 on.

    Returns:
        The same, as Python's integer.

    Raises:
        MetricArgumentError: the rule is broken.

    Example:
        >>> check_seed(3)
        3
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise MetricArgumentError(f"seed must be an integer from 0 on; received {seed!r}")
    return int(seed)


def totals_by_patient(
    values: NDArray[np.float64], patients: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Add up each patient's values, so that a mean over drawn patients is a product with their weights.

    Args:
        values: float64 (cases, labels), NaN where there is no value.
        patients: patient of each case.

    Returns:
        The patients with any value, in the order of their names, and float64 (4, patients, labels): the sum of the
        finite values, the number of values, of those the number that is inf, and that is -inf.

    Example:
        >>> totals_by_patient(np.array([[1.0], [2.0], [np.inf]]), ["a", "a", "b"])[1][:, :, 0].tolist()
        [[3.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    """
    names, rows = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    parts = np.stack(
        [
            np.where(np.isfinite(values), values, 0.0),
            (~np.isnan(values)).astype(np.float64),
            (values == np.inf).astype(np.float64),
            (values == -np.inf).astype(np.float64),
        ]
    )
    totals = np.zeros((4, len(names), values.shape[1]))
    for total, part in zip(totals, parts, strict=True):
        np.add.at(total, rows, part)
    measured = totals[1].sum(axis=1) > 0
    return tuple(names[measured].tolist()), totals[:, measured]


def _resampled_means(totals: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Give the mean in each bootstrap sample of patients: float64 (resamples,)."""
    weights = bootstrap_weights(totals.shape[1], resamples, seed)
    return means_of_totals(np.moveaxis(np.tensordot(weights, totals, axes=(1, 1)), 1, 0))


def means_of_totals(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide totals by their counts, then average over the labels that have any.

    Args:
        totals: float64 (4, ..., labels), as of `totals_by_patient`, added up or weighted over patients.

    Returns:
        float64 (...): NaN where no label has a value, or where inf and -inf meet.

    Example:
        >>> means_of_totals(np.array([[3.0, 4.0], [2.0, 1.0], [0.0, 0.0], [0.0, 0.0]])).item()
        2.75
    """
    sums, counts, above, below = totals
    present = counts > 0
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=present)
    means = np.where(above > 0, np.where(below > 0, np.nan, np.inf), np.where(below > 0, -np.inf, means))
    labels = present.sum(axis=-1)
    with np.errstate(invalid="ignore"):  # inf - inf, which is NaN
        return np.divide(means.sum(axis=-1), labels, out=np.full(labels.shape, np.nan), where=labels > 0)
