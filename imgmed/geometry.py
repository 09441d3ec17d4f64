"""Orientation of voxel axes: to right-anterior-superior and back, and comparison of grids."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from nibabel.orientations import io_orientation

__all__ = [
    "Orientation",
    "axis_codes",
    "canonical_affine",
    "canonical_shape",
    "canonical_spacing",
    "describe_affine",
    "from_canonical",
    "is_same_affine",
    "orientation_of",
    "to_canonical",
]

AFFINE_TOLERANCE = 1e-3
CODES = ("LR", "PA", "IS")


class Orientation(NamedTuple):
    """How an array's axes lie in the patient.

    `axes[c]` is the array axis that runs closest to canonical axis c (0 right, 1 anterior, 2 superior);
    `flips[c]` tells whether it runs the other way.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]


def orientation_of(affine: np.ndarray) -> Orientation:
    """Return the orientation of an array with this (4, 4) voxel -> RAS millimetre affine, oblique ones too.

    Source: the axis assignment is nibabel's `io_orientation` (closest rotation, strongest axes first).

    >>> orientation_of(np.diag([-1.0, 1.0, 2.0, 1.0]))
    Orientation(axes=(0, 1, 2), flips=(True, False, False))
    """
    found = io_orientation(np.asarray(affine, dtype=np.float64))
    axes = [0, 0, 0]
    flips = [False, False, False]
    for array_axis, (canonical_axis, direction) in enumerate(found):
        axes[int(canonical_axis)] = array_axis
        flips[int(canonical_axis)] = bool(direction < 0)
    return Orientation((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def axis_codes(affine: np.ndarray) -> str:
    """Return the directions in which the array axes point, such as "RAS" or "LPS".

    >>> axis_codes(np.diag([-1.0, -1.0, 2.0, 1.0]))
    'LPS'
    """
    orientation = orientation_of(affine)
    codes = ["", "", ""]
    for canonical_axis, array_axis in enumerate(orientation.axes):
        codes[array_axis] = CODES[canonical_axis][0 if orientation.flips[canonical_axis] else 1]
    return "".join(codes)


def to_canonical(array: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Return a view of `array` (i, j, k, ...) with its axes in order right, anterior, superior."""
    turned = np.transpose(array, (*orientation.axes, *range(3, array.ndim)))
    return turned[_reversal(orientation.flips)]


def from_canonical(array: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Return a view of canonical `array` (r, a, s, ...) in the array order that `orientation` describes.

    >>> orientation = Orientation((2, 0, 1), (True, False, True))
    >>> array = np.arange(24).reshape(2, 3, 4)
    >>> bool((from_canonical(to_canonical(array, orientation), orientation) == array).all())
    True
    """
    unflipped = array[_reversal(orientation.flips)]
    back = [0, 0, 0]
    for canonical_axis, array_axis in enumerate(orientation.axes):
        back[array_axis] = canonical_axis
    return np.transpose(unflipped, (*back, *range(3, array.ndim)))


def canonical_shape(shape: tuple[int, int, int], orientation: Orientation) -> tuple[int, int, int]:
    """Return the numbers of voxels along right, anterior, superior."""
    r, a, s = (shape[axis] for axis in orientation.axes)
    return r, a, s


def canonical_affine(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the (4, 4) affine of what `to_canonical` makes of a (i, j, k) array of this affine and shape."""
    orientation = orientation_of(affine)
    change = np.zeros((4, 4))
    change[3, 3] = 1.0
    for canonical_axis, array_axis in enumerate(orientation.axes):
        flipped = orientation.flips[canonical_axis]
        change[array_axis, canonical_axis] = -1.0 if flipped else 1.0
        change[array_axis, 3] = shape[array_axis] - 1 if flipped else 0.0
    return np.asarray(affine, dtype=np.float64) @ change


def canonical_spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """Return the voxel spacing in millimetres along right, anterior, superior."""
    spacing = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    r, a, s = (float(spacing[axis]) for axis in orientation_of(affine).axes)
    return r, a, s


def is_same_affine(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether two affines agree in every entry to a thousandth of the smallest voxel spacing."""
    smallest = np.linalg.norm(np.asarray(first)[:3, :3], axis=0).min()
    return bool(np.abs(np.asarray(first) - np.asarray(second)).max() <= AFFINE_TOLERANCE * smallest)


def describe_affine(affine: np.ndarray) -> str:
    """Return an affine in one short line.

    >>> describe_affine(np.diag([1.0, 1.0, 3.0, 1.0]))
    '[[1 0 0 0] [0 1 0 0] [0 0 3 0]]'
    """
    rows = (" ".join(f"{value:.6g}" for value in row) for row in np.asarray(affine)[:3] + 0.0)
    return "[" + " ".join(f"[{row}]" for row in rows) + "]"


def _reversal(flips: tuple[bool, bool, bool]) -> tuple[slice, ...]:
    return tuple(slice(None, None, -1 if flip else 1) for flip in flips)
