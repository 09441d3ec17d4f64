"""Formulas of the overlap metrics, of n_ii, t_i and p_i of Long et al. (2015); 0 / 0 is NaN.

A matrix of few classes is computed with Python's numbers: a call of NumPy takes as long as all arithmetic of a class.
The ten metrics of 3 classes take 12 µs, where NumPy takes 24 at its best, of 8 classes 24 and 30. Larger matrices and
stacks, as a bootstrap draws them, are computed with arrays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.confusion import check_counts, class_sums
from segeval.errors import ShapeMismatchError

__all__ = ["IMAGE_METRICS", "of_matrix", "of_stack"]

_CLASS_METRICS = ("dice", "volume_similarity", "precision", "specificity", "sensitivity", "jaccard")

IMAGE_METRICS = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")
"""Metrics of Long et al. (2015): one number an image, the background one of the classes; the others: one a class."""

_METRICS = (*_CLASS_METRICS, *IMAGE_METRICS)
_FEW_CLASSES = 8


def of_matrix(metric: str, confusion: ArrayLike) -> NDArray[np.float64]:
    """Compute one metric of one checked confusion matrix of counts: float64 (num_classes,), or a single number.

    Example:
        >>> of_matrix("dice", [[1, 0], [1, 2]]).round(3).tolist()
        [0.667, 0.8]
    """
    return _all_metrics(check_counts(confusion))[metric]


def of_stack(confusion: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Compute all metrics of a matrix or of a stack (..., num_classes, num_classes), also of weighted sums.

    Example:
        >>> of_stack([[[0.5, 0.0], [0.5, 1.0]]])["pixel_accuracy"].tolist()
        [0.75]
    """
    stack = np.asarray(confusion)
    if stack.ndim < 2 or stack.shape[-1] != stack.shape[-2]:
        raise ShapeMismatchError(
            f"confusion matrices must be square (..., num_classes, num_classes); received shape {stack.shape}"
        )
    return _all_metrics(stack)


def _all_metrics(stack: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    has_few = stack.ndim == 2 and 0 < len(stack) <= _FEW_CLASSES
    return _with_numbers(stack) if has_few else _with_arrays(stack)


def _class_ratios(n: Any, t: Any, p: Any, voxels: Any) -> tuple[tuple[Any, Any, Any], ...]:
    """Give the metrics of a class, in the order of _CLASS_METRICS, of numbers or arrays.

    Each is a numerator, a denominator, and what divides where that is 0: 0 / it is 0, the worst, or NaN where it is 0
    as well.
    """
    either, union = t + p, t + p - n
    return (
        (2 * n, either, either),
        (either - abs(t - p), either, either),  # twice the smaller of t and p
        (n, p, t),
        (voxels - union, voxels - t, voxels - p),
        (n, t, p),
        (n, union, union),
    )


def _with_numbers(matrix: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    rows = matrix.tolist()
    references = [sum(row) for row in rows]
    voxels, correct, weighted = sum(references), 0, 0
    of_classes, sensitivities, overlaps = [], [], []
    for index, (t, column) in enumerate(zip(references, zip(*rows, strict=True), strict=True)):
        n, p = column[index], sum(column)
        scores = [_ratio(*ratio) for ratio in _class_ratios(n, t, p, voxels)]
        of_classes.append(scores)
        correct += n
        if t:
            sensitivities.append(scores[-2])
            weighted += t * scores[-1]
        if t or p:
            overlaps.append(scores[-1])
    of_image = _ratio(correct, voxels), _mean(sensitivities), _mean(overlaps), _ratio(weighted, voxels)
    return dict(zip(_METRICS, (*np.array(of_classes).T, *np.array(of_image)), strict=True))


def _ratio(numerator: float, denominator: float, instead: float = 0) -> float:
    return numerator / denominator if denominator else 0.0 if instead else math.nan


def _mean(values: list[float]) -> float:
    return _ratio(sum(values), len(values))


@np.errstate(invalid="ignore")
def _with_arrays(stack: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    n, t, p = class_sums(stack, out=np.empty((3, *stack.shape[:-1])))  # float64: exact up to 2^53 voxels
    voxels = t.sum(axis=-1)
    of_classes = [
        np.where(denominator == 0, 0 / instead, numerator / denominator)
        for numerator, denominator, instead in _class_ratios(n, t, p, voxels[..., None])
    ]
    # where a class has no voxels to be scored by, it counts as 0 in the sums and not in the number
    has_reference, occurs = t != 0, t + p != 0
    sensitivities, overlaps = np.where(has_reference, of_classes[-2], 0), np.where(occurs, of_classes[-1], 0)
    of_image = (
        n.sum(axis=-1) / voxels,
        sensitivities.sum(axis=-1) / has_reference.sum(axis=-1),
        overlaps.sum(axis=-1) / occurs.sum(axis=-1),
        (t * overlaps).sum(axis=-1) / voxels,
    )
    return dict(zip(_METRICS, (*of_classes, *of_image), strict=True))
