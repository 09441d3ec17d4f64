"""Whether a rule helps, by a paired test over patients: the statistics of what is chosen, without scans or files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segeval import MeanScore, mean_over_cases
from segeval.statistics import holm, signed_rank
from segeval.statistics.means import patient_means
from segeval.statistics.signed_rank import tidy

__all__ = ["Judgement", "fewest_patients", "harmed_by", "judge", "p_values"]


@dataclass(frozen=True)
class Judgement:
    """What the cases say of a rule.

    Attributes:
        difference: of the mean foreground Dice, with the rule less without, over the cases; its bootstrap interval is
            over patients.
        p: of a one-sided Wilcoxon signed-rank test that the differences lie above zero; 1 where fewer than two
            patients differ.
        p_holm: corrected after Holm for all rules that were judged together.
        is_better: p_holm is below alpha, and so much better on average.
        harmed: places of the structures whose own Dice became significantly worse.
    """

    difference: MeanScore
    p: float
    p_holm: float
    is_better: bool
    harmed: tuple[int, ...]

    @property
    def is_kept(self) -> bool:
        """Whether it helps, and harms no structure."""
        return self.is_better and not self.harmed


def judge(differences: NDArray[np.float64], patients: Sequence[str], alpha: float = 0.05) -> tuple[Judgement, ...]:
    """Test rules that were tried on the same cases, each against doing nothing.

    Where none of the rules helps, the odds that any of them is said to are at most ``alpha`` (family-wise, whatever
    the rules have in common: Holm 1979), if the differences of patients are independent and, without an effect,
    symmetric about zero. Harm to a structure is tested at ``alpha`` without a correction, as one is rather found
    too often.

    Args:
        differences: float64 (rules, cases, structures), Dice with the rule less Dice without; finite.
        patients: patient of each case; the differences of one patient's cases are averaged.
        alpha: level of the tests, between 0 and 1.

    Returns:
        One for each rule.

    >>> gains = np.linspace(0.01, 0.1, 8).reshape(1, 8, 1)
    >>> [(one.p, one.is_kept) for one in judge(np.concatenate([gains, -gains]), list("abcdefgh"))]
    [(0.00390625, True), (1.0, False)]
    """
    p, corrected = p_values(differences.mean(axis=2), patients)
    judged = []
    for of_rule, own, holms in zip(differences, p.tolist(), corrected.tolist(), strict=True):
        difference = mean_over_cases(of_rule.mean(axis=1), patients)
        is_better = holms < alpha and difference.mean > 0
        judged.append(Judgement(difference, own, holms, is_better, harmed_by(of_rule, patients, alpha)))
    return tuple(judged)


def p_values(
    differences: NDArray[np.float64], patients: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Test each of several rows of differences on the same cases, see `judge`.

    Args:
        differences: float64 (rules, cases).
        patients: patient of each case.

    Returns:
        float64 (rules,): p, and p corrected after Holm.
    """
    p = np.array([_p_above_zero(row, patients) for row in differences])
    return p, holm(p)


def harmed_by(differences: NDArray[np.float64], patients: Sequence[str], alpha: float) -> tuple[int, ...]:
    """Return the places of the structures whose Dice became worse: one-sided p below ``alpha``, uncorrected.

    Args:
        differences: float64 (cases, structures).
        patients: patient of each case.
        alpha: level of the test.
    """
    return tuple(place for place, column in enumerate(differences.T) if _p_above_zero(-column, patients) < alpha)


def fewest_patients(rules: int, alpha: float) -> int:
    """Return how many patients must differ, all for the better, before one of so many rules can be kept.

    >>> fewest_patients(1, 0.05), fewest_patients(10, 0.05)
    (5, 8)
    """
    return math.floor(math.log2(max(1, rules) / alpha)) + 1


def _p_above_zero(values: NDArray[np.float64], patients: Sequence[str]) -> float:
    by_patient = tidy(patient_means(values, patients)[1], 1.0)
    p = signed_rank(by_patient, alternative="greater").p
    return 1.0 if math.isnan(p) else p
