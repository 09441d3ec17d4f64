"""Overlap metrics as functions of a confusion matrix.

Convention for every value per class: where reference and prediction are both empty, NaN; where only one of
them is empty, the worst value, 0. Averages over classes leave NaN out; `mean_over_classes` says how many were
left.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval import formulas
from segeval.confusion import check_counts, class_sums
from segeval.errors import MetricArgumentError, ShapeMismatchError

__all__ = [
    "ClassMean",
    "absolute_volume_difference_ml",
    "dice",
    "dice_from_counts",
    "frequency_weighted_iou",
    "jaccard",
    "long_et_al",
    "mean_accuracy",
    "mean_iou",
    "mean_over_classes",
    "overlap_scores",
    "pixel_accuracy",
    "precision",
    "sensitivity",
    "specificity",
    "volume_similarity",
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
    return formulas.of_matrix("dice", confusion)


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
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.true_divide(2 * array[..., 0], array[..., 1] + array[..., 2])


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
    return formulas.of_matrix("jaccard", confusion)


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
    return formulas.of_matrix("precision", confusion)


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
    return formulas.of_matrix("sensitivity", confusion)


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
    return formulas.of_matrix("specificity", confusion)


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
    return float(formulas.of_matrix("pixel_accuracy", confusion))


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
    return float(formulas.of_matrix("mean_accuracy", confusion))


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
    return float(formulas.of_matrix("mean_iou", confusion))


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
    return float(formulas.of_matrix("frequency_weighted_iou", confusion))


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
    return formulas.of_matrix("volume_similarity", confusion)


def absolute_volume_difference_ml(confusion: ArrayLike, voxel_ml: float) -> NDArray[np.float64]:
    """Difference between the predicted and the reference's volume of each class, |V_pred - V_ref|.

    Args:
        confusion: int64 (num_classes, num_classes), rows reference.
        voxel_ml: volume of a voxel in ml, the product of the spacing in mm / 1000.

    Returns:
        float64 (num_classes,) in ml: what is measured, also where one is empty or both (0) are.

    Raises:
        SegEvalError: not a square matrix of counts.
        MetricArgumentError: voxel_ml is negative.

    Example:
        >>> absolute_volume_difference_ml([[1, 0], [3, 2]], voxel_ml=0.002).tolist()
        [0.006, 0.006]
    """
    if voxel_ml < 0:
        raise MetricArgumentError(f"voxel_ml must not be negative; received {voxel_ml}")
    _, reference, prediction = class_sums(check_counts(confusion))
    return np.abs(prediction - reference) * voxel_ml


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


def overlap_scores(confusion: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Compute all overlap metrics of a confusion matrix, or of a stack of them, at once.

    Args:
        confusion: (..., num_classes, num_classes), rows reference: counts, or sums of counts with weights of any kind,
            as a bootstrap draws them.

    Returns:
        By the names of the functions: dice, jaccard, precision, sensitivity, specificity and volume_similarity,
        float64 (..., num_classes); pixel_accuracy, mean_accuracy, mean_iou and frequency_weighted_iou, float64 (...).

    Raises:
        ShapeMismatchError: the last two axes are not equal.

    Example:
        >>> scores = overlap_scores([[1, 0], [1, 2]])
        >>> scores["dice"].round(3).tolist(), float(scores["pixel_accuracy"])
        ([0.667, 0.8], 0.75)
    """
    return formulas.of_stack(confusion)


def long_et_al(confusion: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Compute the four metrics of Long et al. (2015) of a confusion matrix, or of a stack of them, at once.

    Args:
        confusion: (..., num_classes, num_classes), as for `overlap_scores`.

    Returns:
        float64 (...) each: pixel_accuracy, mean_accuracy, mean_iou and frequency_weighted_iou.

    Raises:
        ShapeMismatchError: the last two axes are not equal.

    Example:
        >>> scores = long_et_al([[[1, 0], [1, 2]], [[0.5, 0.0], [0.0, 0.5]]])
        >>> scores["pixel_accuracy"].tolist(), scores["mean_iou"].round(4).tolist()
        ([0.75, 1.0], [0.5833, 1.0])
    """
    scores = formulas.of_stack(confusion)
    return {metric: scores[metric] for metric in formulas.IMAGE_METRICS}
