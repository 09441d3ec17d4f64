"""Scores of all candidates on the same cases: a number a case, and the fold that held it out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segeval import ScoreTable
from segeval.errors import ComparisonError
from segeval.statistics.alignment import align

__all__ = ["CandidateScores", "mean_over_labels_of", "scores_of"]


@dataclass(frozen=True, eq=False)
class CandidateScores:
    """What every candidate reached in every case.

    Attributes:
        names: of the candidates.
        metric: what was measured.
        case_ids: the cases.
        patient_ids: patient of each.
        folds: int64 (cases,), the fold that held each out.
        values: float64 (candidates, cases), mean over the labels that have a value with all candidates.
    """

    names: tuple[str, ...]
    metric: str
    case_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    folds: NDArray[np.int64]
    values: NDArray[np.float64]

    def of(self, name: str) -> NDArray[np.float64]:
        """Give the scores of one candidate, float64 (cases,)."""
        return self.values[self.names.index(name)]

    def only(self, chosen: NDArray[np.bool_]) -> CandidateScores:
        """Give the scores in some of the cases.

        Args:
            chosen: bool (cases,).
        """
        places = np.flatnonzero(chosen)
        return replace(
            self,
            case_ids=tuple(self.case_ids[place] for place in places),
            patient_ids=tuple(self.patient_ids[place] for place in places),
            folds=self.folds[places],
            values=self.values[:, places],
        )

    def table(self, name: str) -> ScoreTable:
        """Give the scores of one candidate as a table of one column, which stands for all labels."""
        column = self.of(name).reshape(-1, 1)
        return ScoreTable(self.case_ids, self.patient_ids, {"mean over labels": 1}, {self.metric: column})


def scores_of(tables: Mapping[str, ScoreTable], metric: str, fold_of: Mapping[str, int]) -> CandidateScores:
    """Bring the evaluations of all candidates together.

    Args:
        tables: of each candidate, all cases by the networks that had not seen them.
        metric: what is compared.
        fold_of: the fold that held each case out.

    Raises:
        ComparisonError: they were not measured on the same cases, references and labels; every reason is listed. Or
            no case has a value with all candidates.

    >>> table = ScoreTable(("a", "b"), ("a", "b"), {"liver": 1}, {"dice": np.array([[0.9], [math.nan]])})
    >>> scores_of({"2d": table, "3d": table}, "dice", {"a": 0, "b": 1}).case_ids
    ('a',)
    """
    aligned = align(tables, [metric])
    values = mean_over_labels_of(aligned.values[metric])
    scores = CandidateScores(
        names=aligned.names,
        metric=metric,
        case_ids=aligned.case_ids,
        patient_ids=aligned.patient_ids,
        folds=np.array([fold_of[case_id] for case_id in aligned.case_ids], np.int64),
        values=values,
    )
    scores = scores.only(~np.isnan(values).any(axis=0))
    if not scores.case_ids:
        raise ComparisonError([f"no case has a value of {metric} with all of {', '.join(tables)}"])
    return scores


def mean_over_labels_of(values: NDArray[np.float64] | Sequence[Sequence[Sequence[float]]]) -> NDArray[np.float64]:
    """Average over the labels that have a value in a case with all candidates; NaN where there is none.

    Args:
        values: float64 (candidates, cases, labels).

    >>> mean_over_labels_of([[[0.5, 1.0]], [[0.7, math.nan]]]).tolist()
    [[0.5], [0.7]]
    """
    table = np.asarray(values, np.float64)
    present = ~np.isnan(table).any(axis=0)
    sums = np.where(present, table, 0.0).sum(axis=-1)
    counts = np.broadcast_to(present.sum(axis=-1), sums.shape)
    return np.divide(sums, counts, out=np.full(sums.shape, math.nan), where=counts > 0)
