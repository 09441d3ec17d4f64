"""The figures of a comparison as people read them, in a terminal and on a page."""

from __future__ import annotations

import math
from typing import Any

from r2d2.tasks.comparison import ModelComparison
from segeval import Comparison, MeanScore, PairedDifference, Ranking

__all__ = ["SCORE_NAMES", "digits", "interval", "notes", "number", "p_value", "percent", "verdict", "worded"]

SCORE_NAMES = {
    "aggregate_then_rank": "mean",
    "rank_then_aggregate": "mean rank",
    "test_then_rank": "models beaten",
}
"""What a ranking's scores are, by its scheme."""


def digits(metric: str) -> int:
    """Give the decimals that a metric is written with."""
    return 2 if metric.endswith(("_mm", "_ml")) else 3


def percent(confidence: float) -> str:
    """Write a coverage.

    >>> percent(0.95)
    '95 %'
    """
    return f"{confidence * 100:g} %"


def number(value: float, decimals: int, sign: str = "") -> str:
    """Write a figure; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:{sign}.{decimals}f}"


def interval(score: MeanScore, decimals: int) -> str:
    """Write a difference with its interval, where it has one."""
    mean = number(score.mean, decimals, "+")
    if math.isnan(score.low):
        return mean
    return f"{mean} [{number(score.low, decimals, '+')}, {number(score.high, decimals, '+')}]"


def p_value(p: float) -> str:
    """Write a p value.

    >>> p_value(0.0004), p_value(0.25)
    ('<0.001', '0.250')
    """
    return "-" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def verdict(comparison: Comparison, row: PairedDifference) -> str:
    """Say which is better by its name, or that no difference is shown."""
    better = {"first better": comparison.first, "second better": comparison.second}.get(row.verdict)
    return f"{better} better" if better else row.verdict


def notes(result: ModelComparison) -> list[str]:
    """Give the sentences that belong beside the figures, each once."""
    said = [note for comparison in result.comparisons for note in comparison.notes]
    for ranking in result.rankings:
        if ranking.left_out:
            said.append(
                f"{ranking.metric}: {ranking.left_out} values (case and label) are not in the ranking: at least one "
                "model has none there."
            )
        if ranking.patients < 2:
            said.append(f"{ranking.metric}: there are fewer than two patients, so that no interval can be given.")
    return list(dict.fromkeys(said))


def worded(result: ModelComparison) -> dict[str, Any]:
    """Give all of a comparison in words, as JSON can hold them, and where intervals lie: in % of the widest end."""
    return {
        "metrics": [
            _metric(ranking, [one for one in result.comparisons if one.rows[0].metric == ranking.metric])
            for ranking in result.rankings
        ],
        "notes": notes(result),
    }


def _metric(ranking: Ranking, comparisons: list[Comparison]) -> dict[str, Any]:
    decimals = digits(ranking.metric) if ranking.scheme == "aggregate_then_rank" else 2
    rows = [(comparison, row) for comparison in comparisons for row in comparison.rows]
    widest = max((abs(end) for _, row in rows for end in _ends(row)), default=0.0)
    return {
        "name": ranking.metric,
        "better": ranking.better,
        "labels": list(ranking.labels),
        "cases": ranking.cases,
        "patients": ranking.patients,
        "coverage": percent(ranking.confidence),
        "score": SCORE_NAMES[ranking.scheme],
        "models": [
            {
                "name": model.name,
                "rank": f"{model.rank:g}",
                "score": number(model.score, decimals),
                "ranks": "-" if model.low != model.low else f"{model.low:g} to {model.high:g}",
                "best": f"{model.shares.get(1.0, 0.0) * 100:.0f} %" if model.shares else "-",
            }
            for model in ranking.models
        ],
        "pairs": [_pair(comparison, row, widest) for comparison, row in rows],
    }


def _pair(comparison: Comparison, row: PairedDifference, widest: float) -> dict[str, Any]:
    decimals = digits(row.metric)
    at = [round(100 * end / widest, 2) for end in _ends(row)] if widest else []
    return {
        "label": row.label_name,
        "first": comparison.first,
        "second": comparison.second,
        "n": row.pairs,
        "first_mean": number(row.first.mean, decimals),
        "second_mean": number(row.second.mean, decimals),
        "difference": interval(row.difference, decimals),
        "at": at,
        "p": p_value(row.p_holm),
        "reason": row.reason,
        "verdict": verdict(comparison, row),
        "is_shown": row.verdict != "no difference shown",
    }


def _ends(row: PairedDifference) -> list[float]:
    """Give where a difference and the ends of its interval lie; nothing where one of them is no finite number."""
    ends = [row.difference.low, row.difference.mean, row.difference.high]
    return ends if all(abs(end) < float("inf") for end in ends) else []
