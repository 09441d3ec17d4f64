"""Orientation of voxel axes: to right-anterior-superior and back, and comparison of grids."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from imgmed.errors import PairMismatchError

__all__ = [
    "Orientation",
    "axis_codes",
    "canonical_affine",
    "canonical_shape",
    "canonical_spacing",
    "check_same_voxels",
    "from_canonical",
    "orientation_of",
    "place_on_grid",
    "to_canonical",
]

LATTICE_TOLERANCE = 0.05  # voxels, at the farthest corner: what rounded numbers in headers amount to
SPACING_TOLERANCE = 1e-3  # of a spacing, below which a difference is told as one of direction or of place
OTHER_UNITS = (1e-3, 1e3)  # between headers of the same voxels, of which one names no unit or a wrong one
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
    return _orientation_of(np.asarray(affine, dtype=np.float64).tobytes())


@lru_cache(maxsize=1024)
def _orientation_of(affine: bytes) -> Orientation:
    from nibabel.orientations import io_orientation  # here: nibabel takes half a second to load

    found = io_orientation(np.frombuffer(affine).reshape(4, 4))
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


def place_on_grid(
    array: np.ndarray,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    target_affine: np.ndarray,
    fill: float | None = 0,
) -> np.ndarray:
    """Return an array's voxels on another grid whose voxel centres are at the same places; nothing is interpolated.

    Args:
        array: (i, j, k, ...) any type.
        affine: (4, 4) of `array`, voxel -> RAS millimetres.
        shape: number of voxels of the target along its three axes; it may be cut out of the array, reach
            beyond it, and have its axes in another order or direction.
        target_affine: (4, 4) of the target.
        fill: value of target voxels outside `array`; None: both must cover exactly the same voxels. Their headers may
            then count in units that differ by a thousand: the target's is believed.

    Returns:
        (*shape, ...) of the same type; a view of `array` where it covers the target exactly.

    Raises:
        PairMismatchError: the voxel centres differ by more than 5 % of a voxel somewhere; says how. Or, without
            `fill`, other voxels are covered.

    >>> place_on_grid(np.array([1, 2]).reshape(2, 1, 1), np.diag([-1.0, 1, 1, 1]), (3, 1, 1), np.eye(4)).ravel()
    array([1, 0, 0])
    """
    if fill is None:
        affine = _in_unit_of(target_affine, affine)
    axes, signs, offsets = _lattice_change(array.shape[:3], affine, target_affine)
    turned = np.transpose(array, (*axes, *range(3, array.ndim)))
    turned = turned[tuple(slice(None, None, sign) for sign in signs)]
    starts = [
        offset if sign > 0 else offset - (size - 1)
        for offset, sign, size in zip(offsets, signs, turned.shape, strict=False)
    ]
    if turned.shape[:3] == tuple(shape) and not any(starts):
        return turned
    if fill is None:
        raise PairMismatchError(
            f"they cover other voxels: {' x '.join(map(str, turned.shape[:3]))} beginning at voxel"
            f" {tuple(starts)} of {' x '.join(map(str, shape))}"
        )
    into, out_of = [], []
    for start, size, length in zip(starts, turned.shape, shape, strict=False):
        low, high = max(start, 0), min(start + size, length)
        into.append(slice(low, max(low, high)))
        out_of.append(slice(low - start, max(low, high) - start))
    placed = np.full((*shape, *array.shape[3:]), fill, array.dtype)
    if all(part.stop > part.start for part in into):
        placed[tuple(into)] = turned[tuple(out_of)]
    return placed


def _in_unit_of(target_affine: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """`affine`, or what it is in the unit of the other one, where voxels are a thousand times as long in all of it."""
    volumes = [abs(np.linalg.det(np.asarray(matrix, np.float64)[:3, :3])) for matrix in (target_affine, affine)]
    ratio = (volumes[0] / volumes[1]) ** (1 / 3)
    unit = next((unit for unit in OTHER_UNITS if abs(ratio / unit - 1) <= SPACING_TOLERANCE), 1.0)
    return np.asarray(affine, np.float64) * [[unit], [unit], [unit], [1.0]]


def check_same_voxels(
    shape: tuple[int, int, int], affine: np.ndarray, target_shape: tuple[int, int, int], target_affine: np.ndarray
) -> None:
    """Raise PairMismatchError unless two grids cover the same voxels, in whatever order of axes; says how they differ.

    >>> check_same_voxels((2, 3, 4), np.eye(4), (2, 3, 4), np.eye(4))
    """
    nothing = np.broadcast_to(np.uint8(0), shape)  # takes no memory
    place_on_grid(nothing, affine, target_shape, target_affine, fill=None)


def _lattice_change(
    shape: tuple[int, ...], affine: np.ndarray, target_affine: np.ndarray
) -> tuple[list[int], list[int], list[int]]:
    """For each target axis: the array axis along it, its direction (1 or -1), and where array index 0 lands."""
    change = np.linalg.solve(np.asarray(target_affine, np.float64), np.asarray(affine, np.float64))
    whole = np.rint(change)
    turn = np.abs(whole[:3, :3])
    corners = np.array(np.meshgrid(*((0, size - 1) for size in shape[:3]))).reshape(3, -1)
    is_turn = (turn.sum(axis=0) == 1).all() and (turn.sum(axis=1) == 1).all()
    off = np.abs((change - whole)[:3] @ np.vstack([corners, np.ones(corners.shape[1])])).max()
    if not is_turn or off > LATTICE_TOLERANCE:
        raise PairMismatchError(_difference(change, affine, target_affine, off))
    axes = [int(axis) for axis in turn.argmax(axis=1)]
    signs = [int(whole[target, axis]) for target, axis in enumerate(axes)]
    return axes, signs, [int(offset) for offset in whole[:3, 3]]


def _difference(change: np.ndarray, affine: np.ndarray, target_affine: np.ndarray, off: float) -> str:
    """How two lattices differ, in words: spacing, direction or a part of a voxel."""
    order = np.abs(change[:3, :3]).argmax(axis=1)
    spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)[order]
    wanted = np.linalg.norm(np.asarray(target_affine)[:3, :3], axis=0)
    if not np.allclose(spacing, wanted, rtol=SPACING_TOLERANCE):
        return f"voxels of {_listed(spacing)} mm against {_listed(wanted)} mm"
    directions = [np.asarray(matrix)[:3, :3] for matrix in (affine, target_affine)]
    units = [matrix / np.linalg.norm(matrix, axis=0) for matrix in directions]
    angles = np.degrees(np.arccos(np.clip(np.abs((units[0][:, order] * units[1]).sum(axis=0)), 0, 1)))
    if angles.max() > 0.01:
        far = f", which puts a corner {off:.2g} voxels off (at most {LATTICE_TOLERANCE:g} is rounding)"
        return f"axes turned by {angles.max():.3g} degrees{far if off < 1 else ''}"
    shift = change[:3, 3] - np.rint(change[:3, 3])
    return f"voxel centres shifted by {_listed(shift)} voxels (whole voxels left aside)"


def _listed(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value + 0.0:.4g}" for value in values) + ")"


def _reversal(flips: tuple[bool, bool, bool]) -> tuple[slice, ...]:
    return tuple(slice(None, None, -1 if flip else 1) for flip in flips)
