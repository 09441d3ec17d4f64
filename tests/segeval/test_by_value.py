from dataclasses import replace

import numpy as np
import pytest

import segeval


def case_of(reference, **choices):
    return segeval.evaluate(reference, [0, 0, 1], {"a": 1, "b": 2}, (1.0,), **choices)


@pytest.mark.parametrize(
    "build",
    [
        lambda: case_of([0, 1, 1]),  # NaN: there is no b
        lambda: case_of([0, 1, 1]).scores[1],
        lambda: segeval.match_lesions([1, 0, 1], [1, 0, 0]),
        lambda: segeval.OverlapAccumulator.from_confusion(np.eye(40, dtype=int)).result(),
    ],
    ids=["case", "score", "lesions", "result"],
)
def test_results_made_twice_are_equal_and_cannot_be_keys(build):
    assert build() == build()
    assert build() != "another thing"
    with pytest.raises(TypeError, match="unhashable"):
        hash(build())


def test_any_difference_tells():
    """One entry of a matrix of 1600, of which printing shows a few; an order; a type."""
    matrix = np.zeros((40, 40), np.int64)
    other = matrix.copy()
    other[20, 20] = 1
    one, two = (segeval.OverlapAccumulator.from_confusion(counts).result() for counts in (matrix, other))
    assert one != two
    assert case_of([0, 1, 1]) != case_of([0, 1, 0])
    score = case_of([0, 1, 1], metrics=("dice", "nsd")).scores[0]
    assert replace(score, values=dict(reversed(score.values.items()))) != score
    assert replace(score, label=(1,)) != score
