"""Several models ranked by one metric, and how far the ranking hangs on the cases at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segeval.errors import ComparisonError, MetricArgumentError
from segeval.metrics import METRICS
from segeval.statistics.alignment import OnUnmatched, align
from segeval.statistics.means import (
    CONFIDENCE,
    bootstrap_weights,
    check_bootstrap,
    interval_of,
    means_of_totals,
    totals_by_patient,
)
from segeval.statistics.score_table import ScoreTable
from segeval.statistics.signed_rank import one_sided_p, tidy

__all__ = ["SCHEMES", "RankedModel", "Ranking", "Scheme", "rank"]

Scheme = Literal["aggregate_then_rank", "rank_then_aggregate", "test_then_rank"]

SCHEMES: dict[str, str] = {
    "aggregate_then_rank": "mean over cases for each label, then over labels; the models are ranked by it",
    "rank_then_aggregate": "the models are ranked in each case and label; the mean of those ranks, averaged likewise",
    "test_then_rank": (
        "number of models that a model beats in a one-sided signed-rank test over patients (normal approximation, not "
        "corrected for the number of tests)"
    ),
}
"""What the score is that a ranking rests on, by scheme (Wiesenfarth et al. 2021)."""

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class RankedModel:
    """One model's place.

    Attributes:
        name: the model.
        rank: 1 is the best; models with equal scores share the mean of their ranks.
        score: what the rank rests on, see `SCHEMES`.
        low: lower end of the interval of the rank over bootstrap samples; NaN with fewer than two patients.
        high: upper end.
        shares: share of the bootstrap samples at each rank that occurred.
    """

    name: str
    rank: float
    score: float
    low: float
    high: float
    shares: Mapping[float, float]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Models in the order of their ranks, with the stability of that order.

    Attributes:
        metric: name of the metric.
        better: "higher" or "lower", whichever is better in the metric.
        scheme: one of `SCHEMES`.
        labels: names of the labels in it.
        models: the best first.
        cases: number of cases.
        patients: number of patients with a value.
        left_out: values (case and label) left out because at least one model has none there.
        left_out_cases: of each model the cases that another lacks (with on_unmatched="leave_out").
        kendall_tau_mean: mean of Kendall's tau-b between the ranking and those of the bootstrap samples.
        kendall_tau_low: their 2.5th percentile.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.
        confidence: coverage of the rank intervals.
    """

    metric: str
    better: Literal["higher", "lower"]
    scheme: Scheme
    labels: tuple[str, ...]
    models: tuple[RankedModel, ...]
    cases: int
    patients: int
    left_out: int
    left_out_cases: Mapping[str, tuple[str, ...]]
    kendall_tau_mean: float
    kendall_tau_low: float
    resamples: int
    seed: int
    confidence: float


