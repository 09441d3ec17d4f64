"""Wilcoxon's signed-rank test for paired differences, exact also where differences are tied."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EXACT_UP_TO", "Alternative", "SignedRank", "one_sided_p", "signed_rank", "tidy"]

Alternative = Literal["two-sided", "greater"]

EXACT_UP_TO = 50
"""Number of differences up to which the distribution is counted out."""

_DIGITS = 12


@dataclass(frozen=True, slots=True)
class SignedRank:
    """Result of the test.

    Attributes:
        p: p value, two-sided unless asked otherwise; NaN where there is none.
        differences: number of differences that are not zero; only those take part.
        zeros: number that are.
        rank_sum_difference: sum of the ranks of the positive less that of the negative differences.
        method: "exact", "normal" (approximation) or "none".
        reason: why there is no p value, or why it cannot be small; else "".
    """

    p: float
    differences: int
    zeros: int
    rank_sum_difference: float
    method: Literal["exact", "normal", "none"]
    reason: str


def signed_rank(differences: ArrayLike, confidence: float = 0.95, alternative: Alternative = "two-sided") -> SignedRank:
    """Test whether paired differences are symmetric about zero (Wilcoxon 1945).

    Zeros are left out, as Wilcoxon did. Ties share the mean of their ranks. Up to 50 differences, p is exact: the share
    of the 2^n equally likely assignments of signs to these very ranks, ties included, that are at least as one-sided,
    doubled, at most 1. Beyond, the normal approximation with the variance of these ranks and continuity correction.

    Args:
        differences: float64 (n,), independent of each other; inf and -inf are the largest and smallest.
        confidence: 1 minus the level at which p will be judged; only the reason depends on it.
        alternative: "two-sided"; "greater": whether they lie above zero, p is not doubled then.

    Returns:
        p with its method; NaN, with the reason, where fewer than two differences are not zero.

    Example:
        >>> signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, -0.05]).p
        0.0625
        >>> signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, -0.05], alternative="greater").p
        0.03125
    """
    values = np.asarray(differences, dtype=np.float64)
    ranks = _ranks(values)
    positive, negative = float(ranks[values > 0].sum()), float(ranks[values < 0].sum())
    count = int(np.count_nonzero(values))
    zeros = values.size - count
    if count < 2:
        reason = "only one patient differs" if count else "no patient differs" if zeros else "no value in both"
        return SignedRank(math.nan, count, zeros, positive - negative, "none", reason)
    is_doubled = alternative == "two-sided"
    if count > EXACT_UP_TO:
        p = float(one_sided_p(-values if is_doubled and positive <= negative else values))
        return SignedRank(min(1.0, 2 * p) if is_doubled else p, count, zeros, positive - negative, "normal", "")
    smallest = 2.0 ** (is_doubled - count)
    reason = ""
    if smallest > 1 - confidence:
        reason = f"with {count} patients that differ, p cannot be below {smallest:.3g}"
    # the sum of the negative ranks is distributed as that of the positive ones
    share = _share_at_most(ranks[values != 0], min(positive, negative) if is_doubled else negative)
    return SignedRank(min(1.0, (1 + is_doubled) * share), count, zeros, positive - negative, "exact", reason)


def one_sided_p(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Test whether differences are above zero, by the normal approximation with continuity correction.

    Args:
        differences: float64 (..., n).

    Returns:
        float64 (...): p; 1 where no difference is other than zero.

    Example:
        >>> one_sided_p(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])).round(3).tolist()
        [0.091, 1.0]
    """
    from scipy.special import ndtr

    ranks = _ranks(differences)
    excess = np.where(differences > 0, ranks, 0.0).sum(axis=-1) - ranks.sum(axis=-1) / 2
    deviation = np.sqrt((ranks**2).sum(axis=-1)) / 2  # of the sum of ranks that each count or not, with equal odds
    z = np.divide(excess - 0.5, deviation, out=np.full(np.shape(excess), -np.inf), where=deviation > 0)
    return np.asarray(ndtr(-z))


def tidy(differences: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Round differences to 12 digits of the scale of what was subtracted, so that rounding noise breaks no tie.

    Args:
        differences: float64, any shape.
        scale: largest finite absolute value of the numbers that were subtracted.

    Returns:
        float64 of the same shape.

    Example:
        >>> tidy(np.array([0.9 - 0.8, 0.8 - 0.7]), 0.9).tolist()
        [0.1, 0.1]
    """
    if scale == 0 or not math.isfinite(scale):
        return differences
    return np.round(differences, min(_DIGITS - math.ceil(math.log10(scale)), 200))


def _ranks(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank absolute values along the last axis from 1, ties at their mean, zeros out (rank 0)."""
    from scipy.stats import rankdata

    zeros = np.count_nonzero(differences == 0, axis=-1, keepdims=True)
    return np.where(differences == 0, 0.0, rankdata(np.abs(differences), axis=-1) - zeros)


def _share_at_most(ranks: NDArray[np.float64], total: float) -> float:
    """Give the share of all subsets of the ranks whose sum is at most `total`; halves are counted in twos."""
    doubled = np.rint(2 * ranks).astype(int)
    share = np.zeros(int(doubled.sum()) + 1)
    share[0] = 1.0
    for rank in doubled:
        share = (share + np.concatenate([np.zeros(rank), share[:-rank]])) / 2
    return float(share[: round(2 * total) + 1].sum())
