"""Label maps as arrays: whole numbers whatever holds them, and the class of each voxel."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.errors import ArrayTypeError, LabelRangeError, MetricArgumentError
from segeval.labels import Label, label_integers, listed_labels

__all__ = [
    "OtherLabels",
    "as_integers",
    "check_class_values",
    "class_indices",
    "class_table",
    "classes_in",
    "undeclared_error",
    "whole_tolerance",
]

OtherLabels = Literal["refuse", "background"]
"""What becomes of labels that are not declared: an error, or background."""

_WHOLE_WITHIN, _WHOLE_WITHIN_OF_LARGEST, _WHOLE_WITHIN_AT_MOST = 1e-4, 1e-5, 0.2

_LARGEST_EXACT = 2**53
"""Beyond this, numbers with 64 bits are no longer whole one by one."""

_CHUNK_VOXELS = 1 << 17
"""Voxels looked up at a time, so that no 64-bit index of a whole volume is made."""


def whole_tolerance(largest: float) -> float:
    """Give how far the labels of a map may be off whole numbers: as far as files with scale factors round.

    Where a float array is saved under the 16-bit header of a scan, its whole numbers come back rounded to half a step
    of their range, largest / 131070, by factors of single precision: less than 1e-5 of the largest label.
    Interpolation and probabilities leave more than 1e-4 somewhere. ImgMed has the same tolerance.

    Args:
        largest: the largest label of the map.

    Returns:
        1e-4, or 1e-5 of the largest label where that is more, 0.2 at most.

    Example:
        >>> [whole_tolerance(largest) for largest in (3, 117, 60000)]
        [0.0001, 0.00117, 0.2]
    """
    return min(_WHOLE_WITHIN_AT_MOST, max(_WHOLE_WITHIN, round(_WHOLE_WITHIN_OF_LARGEST * abs(largest), 12)))


def as_integers(values: ArrayLike, name: str) -> NDArray[Any]:
    """Take an array as labels: integers and booleans as they are, whole numbers held as real ones as integers.

    Args:
        values: an array of any shape, such as nibabel's `get_fdata()`; one without voxels may have any type.
        name: what to call it in a message.

    Returns:
        integers or booleans of the same shape; the array itself where it holds these.

    Raises:
        ArrayTypeError: neither integers, booleans nor real numbers, or some that are further from a whole number than
            `whole_tolerance`.

    Example:
        >>> as_integers([0.0, 2.0000001], "reference")
        array([0, 2], dtype=uint8)
    """
    array = np.asarray(values)
    if array.dtype.kind in "iub" or not array.size:
        return array
    if array.dtype.kind != "f":
        raise ArrayTypeError(f"{name} must hold integer labels or booleans; received dtype {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ArrayTypeError(f"{name} must hold integer labels; received voxels that are NaN or infinite")
    if max(-low, high) > _LARGEST_EXACT:
        raise ArrayTypeError(f"{name} must hold integer labels; received {low:g} to {high:g}")
    whole, off, example = _rounded(array, round(low), round(high))
    if off:
        advice = "take the argmax of probabilities first" if low >= 0 and high <= 1 else "was it interpolated?"
        raise ArrayTypeError(f"{name} must hold integer labels; {off} voxels do not, such as {example:.10g}; {advice}")
    return whole


def _rounded(array: NDArray[np.floating], low: int, high: int) -> tuple[NDArray[np.integer], int, float]:
    """Round to the narrowest integers; how many voxels are no whole numbers, and the last of them."""
    tolerance, off, example = whole_tolerance(high), 0, math.nan
    dtype = next((small for small in (np.uint8, np.uint16) if low >= 0 and high <= np.iinfo(small).max), np.int64)
    chunks = np.nditer(
        [array, np.empty_like(array, dtype=dtype)],
        flags=["external_loop", "buffered"],
        op_flags=[["readonly", "aligned", "nbo"], ["writeonly"]],
        buffersize=_CHUNK_VOXELS,
    )
    with chunks:
        for values, integers in chunks:
            whole = np.rint(values)
            is_off = np.abs(values - whole) > tolerance
            if is_off.any():
                off, example = off + int(np.count_nonzero(is_off)), float(values[is_off][-1])
            integers[...] = whole
        return chunks.operands[1], off, example


def class_indices(
    label_map: ArrayLike, classes: Sequence[Label], name: str, others: OtherLabels = "refuse"
) -> NDArray[np.integer]:
    """Replace each label by the position of its class among the declared ones.

    Args:
        label_map: labels of any shape, as for `as_integers`.
        classes: from `label_classes`: labels, or tuples of labels that are one class, 0 first.
        name: what to call the array in a message.
        others: what becomes of labels that are not declared.

    Returns:
        uint8 or uint16 of the same shape, values in [0, len(classes)); the array itself where nothing changes.

    Raises:
        ArrayTypeError: not labels.
        LabelRangeError: a label is not among the declared ones; all of those are listed.

    Example:
        >>> class_indices([[0, 5], [2, 5]], (0, 2, 5), "prediction").tolist()
        [[0, 2], [1, 2]]
        >>> class_indices([0, 1, 255, 7], (0, (1, 255)), "prediction", others="background").tolist()
        [0, 1, 1, 0]
    """
    array = as_integers(label_map, name)
    dtype = np.uint8 if len(classes) <= 256 else np.uint16
    if not array.size:
        return array.astype(dtype)
    if array.dtype.kind == "u" and tuple(classes) == tuple(range(len(classes))) and array.max() < len(classes):
        return array
    table, undeclared = class_table(classes), set[int]()
    chunks = np.nditer(
        [array, np.empty_like(array, dtype=dtype)],
        flags=["external_loop", "buffered"],
        op_flags=[["readonly", "aligned", "nbo"], ["writeonly"]],
        buffersize=_CHUNK_VOXELS,
    )
    with chunks:
        for labels, indices in chunks:
            positions = classes_in(labels, table)
            if others == "refuse":
                undeclared.update(labels[positions < 0].tolist())
            indices[...] = positions.clip(0)
        if undeclared:
            raise undeclared_error(name, undeclared, classes)
        return chunks.operands[1]


def class_table(classes: Sequence[Label]) -> NDArray[np.int32]:
    """Tabulate the class of each label.

    Args:
        classes: labels, or tuples of labels that are one class; none negative, none twice.

    Returns:
        int32 (largest label + 1,): the position of each label's class, -1 for a label that is not declared.

    Example:
        >>> class_table((0, 2, (3, 5))).tolist()
        [0, -1, 1, 2, -1, 2]
    """
    members = [label_integers(label) for label in classes]
    table = np.full(max(max(values) for values in members) + 1, -1, dtype=np.int32)
    for position, values in enumerate(members):
        table[list(values)] = position
    return table


def check_class_values(class_values: Sequence[int]) -> NDArray[np.int64]:
    """Refuse labels that cannot be the classes of a confusion matrix.

    Args:
        class_values: the declared labels.

    Returns:
        The same as int64.

    Raises:
        MetricArgumentError: class_values is empty, not ascending or negative.

    Example:
        >>> check_class_values((0, 2, 5))
        array([0, 2, 5])
    """
    values = np.asarray(class_values, dtype=np.int64)
    if values.size == 0 or values[0] < 0 or (np.diff(values) <= 0).any():
        raise MetricArgumentError(f"class values must be ascending integers from 0 on; received {class_values}")
    return values


def classes_in(labels: NDArray[Any], table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Look the class of each label up in a table.

    Args:
        labels: integers or booleans of any shape.
        table: from `class_table`.

    Returns:
        int32 of the same shape, -1 where the label is not declared.

    Example:
        >>> classes_in(np.array([5, 1, 2, 9, -1]), class_table((0, 2, 5))).tolist()
        [2, -1, 1, -1, -1]
    """
    if labels.size == 0 or (labels.min() >= 0 and labels.max() < table.size):
        return table[labels.astype(np.intp)]
    inside = (labels >= 0) & (labels < table.size)
    return np.where(inside, table[np.where(inside, labels, 0).astype(np.intp)], np.int32(-1))


def undeclared_error(name: str, undeclared: Collection[int], classes: Sequence[Label]) -> LabelRangeError:
    """Make the error that names the labels found but not declared.

    Args:
        name: what to call the array.
        undeclared: the labels that it holds and should not.
        classes: the declared labels.

    Returns:
        The error, to be raised.

    Example:
        >>> print(undeclared_error("prediction", {7, 3}, (0, 1)))
        prediction holds labels 3, 7, not among the declared labels 0, 1
    """
    return LabelRangeError(
        f"{name} holds {listed_labels(sorted(undeclared), 'label')}, not among the declared"
        f" {listed_labels(classes, 'label')}"
    )
