"""Planes of a volume in its own voxel grid, turned as radiologists look at them: nothing is interpolated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imgmed.geometry import canonical_shape, canonical_spacing, orientation_of, to_canonical

__all__ = ["EDGES", "PAGE", "PLANES", "Plane", "cut", "plane_names", "plane_of", "usual_plane"]

PLANES = ("sagittal", "coronal", "axial")
"""Across which of the patient's axes (right, anterior, superior) a volume is cut."""

EDGES = (("R", "L"), ("A", "P"), ("S", "I"))
"""What lies at both ends of each axis in a picture: at the left and the right, or at the top and the bottom."""

PAGE = "page"
"""The plane of pictures."""

_PAGES = 2  # axis of the array across the pages of a picture


@dataclass(frozen=True)
class Plane:
    """How a volume is cut.

    Attributes:
        name: sagittal, coronal, axial; of pictures page.
        slices: how many there are.
        rows: pixels of each, from top to bottom.
        columns: pixels from left to right.
        row_mm: height of a pixel.
        column_mm: width of a pixel.
        edges: what lies at the left, right, top and bottom edge, such as R for the patient's right; of pictures "".
    """

    name: str
    slices: int
    rows: int
    columns: int
    row_mm: float
    column_mm: float
    edges: tuple[str, str, str, str]


def plane_names(is_picture: bool) -> tuple[str, ...]:
    """Name the planes that a volume can be cut in."""
    return (PAGE,) if is_picture else tuple(reversed(PLANES))


def plane_of(name: str, shape: tuple[int, int, int], affine: np.ndarray) -> Plane:
    """Tell what the slices of a plane are like.

    Args:
        name: see `plane_names`.
        shape: voxels along i, j, k.
        affine: (4, 4) voxel index to millimetres.

    >>> plane_of("axial", (40, 50, 9), np.diag([-0.5, 0.7, 3.0, 1.0])).edges
    ('R', 'L', 'A', 'P')
    """
    if name == PAGE:
        rows, columns, slices = shape
        return Plane(PAGE, slices, rows, columns, 1.0, 1.0, ("", "", "", ""))
    axis = PLANES.index(name)
    across, up = (other for other in range(3) if other != axis)
    sizes, spacing = canonical_shape(shape, orientation_of(affine)), canonical_spacing(affine)
    edges = (*EDGES[across], *EDGES[up])
    return Plane(name, sizes[axis], sizes[up], sizes[across], spacing[up], spacing[across], edges)


def cut(array: np.ndarray, affine: np.ndarray, name: str, at: int) -> np.ndarray:
    """Give a slice as it is looked at: the patient's right at the left edge, the front at the top, or at the left.

    Args:
        array: (i, j, k) or (i, j, k, colours).
        affine: (4, 4) of it.
        name: of the plane.
        at: number of the slice from 0, towards the patient's right, front or head; clipped to what there is.

    Returns:
        (rows, columns), with colours (rows, columns, 3): a view.
    """
    if name == PAGE:
        return array[:, :, min(max(at, 0), array.shape[_PAGES] - 1)]
    axis = PLANES.index(name)
    turned = to_canonical(array, orientation_of(affine))
    plane = np.take(turned, min(max(at, 0), turned.shape[axis] - 1), axis=axis)[::-1, ::-1]
    return np.swapaxes(plane, 0, 1)


def usual_plane(shape: tuple[int, int, int], affine: np.ndarray, is_picture: bool) -> str:
    """Choose the plane that is shown first: across the thickest slices, as the scan was acquired."""
    if is_picture:
        return PAGE
    spacing, sizes = canonical_spacing(affine), canonical_shape(shape, orientation_of(affine))
    if 1 in sizes:
        return PLANES[sizes.index(1)]
    thickest = int(np.argmax(spacing))
    others = [mm for axis, mm in enumerate(spacing) if axis != thickest]
    return PLANES[thickest] if spacing[thickest] > 1.2 * max(others) else "axial"
