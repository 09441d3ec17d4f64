"""Which candidate to use, and what it is worth: by scores alone, without networks or files.

Two questions are kept apart. Which candidate: all pairs are compared on all cases, each scored by networks that had not
seen it. What it will reach: never read off those same scores, of which the highest is high by luck too, but measured
where nothing was chosen, see `nested_score` (Cawley and Talbot 2010, JMLR 11, on the bias of a choice).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from r2d2.choosing.scores import CandidateScores
from segeval import METRICS, MeanScore, mean_over_cases
from segeval.statistics import PairedDifference, compare, holm

__all__ = ["Decision", "NestedScore", "Pair", "decide", "fewest_patients", "nested_score"]

RESAMPLES = 2000


@dataclass(frozen=True)
class Pair:
    """Two candidates on the same cases.

    Attributes:
        first, second: their names.
        row: their paired difference, second less first; p_holm is corrected over all pairs of candidates.
    """

    first: str
    second: str
    row: PairedDifference

    @property
    def better(self) -> str | None:
        """The one that is shown to be better; None: neither is."""
        return {"first better": self.first, "second better": self.second}.get(self.row.verdict)


@dataclass(frozen=True)
class Decision:
    """What the scores say.

    Attributes:
        means: mean over the cases of each candidate; its interval is over patients.
        pairs: every two candidates.
        best: the candidate with the best mean.
        alike: it, and those that it is not shown to be better than, the best mean first.
        chosen: the smallest of those; the best, where no difference could be shown however large it is.
        is_tested: whether there are patients enough for a difference to be shown.
    """

    means: Mapping[str, MeanScore]
    pairs: tuple[Pair, ...]
    best: str
    alike: tuple[str, ...]
    chosen: str
    is_tested: bool


@dataclass(frozen=True)
class NestedScore:
    """What choosing in this way reaches in cases that did not take part in the choice.

    Attributes:
        score: mean over all cases, each scored by the candidate that the cases of the other folds chose.
        choices: the candidate that was chosen for each fold, by the cases of the others.
    """

    score: MeanScore
    choices: Mapping[int, str]


def decide(
    scores: CandidateScores, sizes: Mapping[str, int], *, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Decision:
    """Find the best candidate, those that cannot be told apart from it, and of these the smallest.

    Every two candidates are compared by a two-sided Wilcoxon signed-rank test over patients (exact for up to 50), and
    all p values corrected together after Holm: which candidate is the best is known from these same scores, so the
    tests against it are not chosen beforehand. Where all candidates are alike, the odds that any is called better than
    another are then at most 1 - confidence. With fewer patients than `fewest_patients` the tests can say nothing, and
    the best mean decides.

    Args:
        scores: of all candidates.
        sizes: parameters of each candidate; what is not worse and smaller is preferred.
        confidence: of the intervals; tests are at 1 minus this.
        resamples: of the bootstrap that intervals are from.

    Returns:
        The decision; the same scores give the same.

    >>> cases = tuple("abcdefgh")
    >>> values = np.array([np.linspace(0.7, 0.8, 8), np.linspace(0.8, 0.95, 8), np.linspace(0.81, 0.94, 8)])
    >>> scores = CandidateScores(("2d", "25d", "3d"), "dice", cases, cases, np.arange(8) % 2, values)
    >>> decision = decide(scores, {"2d": 1, "25d": 2, "3d": 3})
    >>> decision.alike, decision.chosen
    (('25d', '3d'), '25d')
    """
    means = {
        name: mean_over_cases(scores.of(name), scores.patient_ids, confidence=confidence, resamples=resamples)
        for name in scores.names
    }
    pairs = _pairs(scores, confidence, resamples)
    sign = 1 if METRICS[scores.metric].better == "higher" else -1
    order = sorted(scores.names, key=lambda name: (-sign * means[name].mean, sizes[name]))
    best = order[0]
    worse = {_other(pair, best) for pair in pairs if pair.better == best}
    alike = tuple(name for name in order if name not in worse)
    is_tested = len(set(scores.patient_ids)) >= fewest_patients(len(order), confidence)
    smallest = min(alike, key=lambda name: (sizes[name], order.index(name)))
    return Decision(means, pairs, best, alike, smallest if is_tested else best, is_tested)


def _other(pair: Pair, name: str) -> str:
    return pair.second if pair.first == name else pair.first


def _pairs(scores: CandidateScores, confidence: float, resamples: int) -> tuple[Pair, ...]:
    tables = {name: scores.table(name) for name in scores.names}
    named = list(combinations(scores.names, 2))
    rows = [
        compare(tables[first], tables[second], confidence=confidence, resamples=resamples).rows[0]
        for first, second in named
    ]
    corrected = holm([row.p for row in rows])
    pairs = []
    for (first, second), row, p in zip(named, rows, corrected.tolist(), strict=True):
        is_shown = not math.isnan(p) and p < 1 - confidence
        verdict = row.verdict if is_shown else "no difference shown"
        pairs.append(Pair(first, second, replace(row, p_holm=p, verdict=verdict)))
    return tuple(pairs)


def nested_score(scores: CandidateScores, sizes: Mapping[str, int], *, confidence: float = 0.95) -> NestedScore:
    """Score each fold's cases by the candidate that the other folds' cases choose.

    So no case is in both the choice and the score. It is what the whole procedure reaches, choice included.

    Args:
        scores: of all candidates, in at least two folds.
        sizes: see `decide`.
        confidence: see `decide`.

    >>> values = np.array([[0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9]])
    >>> scores = CandidateScores(("x", "y"), "dice", tuple("abcd"), tuple("abcd"), np.array([0, 0, 1, 1]), values)
    >>> nested = nested_score(scores, {"x": 1, "y": 1})
    >>> nested.choices, round(nested.score.mean, 3)
    ({0: 'y', 1: 'x'}, 0.1)
    """
    choices: dict[int, str] = {}
    values = np.full(len(scores.case_ids), math.nan)
    for fold in sorted(set(scores.folds.tolist())):
        held_out = scores.folds == fold
        choices[fold] = decide(scores.only(~held_out), sizes, confidence=confidence, resamples=1).chosen
        values[held_out] = scores.of(choices[fold])[held_out]
    return NestedScore(mean_over_cases(values, scores.patient_ids, confidence=confidence), choices)


def fewest_patients(candidates: int, confidence: float = 0.95) -> int:
    """Return how many patients must differ, all in one direction, before one of so many candidates can be told apart.

    >>> fewest_patients(2), fewest_patients(6)
    (6, 10)
    """
    pairs = candidates * (candidates - 1) // 2
    return math.floor(math.log2(2 * pairs / (1 - confidence))) + 1
