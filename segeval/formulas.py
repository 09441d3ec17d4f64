"""Formulas of the overlap metrics, of n_ii, t_i and p_i of Long et al. (2015); 0 / 0 is NaN.

Each metric of a class is a ratio of sums of a few counts, so one product with a table gives them all: on a small image
a call for each would take longer than to count its voxels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.confusion import check_counts, class_sums
from segeval.errors import ShapeMismatchError

__all__ = ["IMAGE_METRICS", "of_matrix", "of_stack"]

_N, _T, _P, _ALL, _MIN = np.eye(5)
"""Of a class: n_ii, t_i, p_i, the voxels of the image, and the smaller of t_i and p_i."""

_RATIOS = {
    # numerator, denominator, and what divides where that is 0: 0 / it is 0, the worst, or NaN where it is 0 as well
    "dice": (2 * _N, _T + _P, _T + _P),
    "volume_similarity": (2 * _MIN, _T + _P, _T + _P),
    "precision": (_N, _P, _T),
    "specificity": (_ALL - _T - _P + _N, _ALL - _T, _ALL - _P),
    "sensitivity": (_N, _T, _P),
    "jaccard": (_N, _T + _P - _N, _T + _P - _N),
}
_TABLE = np.stack([row for column in zip(*_RATIOS.values(), strict=True) for row in column])

IMAGE_METRICS = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")
"""Metrics of Long et al. (2015): one number an image, the background one of the classes; the others: one a class."""


def of_matrix(metric: str, confusion: ArrayLike) -> NDArray[np.float64]:
    """Compute one metric of one checked confusion matrix of counts: float64 (num_classes,), or a single number.

    Example:
        >>> of_matrix("dice", [[1, 0], [1, 2]]).round(3).tolist()
        [0.667, 0.8]
    """
    return _all_metrics(check_counts(confusion))[metric]


def of_stack(confusion: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Compute all metrics of a stack of matrices (..., num_classes, num_classes), also of weighted sums.

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


@np.errstate(invalid="ignore")
def _all_metrics(stack: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    both, reference, prediction = class_sums(stack)
    voxels = _sum(reference)
    counts = np.empty((*both.shape[:-1], 5, both.shape[-1]))  # float64: exact up to 2^53 voxels
    counts[..., 0, :], counts[..., 1, :], counts[..., 2, :] = both, reference, prediction
    counts[..., 3, :] = voxels[..., None]
    np.minimum(reference, prediction, out=counts[..., 4, :])
    found = _TABLE @ counts
    numerators, denominators, instead = found[..., :6, :], found[..., 6:12, :], found[..., 12:, :]
    values = numerators / np.where(denominators == 0, instead, denominators)
    metrics = dict(zip(_RATIOS, values if values.ndim == 2 else np.moveaxis(values, -2, 0), strict=True))
    # Long et al. average sensitivity and IoU over the classes that have them, the two last rows
    occurs = denominators[..., 4:, :] > 0
    means = _sum(values[..., 4:, :], occurs) / _sum(occurs)
    weighted = _sum(reference * metrics["jaccard"], reference > 0)
    image = _sum(both) / voxels, means[..., 0], means[..., 1], weighted / voxels
    return metrics | dict(zip(IMAGE_METRICS, image, strict=True))


def _sum(values: NDArray[Any], where: Any = True) -> NDArray[Any]:
    return np.add.reduce(values, axis=-1, where=where)  # what .sum() calls in the end
