"""Formulas of the overlap metrics, of n_ii, t_i and p_i of Long et al. (2015); 0 / 0 is NaN.

Each metric of a class is a ratio of sums of a few counts, so one product with a table gives them all: on a small image
a call for each would take longer than to count its voxels. For the same reason sums go by `np.add.reduce`, which
`.sum()` calls in the end, with its arguments by position: by name they cost half as much again.
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
    shape = stack.shape[:-1]
    counts = np.empty((5, *shape))  # float64: exact up to 2^53 voxels
    both, reference, prediction = class_sums(stack, out=counts[:3])
    voxels = np.add.reduce(reference, -1)
    counts[3] = voxels[..., None]
    np.minimum(reference, prediction, out=counts[4])
    numerators, denominators, instead = (_TABLE @ counts.reshape(5, -1)).reshape(3, len(_RATIOS), *shape)
    undefined = denominators == 0
    # what Long et al. sum over classes: sensitivity and IoU, the two last ratios, of the classes that have them; how
    # many these are; t_i IoU_i; n_ii
    terms = np.zeros((6, *shape))
    occurs = ~undefined[-2:]
    terms[2:4] = occurs
    np.divide(numerators[-2:], denominators[-2:], out=terms[:2], where=occurs)
    np.multiply(reference, terms[1], out=terms[4])
    terms[5] = both
    sums = np.add.reduce(terms, -1)
    np.copyto(denominators, instead, where=undefined)
    means, shares = sums[:2] / sums[2:4], sums[4:] / voxels
    images = dict(zip(IMAGE_METRICS, (shares[1], means[0], means[1], shares[0]), strict=True))
    return dict(zip(_RATIOS, numerators / denominators, strict=True)) | images
