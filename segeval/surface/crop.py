"""Masks on grids with room at the ends, in the order in which they lie in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["axes_in_memory_order", "pad_ends"]


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


def pad_ends(mask: NDArray[np.uint8] | NDArray[np.bool_], shape: Sequence[int] | NDArray[np.intp]) -> NDArray[np.uint8]:
    """Copy a mask into the lower corner of a larger, otherwise empty, C-ordered grid.

    Args:
        mask: boolean or 0/1 mask, any strides.
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