def rank(
    tables: Mapping[str, ScoreTable],
    metric: str,
    *,
    scheme: Scheme = "aggregate_then_rank",
    label: str | None = None,
    level: float = 0.05,
    confidence: float = CONFIDENCE,
    resamples: int = _RESAMPLES,
    seed: int = 0,
    on_unmatched: OnUnmatched = "error",
) -> Ranking:
    """Rank models by a metric, and say how stable that is when other patients are drawn.

    A case and label for which any model has no value (NaN) is left out for all, and counted: no model gains by it.
    The bootstrap draws whole patients and ranks anew in each sample (Wiesenfarth et al. 2021, "Methods and open-source
    toolkit for analyzing and visualizing challenge results"). Kendall's tau-b is 1 for equal rankings, also where all
    models are tied, and 0 where only one of two rankings is a tie of all.

    Args:
        tables: two or more, by the names of their models.
        metric: name of a metric that all have.
        scheme: one of `SCHEMES`.
        label: name of a label; None: all of them.
        level: of the tests in "test_then_rank".
        confidence: coverage of the rank intervals.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.
        on_unmatched: "error" refuses cases and labels that only some have, "leave_out" leaves them out.

    Returns:
        The ranking, the best model first.

    Raises:
        ComparisonError: other cases, labels, references, conventions or patients, or not one value in common.
        MetricArgumentError: an unknown scheme, metric or label, or a number outside its range.

    Example:
        >>> cases = tuple("abcdef")
        >>> good, bad = (
        ...     ScoreTable(cases, cases, {"liver": 1}, {"dice": np.linspace(low, low + 0.1, 6).reshape(-1, 1)})
        ...     for low in (0.8, 0.5)
        ... )
        >>> ranking = rank({"bad": bad, "good": good}, "dice")
        >>> [model.name for model in ranking.models], ranking.models[0].shares, ranking.kendall_tau_mean
        (['good', 'bad'], {1.0: 1.0}, 1.0)
    """
    check_bootstrap(confidence, resamples)
    if scheme not in SCHEMES or not 0 < level < 1:
        raise MetricArgumentError(
            f"scheme must be one of {', '.join(SCHEMES)} and level lie between 0 and 1; received {scheme} and {level}"
        )
    scores = align(tables, [metric], on_unmatched)
    labels = tuple(scores.labels) if label is None else (label,)
    if not set(labels) <= set(scores.labels):
        raise MetricArgumentError(f"label must be one of {', '.join(scores.labels)}; received {label}")
    values = scores.values[metric][:, :, [list(scores.labels).index(name) for name in labels]]
    absent = np.isnan(values).any(axis=0)
    if absent.all():
        raise ComparisonError([f"no case has a value of {metric} in all of {', '.join(tables)}"])
    values, is_higher_better = np.where(absent, np.nan, values), METRICS[metric].better == "higher"
    if scheme == "rank_then_aggregate":
        values, is_higher_better = np.moveaxis(_ranks(np.moveaxis(values, 0, -1), is_higher_better), -1, 0), False
    totals = np.stack([totals_by_patient(table, scores.patient_ids)[1] for table in values], axis=1)
    patients = totals.shape[2]
    drawn = bootstrap_weights(patients, resamples, seed)
    weights = np.concatenate([np.ones((1, patients)), drawn])  # row 0: the patients as they are
    if scheme == "test_then_rank":
        score, is_higher_better = _count_wins(means_of_totals(totals), weights, is_higher_better, level), True
    else:
        score = means_of_totals(np.moveaxis(np.tensordot(weights, totals, axes=(1, 2)), 0, 1))
    ranks = _ranks(score, is_higher_better)
    ranks = ranks[~np.isnan(ranks).any(axis=1)]
    tau = _kendall_tau(ranks[0], ranks[1:]) if patients > 1 else np.array([np.nan])
    return Ranking(
        metric=metric,
        better=METRICS[metric].better,
        scheme=scheme,
        labels=labels,
        models=_ranked_models(scores.names, score[0], ranks, confidence, patients),
        cases=len(scores.case_ids),
        patients=patients,
        left_out=int(absent.sum()),
        left_out_cases=scores.left_out,
        kendall_tau_mean=float(tau.mean()),
        kendall_tau_low=float(np.percentile(tau, 2.5)),
        resamples=resamples,
        seed=seed,
        confidence=confidence,
    )


def _ranks(scores: NDArray[np.float64], is_higher_better: bool) -> NDArray[np.float64]:
    """Rank along the last axis, 1 the best, ties at their mean; NaN throughout where one is NaN."""
    from scipy.stats import rankdata

    finite = np.abs(scores[np.isfinite(scores)])
    rounded = tidy(scores, float(finite.max(initial=0.0)))
    return np.asarray(rankdata(-rounded if is_higher_better else rounded, axis=-1, nan_policy="propagate"))


def _count_wins(
    values: NDArray[np.float64], weights: NDArray[np.float64], is_higher_better: bool, level: float
) -> NDArray[np.float64]:
    """Count, in each bootstrap sample, the models that each model beats: (models, patients) to (samples, models)."""
    models, patients = values.shape
    drawn = np.repeat(np.tile(np.arange(patients), len(weights)), weights.astype(int).ravel()).reshape(weights.shape)
    scale = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    wins = np.zeros((len(weights), models))
    for model, rival in permutations(range(models), 2):
        better, worse = (model, rival) if is_higher_better else (rival, model)
        with np.errstate(invalid="ignore"):  # inf - inf
            advantage = np.where(values[model] == values[rival], 0.0, values[better] - values[worse])
        wins[:, model] += one_sided_p(tidy(advantage, scale)[drawn]) < level
    return wins


def _kendall_tau(ranks: NDArray[np.float64], resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give Kendall's tau-b between (models,) ranks and each row of (samples, models)."""
    signs, drawn = (np.sign(some[..., :, None] - some[..., None, :]) for some in (ranks, resampled))
    agreement = (signs * drawn).sum(axis=(-2, -1))
    untied, drawn_untied = (signs**2).sum(), (drawn**2).sum(axis=(-2, -1))
    all_tied = np.where(drawn_untied == untied, 1.0, 0.0)  # where one of them is 0
    return np.divide(agreement, np.sqrt(untied * drawn_untied), out=all_tied, where=untied * drawn_untied > 0)


def _ranked_models(
    names: tuple[str, ...], scores: NDArray[np.float64], ranks: NDArray[np.float64], confidence: float, patients: int
) -> tuple[RankedModel, ...]:
    models = []
    for column, name in enumerate(names):
        low, high, shares = math.nan, math.nan, {}
        if patients > 1:
            low, high = interval_of(ranks[1:, column], confidence)
            values, counts = np.unique(ranks[1:, column], return_counts=True)
            shares = dict(zip(values.tolist(), (counts / counts.sum()).tolist(), strict=True))
        models.append(RankedModel(name, float(ranks[0, column]), float(scores[column]), low, high, shares))
    return tuple(sorted(models, key=lambda model: model.rank))
