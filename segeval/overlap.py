"""Overlap metrics as functions of a confusion matrix.

Convention for every value per class: where reference and prediction are both empty, NaN; where only one of
them is empty, the worst value, 0. Averages over classes leave NaN out; `mean_over_classes` says how many were
left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.confusion import check_counts, class_sums
from segeval.errors import MetricArgumentError, ShapeMismatchError

__all__ = [
    "ClassMean",
    "RegionCounts",
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
    "region_counts",
    "sensitivity",
    "specificity",
    "volume_similarity",
]


class ClassMean(NamedTuple):
    """A mean over classes, with the number of classes that took part and the number left out."""

    mean: float
    n: int
    left_out: int


class RegionCounts(NamedTuple):
    """Voxels of one structure in both maps, in the prediction only, in the reference only, in neither."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The same as a confusion matrix of two classes; index 1 of a metric of it is the structure's."""
        return np.array([[self.tn, self.fp], [self.fn, self.tp]], dtype=np.int64)


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
    return _of_matrix(_dice, confusion)


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
    return _of_matrix(_jaccard, confusion)


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
    return _of_matrix(_precision, confusion)


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
    return _of_matrix(_sensitivity, confusion)


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
    return _of_matrix(_specificity, confusion)


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
    return float(_of_matrix(_pixel_accuracy, confusion))


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
    return float(_of_matrix(_mean_accuracy, confusion))


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
    return float(_of_matrix(_mean_iou, confusion))


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
    return float(_of_matrix(_frequency_weighted_iou, confusion))


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
    return _of_matrix(_volume_similarity, confusion)


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


def region_counts(confusion: ArrayLike, class_values: Sequence[int], region: Sequence[int]) -> RegionCounts:
    """Count a region, the union of several classes; one matrix serves any number of regions that overlap.

    Args:
        confusion: int64 (num_classes, num_classes), rows reference.
        class_values: the label behind each row.
        region: labels that make up the region, at least one.

    Returns:
        tp, fp, fn and tn in voxels.

    Raises:
        SegEvalError: not a square matrix of counts.
        MetricArgumentError: class_values are not one a row, or the region is empty or not made of them.

    Example:
        >>> region_counts([[5, 1, 0], [0, 2, 1], [0, 0, 3]], (0, 1, 2), (1, 2))
        RegionCounts(tp=6, fp=1, fn=0, tn=5)
        >>> float(dice(region_counts([[5, 1, 0], [0, 2, 1], [0, 0, 3]], (0, 1, 2), (1, 2)).confusion)[1].round(3))
        0.923
    """
    matrix = check_counts(confusion)
    if len(class_values) != len(matrix):
        raise MetricArgumentError(
            f"class_values must name each of the {len(matrix)} rows; received {tuple(class_values)}"
        )
    if not region or not set(region) <= set(class_values):
        raise MetricArgumentError(
            f"a region must be made of the classes {tuple(class_values)}, at least one; received {tuple(region)}"
        )
    inside = np.isin(class_values, region)
    tn, fp, fn, tp = (
        int(matrix[np.ix_(rows, columns)].sum()) for rows in (~inside, inside) for columns in (~inside, inside)
    )
    return RegionCounts(tp, fp, fn, tn)


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
    return _of_stack(_OF_CLASSES | _OF_IMAGES, confusion)


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
    return _of_stack(_OF_IMAGES, confusion)


# ---- the formulas, of n_ii, t_i and p_i along the last axis -------------------------------------------------

_Counts = NDArray[Any]
_Formula = Callable[[_Counts, _Counts, _Counts], NDArray[np.float64]]


def _of_matrix(formula: _Formula, confusion: ArrayLike) -> NDArray[np.float64]:
    sums = class_sums(check_counts(confusion))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return formula(*sums)


def _of_stack(formulas: dict[str, _Formula], confusion: ArrayLike) -> dict[str, NDArray[np.float64]]:
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


def _dice(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    return 2 * both / (reference + prediction)


def _jaccard(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    return both / (reference + prediction - both)


def _precision(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    # where nothing is predicted, 0 / reference is 0, the worst, or NaN where there is no reference either
    return both / np.where(prediction == 0, reference, prediction)


def _sensitivity(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    return _precision(both, prediction, reference)


def _specificity(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    total = reference.sum(axis=-1, keepdims=True)
    outside_reference, outside_prediction = total - reference, total - prediction
    return _sensitivity(outside_reference - prediction + both, outside_reference, outside_prediction)


def _volume_similarity(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    return 1 - np.abs(prediction - reference) / (reference + prediction)


def _pixel_accuracy(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    return _sum(both) / _sum(reference)


def _mean_accuracy(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    return _mean_of_numbers(both / reference)


def _mean_iou(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    return _mean_of_numbers(_jaccard(both, reference, prediction))


def _frequency_weighted_iou(both: _Counts, reference: _Counts, prediction: _Counts) -> NDArray[np.float64]:
    weighted = np.where(reference > 0, reference * _jaccard(both, reference, prediction), 0.0)
    return _sum(weighted) / _sum(reference)


def _mean_of_numbers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average along the last axis what is not NaN."""
    valid = ~np.isnan(values)
    return _sum(np.where(valid, values, 0.0)) / _sum(valid)


_OF_CLASSES: dict[str, _Formula] = {
    "dice": _dice,
    "jaccard": _jaccard,
    "precision": _precision,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "volume_similarity": _volume_similarity,
}
_OF_IMAGES: dict[str, _Formula] = {
    "pixel_accuracy": _pixel_accuracy,
    "mean_accuracy": _mean_accuracy,
    "mean_iou": _mean_iou,
    "frequency_weighted_iou": _frequency_weighted_iou,
}
