"""Distance from each point of one surface to the nearest point of another, exactly, on a grid.

Three ways lead to the same distances, and the shape at hand decides:

- `search_columns`: one axis (the one with the finest spacing) is scanned once for the distance to the nearest point
  within each column, up to a reach; then every point looks at the columns around its own, nearest columns first, until
  no column left can hold anything nearer. Most points of a good prediction are done after one to five looks.
- `transform_box`: where many points are open after a few looks and the box is small, all of it is scanned along the
  other axes too (`segeval.surface.box_transform`).
- `query_tree`: a k-d tree of the other surface for the points whose nearest one is beyond the search window, or for
  all, where surfaces are sparse in a large box.

Distances are computed from differences of indices, so that they do not depend on where the structures lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from segeval.surface.box_transform import box_mm2, fits_box_transform

__all__ = [
    "SearchWindow",
    "distance_columns",
    "nearest_mm",
    "query_tree",
    "search_columns",
    "search_window",
    "transform_box",
]

# Measured on one core: a look at a column takes 3 to 12 ns, a query of the tree 2 to 5 µs a point, building it 0.1 µs.
COLUMNS_IN_WINDOW = 640
COLUMNS_BEFORE_BOX = 12  # where more points are not done by now than it takes, the whole box is scanned
SHIFTS_PER_POINT = 8000  # voxels × shifts (0.3 ns each) that a scan may take for a point that is still open
COLUMNS_BEFORE_TREE = 80  # where most points are not done by now, the surfaces are far apart
VOXELS_PER_POINT = 1000  # a box with more voxels than this for each point is not scanned
LOOKS_AT_ONCE = 8000
FAR = 128  # more than any distance within a column; twice as many fit in 8 bits


@dataclass(frozen=True)
class SearchWindow:
    """The columns to look at around a point, and how far to look along them.

    Attributes:
        spacing_mm: grid spacing along each array axis.
        column: the axis along which distances are scanned.
        reach: largest number of steps along the column.
        radius_mm: a nearest point within this distance is certain to have been seen.
        steps: int (columns, ndim), steps to each column, by its distance; the first is the point's own.
        ring_starts: int (rings,), place of the first column of each distance.
        ring_squared_mm2: float64 (rings,), that distance squared.
        margins: empty indices needed at the end of every axis, so that no step leads to a wrong place.
    """

    spacing_mm: tuple[float, ...]
    column: int
    reach: int
    radius_mm: float
    steps: NDArray[np.intp]
    ring_starts: NDArray[np.intp]
    ring_squared_mm2: NDArray[np.float64]
    margins: tuple[int, ...]


def search_window(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], columns: int = COLUMNS_IN_WINDOW
) -> SearchWindow:
    """Choose the columns to look at on a grid.

    Args:
        shape: of the box that holds both surfaces.
        spacing_mm: grid spacing along each array axis, in mm.
        columns: about how many columns to look at, at most.

    Returns:
        The window.

    Example:
        >>> window = search_window((9, 9), (1.0, 2.0), columns=5)
        >>> window.column, window.radius_mm, window.ring_squared_mm2.tolist()
        (0, 5.0, [0.0, 4.0, 16.0])
    """
    column = min(range(len(shape)), key=lambda axis: spacing_mm[axis])
    others = [axis for axis in range(len(shape)) if axis != column]
    radius_mm = (FAR - 1) * spacing_mm[column]
    if others:
        size = columns * math.prod(spacing_mm[axis] for axis in others)
        # the area of a disc, or the length of a line on both sides of its middle
        radius_mm = min(radius_mm, math.sqrt(size / math.pi) if len(others) == 2 else size / 2)
    most = [max(0, min(int(radius_mm / mm), length - 1)) for mm, length in zip(spacing_mm, shape, strict=True)]
    reach = most[column]
    most[column] = 0
    return _window(spacing_mm, column, reach, radius_mm, tuple(most))


@lru_cache(maxsize=64)
def _window(
    spacing_mm: tuple[float, ...], column: int, reach: int, radius_mm: float, most: tuple[int, ...]
) -> SearchWindow:
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, len(most))
    squared_mm2 = ((steps * spacing_mm) ** 2).sum(axis=1)
    order = np.argsort(squared_mm2, kind="stable")
    order = order[squared_mm2[order] <= radius_mm**2]
    steps, squared_mm2 = steps[order], squared_mm2[order]
    ring_starts = np.flatnonzero(np.diff(squared_mm2, prepend=-1.0))
    margins = tuple(max(1, int(furthest)) for furthest in steps.max(axis=0))
    return SearchWindow(spacing_mm, column, reach, radius_mm, steps, ring_starts, squared_mm2[ring_starts], margins)


def nearest_mm(
    points: NDArray[np.intp], targets: NDArray[np.intp], shape: tuple[int, ...], window: SearchWindow
) -> NDArray[np.float64]:
    """Measure the distance from each point to the nearest target.

    Args:
        points: flat indices (n,) into a C-ordered grid.
        targets: flat indices (m,), at least one; no two are the same.
        shape: of the grid, with empty margins at the end of every axis, as the window asks for.
        window: where to look before the tree is asked.

    Returns:
        float64 (n,), in mm.

    Example:
        >>> nearest_mm(np.array([3]), np.array([0]), (5,), search_window((4,), (2.0,))).tolist()
        [6.0]
    """
    if math.prod(shape) > VOXELS_PER_POINT * (points.size + targets.size):
        return np.sqrt(query_tree(points, targets, shape, window))
    enough = points_for_box(shape, window)
    squared_mm2, unresolved = search_columns(points, distance_columns(targets, shape, window), window, enough)
    if unresolved.size > enough:
        squared_mm2[unresolved] = transform_box(points[unresolved], targets, shape, window, squared_mm2[unresolved])
    elif unresolved.size:
        squared_mm2[unresolved] = query_tree(points[unresolved], targets, shape, window)
    return np.sqrt(squared_mm2, out=squared_mm2)


def distance_columns(targets: NDArray[np.intp], shape: tuple[int, ...], window: SearchWindow) -> NDArray[np.uint8]:
    """Count the steps from each grid point to the nearest target within its column, up to the window's reach.

    Where all steps up to r are known, one look r + 1 steps away to either side makes all up to 2 r + 1 known.

    Args:
        targets: flat indices (m,) into a C-ordered grid.
        shape: of the grid.
        window: gives the column axis and the reach.

    Returns:
        uint8 of that shape; `FAR` where there is no target within reach (or a number of steps beyond it).

    Example:
        >>> distance_columns(np.array([0]), (5,), search_window((5,), (1.0,))).tolist()
        [0, 1, 2, 3, 4]
    """
    steps = np.full(shape, FAR, np.uint8)
    steps.ravel()[targets] = 0
    along = np.moveaxis(steps, window.column, 0)
    known = 0
    while known < window.reach:
        jump = known + 1
        np.minimum(along[:-jump], along[jump:] + np.uint8(jump), out=along[:-jump])
        np.minimum(along[jump:], along[:-jump] + np.uint8(jump), out=along[jump:])
        known += jump
    return steps


def search_columns(
    points: NDArray[np.intp], columns: NDArray[np.uint8], window: SearchWindow, most_open: float = math.inf
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Look at the columns around each point until none that is left can hold a nearer target.

    Args:
        points: flat indices (n,).
        columns: from `distance_columns`.
        window: the columns to look at.
        most_open: how many points may be open after `COLUMNS_BEFORE_BOX`; with more, the search gives up.

    Returns:
        Squared distances in mm² (n,), and the places (m,) among the points of those that are not certain: their
        distances are too large or right.
    """
    flat = columns.ravel()
    along_mm2 = np.full(256, np.inf)
    along_mm2[:FAR] = (np.arange(FAR) * window.spacing_mm[window.column]) ** 2
    squared_mm2 = along_mm2.take(flat.take(points))
    certain_mm2 = window.radius_mm**2
    places = np.flatnonzero(squared_mm2)
    here, best = points[places], squared_mm2[places]
    jumps = (window.steps @ columns.strides)[:, np.newaxis]  # of one byte each: jumps of the flat index
    starts, rings_mm2 = np.append(window.ring_starts, len(jumps)), window.ring_squared_mm2
    ring = 1
    while ring < rings_mm2.size:
        open_ = best > rings_mm2[ring]
        count = np.count_nonzero(open_)
        if count < 0.9 * open_.size:
            squared_mm2[places] = best
            places, here, best = places[open_], here[open_], best[open_]
        if count == 0:
            break
        most = points.size // 2 if starts[ring] >= COLUMNS_BEFORE_TREE else points.size
        if count > (min(most, most_open) if starts[ring] >= COLUMNS_BEFORE_BOX else most):
            certain_mm2 = rings_mm2[ring]
            break
        # few points: several rings at once, the sooner done
        end = max(ring + 1, int(np.searchsorted(starts, starts[ring] + LOOKS_AT_ONCE // count, side="right")) - 1)
        # negative indices wrap around to the end, which is margin
        steps = flat.take(here + jumps[starts[ring] : starts[end]])
        steps = np.minimum.reduceat(steps, starts[ring:end] - starts[ring], axis=0)
        found_mm2 = along_mm2.take(steps)
        found_mm2 += rings_mm2[ring:end, np.newaxis]
        np.minimum(best, found_mm2.min(axis=0), out=best)
        ring = end
    squared_mm2[places] = best
    return squared_mm2, places[best > certain_mm2]


def points_for_box(shape: tuple[int, ...], window: SearchWindow) -> float:
    """How many open points are worth a transform of the box.

    Args:
        shape: of the grid with its margins.
        window: gives the spacing and the margins.

    Returns:
        The number; `inf` where the box is too large or its spacing differs along more than one axis.
    """
    box = tuple(length - margin for length, margin in zip(shape, window.margins, strict=True))
    step_mm = window.spacing_mm[window.column]
    shifts = [length - 1 for length, mm in zip(box, window.spacing_mm, strict=True) if mm == step_mm]
    if len(shifts) < len(box) - 1 or max(box) > FAR or not fits_box_transform(box):
        return math.inf
    return math.prod(box) * sum(shifts) / SHIFTS_PER_POINT


def transform_box(
    points: NDArray[np.intp],
    targets: NDArray[np.intp],
    shape: tuple[int, ...],
    window: SearchWindow,
    at_most_mm2: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Find the nearest targets with a distance transform of the box without its margins.

    Args:
        points: flat indices (n,) into a grid of this shape.
        targets: flat indices (m,), at least one.
        shape: of the grid.
        window: gives the spacing, the column axis and the margins.
        at_most_mm2: float64 (n,), what the squared distances do not exceed, or `inf`.

    Returns:
        Squared distances in mm² (n,).
    """
    box = tuple(length - margin for length, margin in zip(shape, window.margins, strict=True))
    in_box = np.ravel_multi_index(np.unravel_index(targets, shape), box)
    columns = distance_columns(in_box, box, replace(window, reach=box[window.column] - 1))
    return box_mm2(columns, np.unravel_index(points, shape), window.spacing_mm, window.column, at_most_mm2)


def query_tree(
    points: NDArray[np.intp], targets: NDArray[np.intp], shape: tuple[int, ...], window: SearchWindow
) -> NDArray[np.float64]:
    """Find the nearest targets with a k-d tree.

    Args:
        points: flat indices (n,) into a grid of this shape.
        targets: flat indices (m,), at least one.
        shape: of the grid.
        window: gives the spacing.

    Returns:
        Squared distances in mm² (n,).
    """
    indices, target_indices = (np.stack(np.unravel_index(flat, shape), axis=1) for flat in (points, targets))
    tree = cKDTree(target_indices * window.spacing_mm, leafsize=32, balanced_tree=False, compact_nodes=False)
    nearest = tree.query(indices * window.spacing_mm)[1]
    return (((indices - target_indices[nearest]) * window.spacing_mm) ** 2).sum(axis=1)
