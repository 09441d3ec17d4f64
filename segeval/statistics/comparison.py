"""Two models on the same cases: the difference with its interval, a test, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.errors import MetricArgumentError
from segeval.metrics import METRICS
from segeval.statistics.alignment import AlignedScores, OnUnmatched, align
from segeval.statistics.means import (
    CONFIDENCE,
    RESAMPLES,
    MeanScore,
    check_bootstrap,
    mean_over_cases,
    patient_means,
)
from segeval.statistics.score_table import ScoreTable
from segeval.statistics.signed_rank import signed_rank, tidy

__all__ = ["Comparison", "PairedDifference", "Verdict", "compare", "compare_with_base", "holm"]

Verdict = Literal["first better", "second better", "no difference shown"]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """One metric of one label, paired over the cases.

    Attributes:
        metric: name of the metric.
        label_name: name of the label.
        better: "higher" or "lower", whichever is better in this metric.
        pairs: cases in which both models have a value; all the figures are over these.
        patients: number of patients of those cases.
        left_out_both: cases without a value in both.
        left_out_one: cases with a value in only one of them: those cannot be paired.
        first: mean over cases of the first model, with its interval.
        second: of the second.
        difference: mean over cases of second - first, with its bootstrap interval over patients (inf - inf is 0).
        p: Wilcoxon signed-rank p value on the differences averaged within each patient, two-sided; NaN where none.
        p_holm: p corrected after Holm over the labels of the metric (and the models compared with the same base).
        method: "exact", "normal" or "none".
        reason: why there is no p value, or why it cannot be small; else "".
        verdict: "first better" or "second better" where p_holm is below 1 - confidence, and the ranks and the mean
            difference point the same way; else "no difference shown".
    """

    metric: str
    label_name: str
    better: Literal["higher", "lower"]
    pairs: int
    patients: int
    left_out_both: int
    left_out_one: int
    first: MeanScore
    second: MeanScore
    difference: MeanScore
    p: float
    p_holm: float
    method: str
    reason: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models compared, metric by metric and label by label.

    Attributes:
        first: name of the first model.
        second: name of the second.
        rows: one a metric and label.
        cases: number of cases that both have.
        patients: number of patients of those.
        left_out: of each model the cases that another lacks (with on_unmatched="leave_out").
        notes: sentences that belong beside the figures.
        confidence: coverage of the intervals; 1 - confidence is the level of the verdicts.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.
    """

    first: str
    second: str
    rows: tuple[PairedDifference, ...]
    cases: int
    patients: int
    left_out: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    confidence: float
    resamples: int
    seed: int


def compare(
    first: ScoreTable,
    second: ScoreTable,
    *,
    metrics: Sequence[str] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_unmatched: OnUnmatched = "error",
) -> Comparison:
    """Compare two models on the cases that both have.

    Args:
        first: scores of one model.
        second: of the other, on the same cases under the same conventions.
        metrics: names of metrics; None: all that both have.
        confidence: coverage of the intervals; 1 - confidence is the level of the verdicts.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap: equal arguments give equal results.
        on_unmatched: "error" refuses cases and labels that only one has, "leave_out" leaves them out and says so.

    Returns:
        The comparison; for each metric and label n, both means, the difference, p values and a verdict.

    Raises:
        ComparisonError: other cases, labels, references, conventions or patients; every reason is listed.
        MetricArgumentError: an argument outside its range.

    Example:
        >>> cases = tuple("abcdefgh")
        >>> worse = ScoreTable(cases, cases, {"liver": 1}, {"dice": np.linspace(0.7, 0.8, 8).reshape(-1, 1)})
        >>> better = ScoreTable(cases, cases, {"liver": 1}, {"dice": np.linspace(0.8, 0.95, 8).reshape(-1, 1)})
        >>> row = compare(worse, better).rows[0]
        >>> round(row.difference.mean, 3), row.p, row.verdict
        (0.125, 0.0078125, 'second better')
    """
    return compare_with_base(
        {"first": first, "second": second},
        "first",
        metrics=metrics,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        on_unmatched=on_unmatched,
    )[0]


