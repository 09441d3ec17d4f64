"""Means with their counts and bootstrap confidence intervals over patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.errors import MetricArgumentError, ShapeMismatchError

__all__ = ["MeanScore", "mean_over_cases", "mean_over_labels"]


@dataclass(frozen=True, slots=True)
class MeanScore:
    """A mean, what it is made of, and how sure it is.

    Attributes:
        mean: the mean; NaN where nothing has a value.
        n: number of values in it.
        left_out: number of values left out because they are NaN.
        patients: number of patients with a value.
        low: lower end of the confidence interval; NaN with fewer than two patients.
        high: upper end.
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
    confidence: float = 0.95,
    resamples: int = 2000,
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
    confidence: float = 0.95,
    resamples: int = 2000,
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
    if not 0 < confidence < 1 or resamples < 1:
        raise MetricArgumentError(
            f"confidence must lie between 0 and 1 and resamples be at least 1; received {confidence} and {resamples}"
        )
    sums, counts = _totals_by_patient(table, patients)
    n = int(counts.sum())
    low, high = _bootstrap_interval(sums, counts, confidence, resamples, seed)
    return MeanScore(
        mean=float(_mean_of_label_means(sums.sum(axis=0), counts.sum(axis=0))),
        n=n,
        left_out=int(table.size) - n,
        patients=len(counts),
        low=low,
        high=high,
        confidence=confidence,
    )


def _totals_by_patient(
    table: NDArray[np.float64], patients: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum values and count them per patient and label, for the patients that have any."""
    names, rows = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    valid = ~np.isnan(table)
    sums, counts = np.zeros((len(names), table.shape[1])), np.zeros((len(names), table.shape[1]))
    np.add.at(sums, rows, np.where(valid, table, 0.0))
    np.add.at(counts, rows, valid.astype(np.float64))
    measured = counts.sum(axis=1) > 0
    return sums[measured], counts[measured]


def _bootstrap_interval(
    sums: NDArray[np.float64], counts: NDArray[np.float64], confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    patients = len(counts)
    if patients < 2:
        return math.nan, math.nan
    # How often each patient is drawn when `patients` are drawn with replacement is multinomial.
    draws = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    weights = draws.astype(np.float64)
    means = _mean_of_label_means(weights @ sums, weights @ counts)
    low, high = np.percentile(means[~np.isnan(means)], [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)


def _mean_of_label_means(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide (..., labels) sums by counts, then average over the labels that have any."""
    present = counts > 0
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=present)
    labels = present.sum(axis=-1)
    return np.divide(means.sum(axis=-1), labels, out=np.full(labels.shape, np.nan), where=labels > 0)
