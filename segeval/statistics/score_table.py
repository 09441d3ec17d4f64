"""Scores of one model as a table: what comparisons and rankings start from, whoever measured them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segeval.conventions import Conventions
from segeval.errors import ShapeMismatchError
from segeval.labels import Label

if TYPE_CHECKING:
    from segeval.evaluation import Evaluation

__all__ = ["ScoreTable", "score_table"]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Scores of one model, case by case.

    Attributes:
        case_ids: one name a case, all different.
        patient_ids: patient of each case; the case itself where none is known.
        labels: the integer, or the integers of a region, behind each name; by their key ("1") where there is no name.
        metrics: for each metric float64 (cases, labels); NaN where there is no value.
        n_ref: int64 (cases, labels), voxels of the reference; None where unknown.
        voxels: int64 (cases, labels), voxels that were compared; None where unknown.
        conventions: how the numbers were made; None where unknown.
        spacings_mm: voxel size that each case was measured with, None where unknown.

    Raises:
        ShapeMismatchError: a table of another shape, not one patient a case, or a case twice.

    Example:
        >>> ScoreTable(("a", "b"), ("a", "b"), {"liver": 1}, {"dice": np.array([[0.9], [0.8]])}).metrics["dice"].shape
        (2, 1)
    """

    case_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    labels: Mapping[str, Label]
    metrics: Mapping[str, NDArray[np.float64]]
    n_ref: NDArray[np.int64] | None = None
    voxels: NDArray[np.int64] | None = None
    conventions: Conventions | None = None
    spacings_mm: tuple[tuple[float, ...] | None, ...] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.case_ids), len(self.labels))
        tables = {**self.metrics, "n_ref": self.n_ref, "voxels": self.voxels}
        wrong = [
            f"{name} {table.shape}" for name, table in tables.items() if table is not None and table.shape != shape
        ]
        if self.spacings_mm is not None and len(self.spacings_mm) != shape[0]:
            wrong.append(f"spacings_mm of {len(self.spacings_mm)} cases")
        if wrong or len(self.patient_ids) != shape[0] or len(set(self.case_ids)) != shape[0]:
            raise ShapeMismatchError(
                f"every table must be (cases, labels), here {shape}, of different cases with one patient each; "
                f"received {', '.join(wrong) or 'such tables'}, {len(set(self.case_ids))} different cases and "
                f"{len(self.patient_ids)} patients"
            )


def score_table(evaluation: Evaluation) -> ScoreTable:
    """Take the scores out of an evaluation.

    Args:
        evaluation: of `evaluate_folder` or `read_evaluation`.

    Returns:
        The table, with the evaluation's conventions.

    Example:
        See `segeval.files.scores.read_scores`, which reads a table from disk.
    """
    cases = evaluation.cases
    shape = (len(cases), len(evaluation.labels))

    def counts(which: tuple[str, ...]) -> NDArray[np.int64]:
        rows = [[sum(getattr(score, name) for name in which) for score in case.scores] for case in cases]
        return np.array(rows, dtype=np.int64).reshape(shape)

    return ScoreTable(
        case_ids=tuple(case.case_id for case in cases),
        patient_ids=tuple(case.patient_id for case in cases),
        labels=dict(evaluation.labels),
        metrics={
            metric: np.array([[score.values[metric] for score in case.scores] for case in cases], np.float64).reshape(
                shape
            )
            for metric in evaluation.conventions.metrics
        },
        n_ref=counts(("n_ref",)),
        voxels=counts(("tp", "fp", "fn", "tn")),
        conventions=evaluation.conventions,
        spacings_mm=tuple(case.spacing_mm for case in cases),
    )
