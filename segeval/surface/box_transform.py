"""Distance transform of a small box, exact, for surfaces that are far apart in it.

Axes with one spacing are scanned one after the other: the square of the steps to the nearest target along a line, then
within a plane, then within the box. Shifts that none of the points asked about can need are left out. An axis with
another spacing is not scanned: the points look along it themselves.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_mm2", "fits_box_transform", "scan_axis", "search_axis"]


def fits_box_transform(shape: tuple[int, ...]) -> bool:
    """Whether squared steps within a box fit into 16 bits, with those of a shift on top.

    Args:
        shape: of the box.

    Returns:
        Whether the square of the diagonal in steps is below 2**15.

    Example:
        >>> fits_box_transform((105, 105, 105)), fits_box_transform((3, 200))
        (True, False)
    """
    return _beyond(shape) <= 1 << 15


def _beyond(shape: tuple[int, ...]) -> int:
    """Squared steps that are more than any within a box."""
    return 1 + sum((length - 1) ** 2 for length in shape)


def box_mm2(
    columns: NDArray[np.uint8],
    indices: tuple[NDArray[np.intp], ...],
    spacing_mm: tuple[float, ...],
    column: int,
    at_most_mm2: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Measure the squared distance from each point to the nearest target of a box.

    Args:
        columns: steps from each point of the box to the nearest target along the column axis; where there is none,
            any number that is larger than all steps along it.
        indices: of the points (n,), one array for each axis.
        spacing_mm: of each axis; at most one differs from that of the column axis.
        column: the column axis.
        at_most_mm2: float64 (n,), what the distances do not exceed, or `inf`.

    Returns:
        float64 (n,), in mm².

    Example:
        >>> columns = np.array([[0, 9, 9], [1, 9, 9]], np.uint8)
        >>> box_mm2(columns, (np.array([1]), np.array([2])), (1.0, 3.0), 0, np.array([np.inf])).tolist()
        [37.0]
    """
    step_mm = spacing_mm[column]
    beyond = _beyond(columns.shape)
    square_of = (np.arange(256) ** 2).astype(np.uint16)
    square_of[columns.shape[column] :] = beyond
    squares = square_of.take(columns)
    # the longest axis last, when most is known
    others = sorted((axis for axis in range(columns.ndim) if axis != column), key=lambda axis: columns.shape[axis])
    for axis in (axis for axis in others if spacing_mm[axis] == step_mm):
        # no shift is needed whose square is more than what is known of every point
        known = np.minimum(at_most_mm2 / step_mm**2, squares[indices])
        squares = scan_axis(squares, axis, min(columns.shape[axis] - 1, math.isqrt(math.ceil(known.max()))))
    square_mm2 = _squares_in_mm2(beyond, step_mm)
    other = next((axis for axis in others if spacing_mm[axis] != step_mm), None)
    if other is None:
        return square_mm2.take(squares[indices])
    return search_axis(squares, square_mm2, indices, other, spacing_mm[other])


def _squares_in_mm2(beyond: int, step_mm: float) -> NDArray[np.float64]:
    """Table of squared steps from 0 to `beyond`, which is nowhere, in mm²."""
    table = np.arange(beyond + 1) * step_mm**2
    whole = np.arange(math.isqrt(beyond) + 1)
    table[whole**2] = (whole * step_mm) ** 2  # as it is along a column, to the last bit
    table[beyond] = np.inf
    return table


def scan_axis(squares: NDArray[np.uint16], axis: int, shifts: int) -> NDArray[np.uint16]:
    """Give each grid point the least of the squares + shift² on its line along an axis.

    Args:
        squares: squared steps to the nearest target along the axes scanned so far; with shifts² below 2**16.
        axis: to scan.
        shifts: how far to look to either side.

    Returns:
        uint16 of the same shape.

    Example:
        >>> scan_axis(np.array([0, 99, 99, 99, 1], np.uint16), 0, shifts=4).tolist()
        [0, 1, 4, 2, 1]
    """
    # the axis first, so that what is shifted along it lies in one piece
    least = np.array(np.moveaxis(squares, axis, 0), order="C")
    shifted = least.copy()
    for shift in range(1, shifts + 1):
        shifted += np.uint16(2 * shift - 1)  # from the square before to this one
        np.minimum(least[:-shift], shifted[shift:], out=least[:-shift])
        np.minimum(least[shift:], shifted[:-shift], out=least[shift:])
    return np.moveaxis(least, 0, axis)


def search_axis(
    squares: NDArray[np.uint16],
    square_mm2: NDArray[np.float64],
    indices: tuple[NDArray[np.intp], ...],
    axis: int,
    step_mm: float,
) -> NDArray[np.float64]:
    """Give some points the least of their line of squares in mm² + shift², along an axis with a spacing of its own.

    Args:
        squares: squared steps to the nearest target across the axis.
        square_mm2: table of what these are in mm².
        indices: of the points (n,), one array for each axis.
        axis: to look along.
        step_mm: spacing of the axis.

    Returns:
        float64 (n,), in mm².

    Example:
        >>> squares, square_mm2 = np.array([0, 9, 9, 9], np.uint16), np.arange(10.0)
        >>> search_axis(squares, square_mm2, (np.array([1, 3]),), axis=0, step_mm=2.0).tolist()
        [4.0, 9.0]
    """
    last = squares.shape[axis] - 1
    best = square_mm2.take(squares[indices])
    for shift in range(1, last + 1):
        shift_mm2 = (shift * step_mm) ** 2
        if best.max(initial=0.0) <= shift_mm2:
            break
        for along in (indices[axis] - shift, indices[axis] + shift):
            # beyond an end the end itself, which is nearer than it is counted
            there = squares[*indices[:axis], along.clip(0, last), *indices[axis + 1 :]]
            np.minimum(best, square_mm2.take(there) + shift_mm2, out=best)
    return best
