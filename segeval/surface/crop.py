"""The part of two masks that matters: the box that holds both, in the order in which it lies in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["axes_in_memory_order", "pad_ends", "union_box"]


def axes_in_memory_order(array: NDArray[np.generic]) -> tuple[int, ...]:
    """Order the axes by their strides, so that a transposed view in this order is read as it lies in memory.

    Args:
        array: any array; one read from NIfTI is usually in Fortran order.

    Returns:
        Axes, the one with the largest stride first.

    Example:
        >>> axes_in_memory_order(np.zeros((2, 3, 4), order="F"))
        (2, 1, 0)
    """
    return tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))


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


def pad_ends(mask: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Copy a mask into the lower corner of a larger, otherwise empty, C-ordered grid.

    Args:
        mask: 0/1 mask, any strides.
        shape: of the grid.

    Returns:
        uint8 0/1 of that shape.

    Example:
        >>> pad_ends(np.array([[1, 1]], np.uint8), (2, 3)).tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    padded = np.zeros(shape, np.uint8)
    padded[tuple(slice(0, length) for length in mask.shape)] = mask
    return padded


def _extent(occupied: NDArray[np.bool_]) -> slice:
    where = np.flatnonzero(occupied)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0)
