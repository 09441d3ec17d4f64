"""Scores of several candidates brought onto the same cases."""

import math

import numpy as np
import pytest

from r2d2.choosing.scores import scores_of
from segeval import ScoreTable
from segeval.errors import ComparisonError

NAN = math.nan
CASES = ("a", "b", "c")


def table(dice: list[list[float]], n_ref: int = 10) -> ScoreTable:
    values = np.array(dice)
    voxels = np.full(values.shape, n_ref)
    return ScoreTable(CASES, ("p", "p", "q"), {"organ": 1, "lesion": 2}, {"dice": values}, n_ref=voxels)


def test_a_label_counts_where_all_have_it_and_a_case_where_there_is_one() -> None:
    first = table([[0.5, 0.7], [0.6, NAN], [NAN, 0.9]])
    second = table([[0.9, 0.9], [0.8, 0.2], [0.4, NAN]])
    scores = scores_of({"2d": first, "3d": second}, "dice", {"a": 1, "b": 0, "c": 1})
    assert scores.case_ids == ("a", "b")  # c has no label with both
    assert scores.patient_ids == ("p", "p")
    assert scores.folds.tolist() == [1, 0]
    assert scores.of("2d") == pytest.approx([0.6, 0.6])
    assert scores.of("3d") == pytest.approx([0.9, 0.8])
    assert scores.only(scores.folds == 0).case_ids == ("b",)


def test_scores_of_other_references_are_refused() -> None:
    one = table([[0.5, 0.7]] * 3)
    with pytest.raises(ComparisonError, match="not measured against the same reference"):
        scores_of({"2d": one, "3d": table([[0.5, 0.7]] * 3, n_ref=11)}, "dice", dict.fromkeys(CASES, 0))
    nothing = table([[NAN, NAN]] * 3)
    with pytest.raises(ComparisonError, match="no case has a value of dice with"):
        scores_of({"2d": one, "3d": nothing}, "dice", dict.fromkeys(CASES, 0))
