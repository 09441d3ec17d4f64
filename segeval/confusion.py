"""Confusion matrices: every overlap metric is a function of one, and they add up over cases and workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.class_maps import as_integers, check_class_values, class_table, classes_in, undeclared_error
from segeval.counting import chunks_of, count_pairs
from segeval.errors import ArrayTypeError, LabelRangeError, MetricArgumentError, ShapeMismatchError

__all__ = [
    "check_counts",
    "check_num_classes",
    "check_same_shape",
    "class_counts",
    "class_sums",
    "confusion_matrix",
    "confusion_of_labels",
    "count_classes",
]


def confusion_matrix(
    reference: ArrayLike, prediction: ArrayLike, num_classes: int, ignore_label: int | None = None
) -> NDArray[np.int64]:
    """Count how often each pair of reference and predicted class occurs.

    Args:
        reference: class indices of any shape, each in [0, num_classes) or ignore_label: integers, booleans, or whole
            numbers held as real ones.
        prediction: class indices of the same shape, each in [0, num_classes) where the reference is not
            ignored.
        num_classes: number of classes, the background included; at least 1.
        ignore_label: voxels with this value in the reference are not counted, whatever the prediction says
            there.

    Returns:
        int64 (num_classes, num_classes): rows are reference classes, columns predicted classes.

    Raises:
        ShapeMismatchError: the two shapes differ (nothing is broadcast).
        ArrayTypeError: an array does not hold whole numbers.
        LabelRangeError: a counted voxel lies outside [0, num_classes).
        MetricArgumentError: num_classes is no integer or less than 1, or ignore_label is no integer.

    Example:
        >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], num_classes=2)
        array([[1, 1],
               [0, 2]])
        >>> confusion_matrix([0, 255, 1], [0, 1, 1], num_classes=2, ignore_label=255)
        array([[1, 0],
               [0, 1]])
    """
    check_num_classes(num_classes)
    arrays = _label_maps(reference, prediction)
    totals, all_declared = count_pairs(*arrays, num_classes, ignore_label)
    if not all_declared:
        name, labels = next(_undeclared(*arrays, range(num_classes), ignore_label))
        outside = int(labels.min() if labels.min() < 0 else labels.max())
        raise LabelRangeError(
            f"{name} must lie in 0 to {num_classes - 1} (num_classes={num_classes}); received {outside}"
        )
    return totals


def confusion_of_labels(
    reference: ArrayLike, prediction: ArrayLike, class_values: Sequence[int], ignore_label: int | None = None
) -> NDArray[np.int64]:
    """Count pairs of labels that are any integers, as the confusion matrix of their classes.

    The same as `confusion_matrix` of both maps' `class_indices`, without making those.

    Args:
        reference: labels of any shape, each among class_values or ignore_label, held as for `confusion_matrix`.
        prediction: labels of the same shape, each among class_values where the reference is not ignored.
        class_values: the declared labels, ascending.
        ignore_label: as for `confusion_matrix`.

    Returns:
        int64 (classes, classes): row and column n belong to class_values[n].

    Raises:
        ShapeMismatchError: the two shapes differ.
        ArrayTypeError: an array does not hold whole numbers.
        LabelRangeError: a counted voxel's label is not among the declared ones.
        MetricArgumentError: class_values is empty, not ascending or negative, or ignore_label is no integer.

    Example:
        >>> confusion_of_labels([0, 5, 5], [0, 0, 5], class_values=(0, 5))
        array([[1, 0],
               [1, 1]])
    """
    values = check_class_values(class_values)
    arrays = _label_maps(reference, prediction)
    totals, all_declared = count_pairs(*arrays, values, ignore_label)
    if not all_declared:
        undeclared: dict[str, set[int]] = {}
        for name, labels in _undeclared(*arrays, class_values, ignore_label):
            undeclared.setdefault(name, set()).update(np.unique(labels).tolist())
        name = "reference" if "reference" in undeclared else "prediction"
        raise undeclared_error(name, undeclared[name], class_values)
    return totals


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
        ArrayTypeError: it does not hold integers.

    Example:
        >>> count_classes([[1, 1], [0, 2]])
        array([[1, 2, 1],
               [2, 2, 3]])
    """
    return class_sums(check_counts(confusion)).T


def class_sums(matrices: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Sum confusion matrices up to n_ii, t_i and p_i of Long et al. (2015), all that overlap metrics need.

    Args:
        matrices: (..., num_classes, num_classes), rows reference.
        out: (3, ..., num_classes), where the sums are put; as the matrices' dtype where it is not given.

    Returns:
        Intersection, reference and prediction of each class, (3, ..., num_classes).

    Example:
        >>> class_sums(np.array([[1, 1], [0, 2]])).tolist()
        [[1, 2], [2, 2], [1, 3]]
    """
    sums = np.empty((3, *matrices.shape[:-1]), matrices.dtype) if out is None else out
    sums[0] = matrices.diagonal(0, -2, -1)
    np.add.reduce(matrices, -1, None, sums[1])  # axis, dtype, out: by position in less time
    np.add.reduce(matrices, -2, None, sums[2])
    return sums


def check_counts(confusion: ArrayLike) -> NDArray[np.int64]:
    """Refuse what is not a confusion matrix of counts.

    Args:
        confusion: integers (num_classes, num_classes), rows reference.

    Returns:
        The same as int64.

    Raises:
        ShapeMismatchError: the matrix is not square.
        ArrayTypeError: it does not hold integers.

    Example:
        >>> check_counts([[1, 1], [0, 2]]).dtype
        dtype('int64')
    """
    matrix = np.asarray(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeMismatchError(
            f"a confusion matrix must be square (num_classes, num_classes); received shape {matrix.shape}"
        )
    if matrix.dtype.kind not in "iu":
        raise ArrayTypeError(f"a confusion matrix must hold integer counts; received dtype {matrix.dtype}")
    return matrix.astype(np.int64, copy=False)


def check_num_classes(num_classes: int) -> None:
    """Refuse what is no number of classes.

    Args:
        num_classes: an integer, at least 1.

    Raises:
        MetricArgumentError: the rule is broken.

    Example:
        >>> check_num_classes(2)
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer) or num_classes < 1:
        raise MetricArgumentError(f"num_classes must be an integer, at least 1; received {num_classes!r}")


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


def _label_maps(reference: ArrayLike, prediction: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    arrays = np.asarray(reference), np.asarray(prediction)
    check_same_shape(*arrays)
    return as_integers(arrays[0], "reference"), as_integers(arrays[1], "prediction")


def _undeclared(
    reference: NDArray[Any], prediction: NDArray[Any], class_values: Sequence[int], ignore_label: int | None
) -> Iterator[tuple[str, NDArray[Any]]]:
    """List the labels of counted voxels that are not among the declared ones, a chunk at a time, by name of the map."""
    table = class_table(class_values)
    for chunk in chunks_of(reference, prediction):
        counted = slice(None) if ignore_label is None else chunk[0] != ignore_label
        for name, labels in zip(("reference", "prediction"), chunk, strict=True):
            undeclared = labels[counted][classes_in(labels[counted], table) < 0]
            if undeclared.size:
                yield name, undeclared
