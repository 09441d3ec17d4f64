"""Formulas of the overlap metrics, of n_ii, t_i and p_i of Long et al. (2015) along the last axis; 0 / 0 is NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.confusion import check_counts, class_sums
from segeval.errors import ShapeMismatchError

__all__ = ["OF_CLASSES", "OF_IMAGES", "of_matrix", "of_stack"]

Counts = NDArray[Any]
Formula = Callable[[Counts, Counts, Counts], NDArray[np.float64]]


def of_matrix(formula: Formula, confusion: ArrayLike) -> NDArray[np.float64]:
    """Apply a formula to one checked confusion matrix of counts: float64 (num_classes,), or a single number.

    Example:
        >>> of_matrix(dice, [[1, 0], [1, 2]]).round(3).tolist()
        [0.667, 0.8]
    """
    sums = class_sums(check_counts(confusion))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return formula(*sums)


def of_stack(formulas: dict[str, Formula], confusion: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Apply formulas to a stack of matrices (..., num_classes, num_classes), also of weighted sums.

    Example:
        >>> of_stack(OF_IMAGES, [[[0.5, 0.0], [0.5, 1.0]]])["pixel_accuracy"].tolist()
        [0.75]
    """
    stack = np.asarray(confusion)
    if stack.ndim < 2 or stack.shape[-1] != stack.shape[-2]:
        raise ShapeMismatchError(
            f"confusion matrices must be square (..., num_classes, num_classes); received shape {stack.shape}"
        )
    sums = class_sums(stack.astype(np.int64 if stack.dtype.kind in "iu" else np.float64, copy=False))
    with np.errstate(invalid="ignore"):
        return {name: formula(*sums) for name, formula in formulas.items()}


def _sum(values: NDArray[Any]) -> NDArray[Any]:
    return np.add.reduce(values, axis=-1)  # what .sum() calls in the end


def dice(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    return 2 * both / (reference + prediction)


def jaccard(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    return both / (reference + prediction - both)


def precision(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    # where nothing is predicted, 0 / reference is 0, the worst, or NaN where there is no reference either
    return both / np.where(prediction == 0, reference, prediction)


def sensitivity(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    return precision(both, prediction, reference)


def specificity(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    total = reference.sum(axis=-1, keepdims=True)
    outside_reference, outside_prediction = total - reference, total - prediction
    return sensitivity(outside_reference - prediction + both, outside_reference, outside_prediction)


def volume_similarity(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    return 1 - np.abs(prediction - reference) / (reference + prediction)


def pixel_accuracy(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    return _sum(both) / _sum(reference)


def mean_accuracy(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    return _mean_of_numbers(both / reference)


def mean_iou(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    return _mean_of_numbers(jaccard(both, reference, prediction))


def frequency_weighted_iou(both: Counts, reference: Counts, prediction: Counts) -> NDArray[np.float64]:
    weighted = np.where(reference > 0, reference * jaccard(both, reference, prediction), 0.0)
    return _sum(weighted) / _sum(reference)


def _mean_of_numbers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average along the last axis what is not NaN."""
    valid = ~np.isnan(values)
    return _sum(np.where(valid, values, 0.0)) / _sum(valid)


OF_CLASSES: dict[str, Formula] = {
    "dice": dice,
    "jaccard": jaccard,
    "precision": precision,
    "sensitivity": sensitivity,
    "specificity": specificity,
    "volume_similarity": volume_similarity,
}
OF_IMAGES: dict[str, Formula] = {
    "pixel_accuracy": pixel_accuracy,
    "mean_accuracy": mean_accuracy,
    "mean_iou": mean_iou,
    "frequency_weighted_iou": frequency_weighted_iou,
}
