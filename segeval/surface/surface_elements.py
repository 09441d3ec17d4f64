"""Surface elements of a mask and their areas: the surface that DeepMind's surface-distance measures.

Between the centres of 2 × 2 × 2 neighbouring voxels lies a cell (in 2D, of 2 × 2 pixels; in 1D, of two samples). A
cell whose corners are neither all inside nor all outside holds one surface element, placed at the cell's centre, that
crosses the cell's edges half way between an inside and an outside corner. Its area depends on which corners are inside
(the neighbour code) and on the spacing. The rules that decide it in 3D:

- a loop of crossed edges runs around each group of inside corners; two inside corners that only share the diagonal of
  a face are kept apart (`_crossings_of_face`);
- a cell with more than four inside corners has the surface of its complement;
- a loop that is not planar is cut into the triangles that have the greatest area in a cubic cell.

With these rules the areas are those of the table in surface-distance 0.1 for all 256 codes (marching cubes, Lorensen
and Cline 1987, with ambiguous faces separated); the table itself is not used.

Source: Nikolov et al., Clinically applicable segmentation of head and neck anatomy for radiotherapy, JMIR 2021.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["element_areas", "neighbour_codes"]

Corner = tuple[int, ...]
Edge = frozenset[Corner]
Triangle = tuple[int, int, int]
Normal = tuple[float, float, float]


def neighbour_codes(padded: NDArray[np.uint8], bits: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Code of the cell between each voxel and its lower neighbours: one bit for each inside corner.

    Args:
        padded: C-ordered 0/1 mask with 1 to 3 axes whose last index along every axis is empty.
        bits: for each array axis, the place of that axis in a code; None: the array's own order.

    Returns:
        uint8 of the same shape; the cell at index i joins the voxels i - 1 and i of every axis. The voxel with lower
        neighbours only has the lowest bit; the step down along the axis in place p of n moves it by 2**(n - 1 - p).

    Example:
        >>> neighbour_codes(np.array([[1, 0], [0, 0]], np.uint8)).tolist()
        [[1, 2], [4, 8]]
    """
    flat = padded.ravel()
    codes = flat.copy()
    positions = range(padded.ndim) if bits is None else bits
    for stride, position in zip(padded.strides, positions, strict=True):
        if stride < flat.size:
            codes[stride:] |= codes[:-stride] * np.uint8(1 << (1 << (padded.ndim - 1 - position)))
    return codes.reshape(padded.shape)


@lru_cache(maxsize=64)
def element_areas(spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Size of the surface element of each neighbour code.

    Args:
        spacing_mm: voxel size along each array axis in mm, 1 to 3 numbers.

    Returns:
        float64 (2 ** 2 ** ndim,), read-only: mm² in 3D, mm in 2D, 1 (an end counts one) in 1D; 0 for the first and
        the last code, which have no surface.

    Source: see the module.

    Example:
        >>> element_areas((3.0, 4.0))[[0b0001, 0b0011, 0b0110]].tolist()
        [2.5, 4.0, 5.0]
    """
    areas = np.zeros(2**2 ** len(spacing_mm))
    for code in range(1, areas.size - 1):
        areas[code] = math.fsum(_simplex_sizes(code, spacing_mm))
    areas.flags.writeable = False
    return areas


def _simplex_sizes(code: int, spacing_mm: tuple[float, ...]) -> Iterator[float]:
    axes = len(spacing_mm)
    if axes == 1:
        yield 1.0
    elif axes == 2:
        for start, end in _crossings_of_face(list(itertools.product((0, 1), repeat=2)), _inside_corners(code, 2)):
            steps = zip(_middle(start), _middle(end), spacing_mm, strict=True)
            yield math.hypot(*((after - before) * mm for before, after, mm in steps))
    else:
        faces_mm2 = [math.prod(spacing_mm[:axis] + spacing_mm[axis + 1 :]) for axis in range(3)]
        for normal in _unit_normals(code):
            yield math.hypot(*(along * mm2 for along, mm2 in zip(normal, faces_mm2, strict=True)))


def _inside_corners(code: int, axes: int) -> frozenset[Corner]:
    """Corners of a cell whose bit is set; the complement where that has fewer corners."""
    corners = list(itertools.product((1, 0), repeat=axes))
    inside = frozenset(corner for bit, corner in enumerate(corners) if code >> bit & 1)
    return inside if 2 * len(inside) <= len(corners) else frozenset(corners) - inside


@lru_cache(maxsize=256)
def _unit_normals(code: int) -> tuple[Normal, ...]:
    """Normals of the triangles of a code in a cubic cell of side 1, as long as the triangles are large."""
    normals: list[Normal] = []
    for loop in _loops(_inside_corners(code, 3)):
        middles = [_middle(edge) for edge in loop]
        candidates = [
            [_normal(middles[a], middles[b], middles[c]) for a, b, c in triangles]
            for triangles in _triangulations(0, len(loop) - 1)
        ]
        # rounded, so that the first of equals is taken on every machine
        normals += max(candidates, key=lambda sides: round(sum(math.hypot(*normal) for normal in sides), 9))
    return tuple(normals)


def _loops(inside: frozenset[Corner]) -> list[list[Edge]]:
    """Closed loops of crossed edges of a cube; each crossed edge belongs to two faces, so it has two neighbours."""
    neighbours: dict[Edge, list[Edge]] = {}
    for axis, side in itertools.product(range(3), (0, 1)):
        face = [corner for corner in itertools.product((0, 1), repeat=3) if corner[axis] == side]
        for start, end in _crossings_of_face(face, inside):
            neighbours.setdefault(start, []).append(end)
            neighbours.setdefault(end, []).append(start)
    loops: list[list[Edge]] = []
    while neighbours:
        loop = [min(neighbours, key=sorted)]
        while ahead := [edge for edge in neighbours.pop(loop[-1]) if edge in neighbours]:
            loop.append(ahead[0])
        loops.append(loop)
    return loops


def _crossings_of_face(face: list[Corner], inside: frozenset[Corner]) -> Iterator[tuple[Edge, Edge]]:
    """Lines of the surface across one face, one around each run of inside corners, between two crossed edges."""
    ring = [face[0], face[1], face[3], face[2]]
    for first in range(4):
        if ring[first] in inside and ring[first - 1] not in inside:
            last = next(i for i in range(first, first + 4) if ring[(i + 1) % 4] not in inside)
            yield frozenset((ring[first - 1], ring[first])), frozenset((ring[last % 4], ring[(last + 1) % 4]))


def _triangulations(first: int, last: int) -> Iterator[tuple[Triangle, ...]]:
    """All ways to cut the polygon of the vertices first to last into triangles."""
    if last - first < 2:
        yield ()
    for middle in range(first + 1, last):
        for before in _triangulations(first, middle):
            for after in _triangulations(middle, last):
                yield (*before, (first, middle, last), *after)


def _middle(edge: Edge) -> tuple[float, ...]:
    return tuple(sum(along) / 2 for along in zip(*edge, strict=True))


def _normal(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> Normal:
    u, v = ([end - start for start, end in zip(a, point, strict=True)] for point in (b, c))
    return (
        (u[1] * v[2] - u[2] * v[1]) / 2,
        (u[2] * v[0] - u[0] * v[2]) / 2,
        (u[0] * v[1] - u[1] * v[0]) / 2,
    )
