"""Confusion matrices: every overlap metric is a function of one, and they add up over cases and workers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.errors import ArrayTypeError, LabelRangeError, MetricArgumentError, ShapeMismatchError

__all__ = ["check_same_shape", "class_counts", "confusion_matrix", "count_classes"]

_CHUNK_VOXELS = 1 << 20
"""Voxels counted at a time, so that the 64-bit codes of a large volume never exist all at once."""


def confusion_matrix(
    reference: ArrayLike, prediction: ArrayLike, num_classes: int, ignore_label: int | None = None
) -> NDArray[np.int64]:
    """Count how often each pair of reference and predicted class occurs.

    Args:
        reference: class indices, integers or booleans of any shape, each in [0, num_classes) or ignore_label.
        prediction: class indices of the same shape, each in [0, num_classes) where the reference is not
            ignored.
        num_classes: number of classes, the background included; at least 1.
        ignore_label: voxels with this value in the reference are not counted, whatever the prediction says
            there.

    Returns:
        int64 (num_classes, num_classes): rows are reference classes, columns predicted classes.

    Raises:
        ShapeMismatchError: the two shapes differ (nothing is broadcast).
        ArrayTypeError: an array is neither integer nor boolean.
        LabelRangeError: a counted voxel lies outside [0, num_classes).
        MetricArgumentError: num_classes is less than 1.

    Example:
        >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], num_classes=2)
        array([[1, 1],
               [0, 2]])
        >>> confusion_matrix([0, 255, 1], [0, 1, 1], num_classes=2, ignore_label=255)
        array([[1, 0],
               [0, 1]])
    """
    if num_classes < 1:
        raise MetricArgumentError(f"num_classes must be at least 1; received {num_classes}")
    reference_array, prediction_array = np.asarray(reference), np.asarray(prediction)
    check_same_shape(reference_array, prediction_array)
    reference_flat, prediction_flat = _flatten(reference_array, prediction_array)
    totals = np.zeros(num_classes * num_classes, dtype=np.int64)
    for start in range(0, reference_flat.size, _CHUNK_VOXELS):
        reference_chunk = reference_flat[start : start + _CHUNK_VOXELS]
        prediction_chunk = prediction_flat[start : start + _CHUNK_VOXELS]
        if ignore_label is not None:
            counted = reference_chunk != ignore_label
            reference_chunk, prediction_chunk = reference_chunk[counted], prediction_chunk[counted]
        _check_range(reference_chunk, "reference", num_classes)
        _check_range(prediction_chunk, "prediction", num_classes)
        codes = reference_chunk.astype(np.int64)
        codes *= num_classes
        codes += prediction_chunk.astype(np.int64, copy=False)
        totals += np.bincount(codes, minlength=totals.size)
    return totals.reshape(num_classes, num_classes)


def class_counts(
    reference: ArrayLike, prediction: ArrayLike, num_classes: int, ignore_label: int | None = None
) -> NDArray[np.int64]:
    """Count, for each class, the voxels in both, in the reference and in the prediction.

    Three numbers a class are enough for Dice and IoU, and they add up over batches and workers.

    Args:
        reference: class indices as for `confusion_matrix`.
        prediction: class indices of the same shape.
        num_classes: number of classes, the background included.
        ignore_label: voxels with this value in the reference are not counted.

    Returns:
        int64 (num_classes, 3): columns are intersection, reference, prediction.

    Raises:
        SegEvalError: as for `confusion_matrix`.

    Example:
        >>> class_counts([0, 0, 1, 1], [0, 1, 1, 1], num_classes=2)
        array([[1, 2, 1],
               [2, 2, 3]])
    """
    return count_classes(confusion_matrix(reference, prediction, num_classes, ignore_label))


def count_classes(confusion: ArrayLike) -> NDArray[np.int64]:
    """Reduce a confusion matrix to the counts of `class_counts`.

    Args:
        confusion: counts (num_classes, num_classes), rows reference.

    Returns:
        int64 (num_classes, 3): columns are intersection, reference, prediction.

    Raises:
        ShapeMismatchError: the matrix is not square.

    Example:
        >>> count_classes([[1, 1], [0, 2]])
        array([[1, 2, 1],
               [2, 2, 3]])
    """
    matrix = np.asarray(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeMismatchError(
            f"a confusion matrix must be square (num_classes, num_classes); received shape {matrix.shape}"
        )
    if matrix.dtype.kind not in "iu":
        raise ArrayTypeError(f"a confusion matrix must hold integer counts; received dtype {matrix.dtype}")
    matrix = matrix.astype(np.int64, copy=False)
    return np.stack([np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)], axis=1)


def check_same_shape(reference: NDArray[np.generic], prediction: NDArray[np.generic]) -> None:
    """Refuse two arrays that do not cover the same voxels.

    Args:
        reference: any array.
        prediction: any array.

    Raises:
        ShapeMismatchError: the shapes differ.

    Example:
        >>> check_same_shape(np.zeros((2, 3)), np.ones((2, 3)))
    """
    if reference.shape != prediction.shape:
        raise ShapeMismatchError(
            f"reference and prediction must have the same shape; received {reference.shape} and {prediction.shape}"
        )


def _flatten(
    reference: NDArray[np.generic], prediction: NDArray[np.generic]
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Flatten both in one order, without a copy where memory allows it (NIfTI arrays are Fortran-ordered)."""
    for name, array in (("reference", reference), ("prediction", prediction)):
        if array.size and array.dtype.kind not in "iub":
            raise ArrayTypeError(
                f"{name} must hold integer class indices or booleans; received dtype {array.dtype}"
                + ("; take the argmax of probabilities first" if array.dtype.kind == "f" else "")
            )
    order = "F" if reference.flags.f_contiguous and prediction.flags.f_contiguous else "C"
    return reference.ravel(order=order), prediction.ravel(order=order)  # type: ignore[arg-type]


def _check_range(values: NDArray[np.generic], name: str, num_classes: int) -> None:
    if values.size == 0:
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= num_classes:
        outside = low if low < 0 else high
        raise LabelRangeError(
            f"{name} must lie in 0 to {num_classes - 1} (num_classes={num_classes}); received {outside}"
        )
