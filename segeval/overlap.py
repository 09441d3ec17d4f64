"""Overlap metrics as functions of a confusion matrix.

Convention for every value per class: where reference and prediction are both empty, NaN; where only one of
them is empty, the worst value, 0. Averages over classes leave NaN out; `mean_over_classes` says how many were
left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.confusion import count_classes
from segeval.errors import ShapeMismatchError

__all__ = [
    "ClassMean",
    "dice",
    "dice_from_counts",
    "frequency_weighted_iou",
    "jaccard",
    "mean_accuracy",
    "mean_iou",
    "mean_over_classes",
    "pixel_accuracy",
    "precision",
    "sensitivity",
    "specificity",
]


class ClassMean(NamedTuple):
    """A mean over classes, with the number of classes that took part and the number left out."""

    mean: float
    n: int
    left_out: int


def dice(confusion: ArrayLike) -> NDArray[np.float64]:
    """Dice coefficient of each class, 2|A∩B| / (|A| + |B|) (Dice 1945).

    Args:
        confusion: int64 (num_classes, num_classes), rows reference, from `confusion_matrix`.

    Returns:
        float64 (num_classes,) in [0, 1]; NaN where the class is in neither, 0 where it is in one only.

    Raises:
        SegEvalError: not a square matrix of counts.

    Example:
        >>> dice([[1, 0], [1, 2]]).round(3).tolist()
        [0.667, 0.8]
    """
    return dice_from_counts(count_classes(confusion))


def dice_from_counts(counts: ArrayLike) -> NDArray[np.float64]:
    """Dice coefficient from counts of `class_counts`, summed over batches and workers as one likes.

    Args:
        counts: integers (..., 3): intersection, reference, prediction.

    Returns:
        float64 (...): NaN where reference and prediction are both 0.

    Raises:
        ShapeMismatchError: the last axis is not 3.

    Example:
        >>> dice_from_counts([[2, 3, 2], [0, 0, 4], [0, 0, 0]]).tolist()
        [0.8, 0.0, nan]
    """
    array = np.asarray(counts)
    if array.ndim < 1 or array.shape[-1] != 3:
        raise ShapeMismatchError(
            f"counts must end in an axis of 3 (intersection, reference, prediction); received {array.shape}"
        )
    return _ratio(2 * array[..., 0], array[..., 1] + array[..., 2])


def jaccard(confusion: ArrayLike) -> NDArray[np.float64]:
    """Jaccard index (intersection over union) of each class, n_ii / (t_i + p_i - n_ii) (Jaccard 1912).

    Args:
        confusion: int64 (num_classes, num_classes), rows reference.

    Returns:
        float64 (num_classes,) in [0, 1]; NaN where the class is in neither, 0 where it is in one only.

    Raises:
        SegEvalError: not a square matrix of counts.

    Example:
        >>> jaccard([[1, 0], [1, 2]]).round(3).tolist()
        [0.5, 0.667]
    """
    both, reference, prediction = count_classes(confusion).T
    return _ratio(both, reference + prediction - both)


def precision(confusion: ArrayLike) -> NDArray[np.float64]:
    """Share of the predicted voxels of each class that the reference confirms, TP / (TP + FP).

    Args:
        confusion: int64 (num_classes, num_classes), rows reference.

    Returns:
        float64 (num_classes,) in [0, 1]; NaN where the class is in neither, 0 where it is in one only.

    Raises:
        SegEvalError: not a square matrix of counts.

    Example:
        >>> precision([[1, 0], [1, 2]]).tolist()
        [0.5, 1.0]
    """
    both, reference, prediction = count_classes(confusion).T
    return _ratio_or_worst(both, prediction, reference)


def sensitivity(confusion: ArrayLike) -> NDArray[np.float64]:
    """Share of the reference voxels of each class that were found, TP / (TP + FN); also called recall.

    Args:
        confusion: int64 (num_classes, num_classes), rows reference.

    Returns:
        float64 (num_classes,) in [0, 1]; NaN where the class is in neither, 0 where it is in one only.

    Raises:
        SegEvalError: not a square matrix of counts.

    Example:
        >>> sensitivity([[1, 0], [1, 2]]).round(3).tolist()
        [1.0, 0.667]
    """
    both, reference, prediction = count_classes(confusion).T
    return _ratio_or_worst(both, reference, prediction)


def specificity(confusion: ArrayLike) -> NDArray[np.float64]:
    """Share of the voxels outside each class that were left outside, TN / (TN + FP).

    It is the sensitivity of the class's complement, and the convention for empty masks applies to the
    complement.

    Args:
        confusion: int64 (num_classes, num_classes), rows reference.

    Returns:
        float64 (num_classes,) in [0, 1]; NaN where both fill the image, 0 where only one of them does.

    Raises:
        SegEvalError: not a square matrix of counts.

    Example:
        >>> specificity([[1, 0], [1, 2]]).round(3).tolist()
        [0.667, 1.0]
    """
    both, reference, prediction = count_classes(confusion).T
    total = reference.sum()
    outside_both = total - reference - prediction + both
    return _ratio_or_worst(outside_both, total - reference, total - prediction)


def pixel_accuracy(confusion: ArrayLike) -> float:
    """Share of all voxels with the right class, Σ n_ii / Σ t_i (Long et al. 2015, section 5).

    Args:
        confusion: int64 (num_classes, num_classes), rows reference; the background counts as a class.

    Returns:
        A number in [0, 1]; NaN without any voxel.

    Raises:
        SegEvalError: not a square matrix of counts.

    Example:
        >>> pixel_accuracy([[1, 0], [1, 2]])
        0.75
    """
    both, reference, _ = count_classes(confusion).T
    return float(_ratio(both.sum(), reference.sum()))


def mean_accuracy(confusion: ArrayLike) -> float:
    """Mean over the reference's classes of the share found, mean of n_ii / t_i (Long et al. 2015, section 5).

    A class that is absent from the reference has no t_i and is left out, as in the authors' own script.

    Args:
        confusion: int64 (num_classes, num_classes), rows reference; the background counts as a class.

    Returns:
        A number in [0, 1]; NaN without any voxel.

    Raises:
        SegEvalError: not a square matrix of counts.

    Example:
        >>> round(mean_accuracy([[1, 0], [1, 2]]), 4)
        0.8333
    """
    both, reference, _ = count_classes(confusion).T
    return mean_over_classes(_ratio(both, reference)).mean


def mean_iou(confusion: ArrayLike) -> float:
    """Mean over classes of intersection over union (Long et al. 2015, section 5).

    Classes in neither reference nor prediction are left out; a class that is only predicted counts as 0.

    Args:
        confusion: int64 (num_classes, num_classes), rows reference; the background counts as a class.

    Returns:
        A number in [0, 1]; NaN without any voxel.

    Raises:
        SegEvalError: not a square matrix of counts.

    Example:
        >>> round(mean_iou([[1, 0], [1, 2]]), 4)
        0.5833
    """
    return mean_over_classes(jaccard(confusion)).mean


def frequency_weighted_iou(confusion: ArrayLike) -> float:
    """IoU weighted by the reference's class frequency, Σ t_i IoU_i / Σ t_i (Long et al. 2015, section 5).

    Args:
        confusion: int64 (num_classes, num_classes), rows reference; the background counts as a class.

    Returns:
        A number in [0, 1]; NaN without any voxel.

    Raises:
        SegEvalError: not a square matrix of counts.

    Example:
        >>> frequency_weighted_iou([[1, 0], [1, 2]])
        0.625
    """
    _, reference, _ = count_classes(confusion).T
    present = reference > 0
    weighted = (reference[present] * jaccard(confusion)[present]).sum()
    return float(_ratio(weighted, reference.sum()))


def volume_similarity(confusion: ArrayLike) -> NDArray[np.float64]:
    """Agreement of the volumes of each class, 1 - |V_pred - V_ref| / (V_pred + V_ref) (Taha and Hanbury 2015).

    Args:
        confusion: int64 (num_classes, num_classes), rows reference.

    Returns:
        float64 (num_classes,) in [0, 1]; NaN where the class is in neither, 0 where it is in one only.

    Example:
        >>> volume_similarity([[1, 0], [1, 2]]).round(3).tolist()
        [0.667, 0.8]
    """
    _, reference, prediction = count_classes(confusion).T
    return 1 - _ratio(np.abs(prediction - reference), reference + prediction)


def region_counts(
    confusion: ArrayLike, class_values: Sequence[int], region: Sequence[int]
) -> tuple[int, int, int, int]:
    """Count a region, the union of several classes.

    Args:
        confusion: int64 (num_classes, num_classes), rows reference.
        class_values: the label behind each row.
        region: labels that make up the region.

    Returns:
        tp, fp, fn, tn in voxels.

    Example:
        >>> region_counts([[5, 1, 0], [0, 2, 1], [0, 0, 3]], (0, 1, 2), (1, 2))
        (6, 1, 0, 5)
    """
    matrix = np.asarray(confusion, np.int64)
    inside = np.isin(class_values, region)
    tp = int(matrix[inside][:, inside].sum())
    n_ref, n_pred = int(matrix[inside].sum()), int(matrix[:, inside].sum())
    return tp, n_pred - tp, n_ref - tp, int(matrix.sum()) - n_ref - n_pred + tp


def long_et_al(matrices: ArrayLike) -> dict[str, NDArray[np.float64]]:
    stack = np.asarray(matrices, np.float64)
    both = np.diagonal(stack, axis1=-2, axis2=-1)
    reference, prediction = stack.sum(axis=-1), stack.sum(axis=-2)
    iou = _ratio(both, reference + prediction - both)
    total = reference.sum(axis=-1)
    return {
        "pixel_accuracy": _ratio(both.sum(axis=-1), total),
        "mean_accuracy": _nanmean(_ratio(both, reference)),
        "mean_iou": _nanmean(iou),
        "frequency_weighted_iou": _ratio(np.where(reference > 0, reference * iou, 0).sum(axis=-1), total),
    }


def _nanmean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    valid = ~np.isnan(values)
    return _ratio(np.where(valid, values, 0.0).sum(axis=-1), valid.sum(axis=-1))


def mean_over_classes(values: ArrayLike) -> ClassMean:
    """Average values per class, leave NaN out and say how many took part.

    Args:
        values: float64 (num_classes,), NaN where a class has no value.

    Returns:
        The mean (NaN where no class has a value), the number of classes in it and the number left out.

    Example:
        >>> mean_over_classes([0.5, float("nan"), 1.0])
        ClassMean(mean=0.75, n=2, left_out=1)
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    valid = array[~np.isnan(array)]
    mean = float(valid.mean()) if valid.size else float("nan")
    return ClassMean(mean=mean, n=int(valid.size), left_out=int(array.size - valid.size))


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Divide; 0 / 0 is NaN without a warning."""
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom != 0)


def _ratio_or_worst(
    numerator: NDArray[np.int64], denominator: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Divide; an empty denominator gives 0 where the other mask is not empty, else NaN."""
    return np.where((denominator == 0) & (other > 0), 0.0, _ratio(numerator, denominator))