def compare_with_base(
    tables: Mapping[str, ScoreTable],
    base: str,
    *,
    metrics: Sequence[str] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_unmatched: OnUnmatched = "error",
) -> tuple[Comparison, ...]:
    """Compare one model with each of the others, on the cases that all have.

    Args:
        tables: two or more, by the names of their models.
        base: name of the one that all others are compared with; it is `first` in each comparison.
        metrics: as in `compare`.
        confidence: as in `compare`.
        resamples: as in `compare`.
        seed: as in `compare`.
        on_unmatched: as in `compare`.

    Returns:
        One comparison for each of the others; Holm's correction is over the labels and the others together.

    Raises:
        ComparisonError: as in `compare`.
        MetricArgumentError: an argument outside its range, or a base that is not among the tables.

    Example:
        >>> table = ScoreTable(("a", "b"), ("a", "b"), {"liver": 1}, {"dice": np.array([[0.7], [0.8]])})
        >>> [c.second for c in compare_with_base({"old": table, "new": table, "newer": table}, "new")]
        ['old', 'newer']
    """
    check_bootstrap(confidence, resamples)
    if base not in tables:
        raise MetricArgumentError(f"the base must be one of {', '.join(tables)}; received {base}")
    scores = align(tables, metrics, on_unmatched)
    rows = {
        name: [
            _paired(scores, metric, column, (base, name), confidence, resamples, seed)
            for metric in scores.values
            for column in range(len(scores.labels))
        ]
        for name in scores.names
        if name != base
    }
    judged = iter(_judge([row for of_one in rows.values() for row in of_one], confidence))
    comparisons = []
    for name, of_one in rows.items():
        final = tuple(next(judged) for _ in of_one)
        left_out = {model: scores.left_out[model] for model in (base, name)}
        comparisons.append(
            Comparison(
                first=base,
                second=name,
                rows=final,
                cases=len(scores.case_ids),
                patients=len(set(scores.patient_ids)),
                left_out=left_out,
                notes=_notes(final, left_out),
                confidence=confidence,
                resamples=resamples,
                seed=seed,
            )
        )
    return tuple(comparisons)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p values for having looked at several (Holm 1979, a sequentially rejective procedure).

    The smallest of m is multiplied by m, the next by m - 1 and so on; none becomes smaller than one before it, nor
    larger than 1.

    Args:
        p_values: float64 (m,), NaN where there is none; those count for nothing.

    Returns:
        float64 (m,), in the same order, NaN where p is.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    factors = np.arange(len(order), 0, -1)
    corrected = np.full(p.shape, np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


def _paired(
    scores: AlignedScores,
    metric: str,
    column: int,
    names: tuple[str, str],
    confidence: float,
    resamples: int,
    seed: int,
) -> PairedDifference:
    first, second = (scores.values[metric][scores.names.index(name), :, column] for name in names)
    absent = np.isnan(first).astype(int) + np.isnan(second)
    pairs = absent == 0
    first, second = first[pairs], second[pairs]
    patients = [patient for patient, kept in zip(scores.patient_ids, pairs, strict=True) if kept]
    with np.errstate(invalid="ignore"):  # inf - inf
        difference = np.where(first == second, 0.0, second - first)

    def mean(values: NDArray[np.float64]) -> MeanScore:
        return mean_over_cases(values, patients, confidence=confidence, resamples=resamples, seed=seed)

    # Where one model has inf in one case of a patient and the other in another, neither did better in that patient.
    by_patient = np.nan_to_num(patient_means(difference, patients)[1], nan=0.0, posinf=np.inf, neginf=-np.inf)
    finite = np.abs(np.concatenate([first, second]))
    test = signed_rank(tidy(by_patient, float(np.max(finite, where=np.isfinite(finite), initial=0.0))), confidence)
    mean_difference = mean(difference)
    agree = test.rank_sum_difference * mean_difference.mean > 0
    is_second_better = (mean_difference.mean > 0) == (METRICS[metric].better == "higher")
    return PairedDifference(
        metric=metric,
        label_name=list(scores.labels)[column],
        better=METRICS[metric].better,
        pairs=int(pairs.sum()),
        patients=len(by_patient),
        left_out_both=int((absent == 2).sum()),
        left_out_one=int((absent == 1).sum()),
        first=mean(first),
        second=mean(second),
        difference=mean_difference,
        p=test.p,
        p_holm=math.nan,
        method=test.method,
        reason=test.reason,
        verdict=("second better" if is_second_better else "first better") if agree else "no difference shown",
    )


def _judge(rows: Sequence[PairedDifference], confidence: float) -> list[PairedDifference]:
    """Correct p within each metric, and keep a verdict only where it is small enough."""
    corrected = np.full(len(rows), np.nan)
    for metric in {row.metric for row in rows}:
        places = [place for place, row in enumerate(rows) if row.metric == metric]
        corrected[places] = holm([rows[place].p for place in places])
    return [
        replace(row, p_holm=float(p), verdict=row.verdict if p < 1 - confidence else "no difference shown")
        for row, p in zip(rows, corrected, strict=True)
    ]


def _notes(rows: Sequence[PairedDifference], left_out: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    notes = [
        f"{name}: cases that not every other has are left out: {', '.join(cases)}."
        for name, cases in left_out.items()
        if cases
    ]
    for row in rows:
        what = f"{row.metric} of {row.label_name}"
        if row.left_out_one:
            notes.append(
                f"{what}: {row.left_out_one} cases have a value in only one of the two and cannot be paired; they are"
                " left out, whatever they would say. A convention for empty masks that gives them a value keeps them."
            )
        if row.reason:
            notes.append(f"{what}: {row.reason}.")
        if math.isinf(row.first.mean) or math.isinf(row.second.mean):
            notes.append(
                f"{what}: a mean is inf; the test uses ranks, in which inf is the largest and inf - inf a tie."
            )
    return tuple(notes)
