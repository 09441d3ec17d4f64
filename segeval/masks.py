"""Masks: what counts as one, and the boxes that hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.class_maps import as_integers
from segeval.errors import ArrayTypeError

__all__ = ["as_mask", "enclosing_box", "union_box"]


def as_mask(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Take an array as a mask; refuse what is none.

    Args:
        values: boolean, or 0 and 1, of any shape.
        name: what to call the array in a message.

    Returns:
        boolean of the same shape; the array itself where it is boolean.

    Raises:
        ArrayTypeError: neither boolean nor with the values 0 and 1.

    Example:
        >>> as_mask([0, 1], "reference").tolist()
        [False, True]
    """
    array = as_integers(values, name)
    if array.dtype.kind == "b":
        return array
    if array.size and (array.min() < 0 or array.max() > 1):
        raise ArrayTypeError(
            f"{name} must be a mask, boolean or with the values 0 and 1; received dtype {array.dtype}"
            + (f" with values {array.min()} to {array.max()}" if array.size else "")
            + "; compare a label map with one label first (label_map == 2)"
        )
    return array.astype(bool)


def union_box(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[slice, ...]:
    """Find the smallest box that holds both masks; empty slices where there is nothing.

    Args:
        first: 0/1 mask.
        second: 0/1 mask of the same shape.

    Returns:
        One slice for each axis.

    Example:
        >>> union_box(np.array([[0, 1, 0, 0]], np.uint8), np.array([[0, 0, 1, 0]], np.uint8))
        (slice(0, 1, None), slice(1, 3, None))
    """
    box: list[slice] = []
    while first.ndim > 1:
        others = tuple(range(1, first.ndim))
        along = _extent(first.view(bool).any(axis=others) | second.view(bool).any(axis=others))
        box.append(along)
        # what is left to find lies in the shadow of these planes along the axis just done
        first = np.bitwise_or.reduce(first[along], axis=0) | np.bitwise_or.reduce(second[along], axis=0)
        second = first
    return (*box, _extent((first | second).view(bool)))


def enclosing_box(boxes: Sequence[tuple[slice, ...] | None], axes: int) -> tuple[slice, ...]:
    """Find the smallest box around several.

    Args:
        boxes: of each, the slice along every axis; None for nothing.
        axes: number of axes of the image.

    Returns:
        The box; empty slices where there is nothing.

    Example:
        >>> enclosing_box([(slice(1, 3),), None, (slice(2, 7),)], axes=1)
        (slice(1, 7, None),)
    """
    present = [box for box in boxes if box is not None]
    if not present:
        return tuple(slice(0, 0) for _ in range(axes))
    return tuple(
        slice(min(along.start for along in sides), max(along.stop for along in sides))
        for sides in zip(*present, strict=True)
    )


def _extent(occupied: NDArray[np.bool_]) -> slice:
    where = np.flatnonzero(occupied)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0)
