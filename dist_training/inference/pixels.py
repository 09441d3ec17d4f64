"""What many pixels' few channels amount to, some pixels at a time, one channel after the other.

NumPy's sums, maxima and comparisons over a last axis of a few numbers take several times as long, and arrays that the
processor's cache does not hold twice as long again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["likeliest", "softmax"]

PIXELS = 2**14


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits (..., classes) into probabilities of the same shape and dtype.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    rows = logits.reshape(-1, logits.shape[-1])
    result = np.empty_like(rows)
    for some in _parts(len(rows)):
        planes = np.ascontiguousarray(rows[some].T)
        planes -= planes.max(axis=0)
        np.exp(planes, out=planes)
        planes /= planes.sum(axis=0)
        result[some] = planes.T
    return result.reshape(logits.shape)


def likeliest(scores: np.ndarray) -> np.ndarray:
    """Return the index of the highest of each pixel's scores (..., classes), the first of several; unsigned (...).

    >>> likeliest(np.array([[0.1, 0.8, 0.1], [0.2, 0.4, 0.4]])).tolist()
    [1, 1]
    """
    rows = scores.reshape(-1, scores.shape[-1])
    kind = np.min_scalar_type(scores.shape[-1] - 1).type
    result = np.zeros(len(rows), kind)
    for some in _parts(len(rows)):
        planes, found = rows[some].T, result[some]
        highest = planes[0].copy()
        for index, plane in enumerate(planes[1:], start=1):
            np.maximum(found, (plane > highest) * kind(index), out=found)
            np.maximum(highest, plane, out=highest)
    return result.reshape(scores.shape[:-1])


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, PIXELS):
        yield slice(start, start + PIXELS)
