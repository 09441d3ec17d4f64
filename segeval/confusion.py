"""Confusion matrices: every overlap metric is a function of one, and they add up over cases and workers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.errors import ArrayTypeError, LabelRangeError, MetricArgumentError, ShapeMismatchError
from segeval.labels import check_integers, class_table, classes_of, undeclared_error

__all__ = [
    "check_counts",
    "check_same_shape",
    "class_counts",
    "class_sums",
    "confusion_matrix",
    "confusion_of_labels",
    "count_classes",
]

_CHUNK_VOXELS = 1 << 17
"""Voxels counted at a time: what is made on the way stays in the processor's cache."""


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
    totals = np.zeros(num_classes * num_classes, dtype=np.int64)
    for reference_labels, prediction_labels, voxels in _pairs(reference, prediction, ignore_label, totals.size):
        _check_range(reference_labels, "reference", num_classes)
        _check_range(prediction_labels, "prediction", num_classes)
        _add_pairs(totals, reference_labels, prediction_labels, voxels)
    return totals.reshape(num_classes, num_classes)


def confusion_of_labels(
    reference: ArrayLike, prediction: ArrayLike, class_values: Sequence[int], ignore_label: int | None = None
) -> NDArray[np.int64]:
    """Count pairs of labels that are any integers, as the confusion matrix of their classes.

    The same as `confusion_matrix` of both maps' `class_indices`, without making those.

    Args:
        reference: integers or booleans of any shape, each among class_values or ignore_label.
        prediction: integers or booleans of the same shape, each among class_values where the reference is not
            ignored.
        class_values: the declared labels, ascending.
        ignore_label: as for `confusion_matrix`.

    Returns:
        int64 (classes, classes): row and column n belong to class_values[n].

    Raises:
        ShapeMismatchError: the two shapes differ.
        ArrayTypeError: an array is neither integer nor boolean.
        LabelRangeError: a counted voxel's label is not among the declared ones.
        MetricArgumentError: class_values is empty, not ascending or negative.

    Example:
        >>> confusion_of_labels([0, 5, 5], [0, 0, 5], class_values=(0, 5))
        array([[1, 0],
               [1, 1]])
    """
    table = class_table(class_values)
    totals = np.zeros(len(class_values) ** 2, dtype=np.int64)
    undeclared: dict[str, set[int]] = {"reference": set(), "prediction": set()}
    for reference_labels, prediction_labels, voxels in _pairs(reference, prediction, ignore_label, totals.size):
        reference_classes = classes_of(reference_labels, table)
        prediction_classes = classes_of(prediction_labels, table)
        undeclared["reference"].update(reference_labels[reference_classes < 0].tolist())
        undeclared["prediction"].update(prediction_labels[prediction_classes < 0].tolist())
        if not any(undeclared.values()):
            _add_pairs(totals, reference_classes, prediction_classes, voxels)
    for name, values in undeclared.items():
        if values:
            raise undeclared_error(name, values, class_values)
    return totals.reshape(len(class_values), len(class_values))


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
    return np.array(class_sums(check_counts(confusion))).T


def class_sums(matrices: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Sum confusion matrices up to n_ii, t_i and p_i of Long et al. (2015), all that overlap metrics need.

    Args:
        matrices: (..., num_classes, num_classes), rows reference.

    Returns:
        Intersection, reference and prediction of each class, (..., num_classes) each.

    Example:
        >>> [counts.tolist() for counts in class_sums(np.array([[1, 1], [0, 2]]))]
        [[1, 2], [2, 2], [1, 3]]
    """
    return matrices.diagonal(axis1=-2, axis2=-1), matrices.sum(axis=-1), matrices.sum(axis=-2)


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


def _pairs(
    reference: ArrayLike, prediction: ArrayLike, ignore_label: int | None, codes: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[np.int64] | None]]:
    """Walk through both maps in memory order, a chunk at a time, and list pairs of labels.

    Yields:
        Reference labels, predicted labels, and how many voxels have each such pair (None: 1 each); a pair may be
        listed many times.
    """
    arrays = np.asarray(reference), np.asarray(prediction)
    check_same_shape(*arrays)
    for array, name in zip(arrays, ("reference", "prediction"), strict=True):
        check_integers(array, name)
    chunks = np.nditer(
        arrays,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly", "contig", "aligned", "nbo"]] * 2,  # type: ignore[list-item]  # NumPy's stub: "config"
        order="K",
        buffersize=max(_CHUNK_VOXELS, codes),
    )
    for chunk in chunks if arrays[0].size else ():
        unsigned = [_unsigned(labels) for labels in chunk]
        is_binary = all(labels.max() <= 1 for labels in unsigned)
        reference_labels, prediction_labels, voxels = _binary_pairs(*unsigned) if is_binary else _runs(*chunk)
        if ignore_label is not None:
            counted = reference_labels != ignore_label
            reference_labels, prediction_labels = reference_labels[counted], prediction_labels[counted]
            voxels = None if voxels is None else voxels[counted]
        yield reference_labels, prediction_labels, voxels


def _binary_pairs(
    reference: NDArray[Any], prediction: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Count the pairs of labels 0 and 1; those that occur are listed."""
    tp, n_ref, n_pred = (np.count_nonzero(mask) for mask in (reference & prediction, reference, prediction))
    voxels = np.array([reference.size - n_ref - n_pred + tp, n_pred - tp, n_ref - tp, tp])
    occur = voxels > 0
    return np.array([0, 0, 1, 1])[occur], np.array([0, 1, 0, 1])[occur], voxels[occur]


def _runs(
    reference: NDArray[Any], prediction: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64] | None]:
    """List runs of voxels with one pair of labels, and their lengths; single voxels where runs are short.

    Neighbours in a label map mostly agree, so there are far fewer runs than voxels, and to find where a label changes
    each map is read once, in its own type.
    """
    changes = reference[1:] != reference[:-1]
    changes |= prediction[1:] != prediction[:-1]
    last = np.flatnonzero(changes)
    if last.size >= reference.size // 4:
        return reference, prediction, None
    bounds = np.empty(last.size + 2, last.dtype)
    bounds[0], bounds[1:-1], bounds[-1] = -1, last, reference.size - 1
    return reference[bounds[1:]], prediction[bounds[1:]], bounds[1:] - bounds[:-1]


def _unsigned(labels: NDArray[Any]) -> NDArray[Any]:
    """See integers as unsigned, so that negative ones are the largest."""
    return labels.view(f"u{labels.itemsize}")


def _add_pairs(
    totals: NDArray[np.int64],
    reference: NDArray[Any],
    prediction: NDArray[Any],
    voxels: NDArray[np.int64] | None,
) -> None:
    """Add the pairs of one chunk to the totals: in the smallest type that holds a code, exact in float64."""
    codes = reference.astype(np.min_scalar_type(totals.size - 1))
    codes *= math.isqrt(totals.size)
    np.add(codes, prediction, out=codes, casting="unsafe")
    totals += np.bincount(codes, weights=voxels, minlength=totals.size).astype(np.int64, copy=False)


def _check_range(values: NDArray[Any], name: str, num_classes: int) -> None:
    if values.size and _unsigned(values).max() >= num_classes:
        low, high = int(values.min()), int(values.max())
        outside = low if low < 0 else high
        raise LabelRangeError(
            f"{name} must lie in 0 to {num_classes - 1} (num_classes={num_classes}); received {outside}"
        )
