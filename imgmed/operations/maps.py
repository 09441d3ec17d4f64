"""How operations move voxels: axis maps for each array axis of a volume, from parameters along the patient's axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor, prod

import numpy as np

from imgmed.axis_map import AxisMap, Maps
from imgmed.errors import InvalidVolumeError
from imgmed.geometry import orientation_of
from imgmed.resampling import resampled_size
from imgmed.volume import MAX_VALUES, Volume

__all__ = [
    "KEPT_WITHIN",
    "LARGEST_GROWTH",
    "absurd_size",
    "by_array_axis",
    "centred",
    "content",
    "in_box_mm",
    "in_voxels",
    "placed",
    "resampled",
    "resized",
    "turned",
]

KEPT_WITHIN = 0.01  # spacings this close to the wanted one (relative) are not resampled
EDGE = 1e-6  # of a voxel: a box that ends on a voxel's centre holds it
CONTENT_VOXELS = 2**22  # compared at a time
LARGEST_GROWTH = 100  # voxels that one voxel becomes along an axis: a spacing so far from the wanted one is wrong
VANISHED = 8  # voxels of which one would be left

Extent = tuple[float, float]


def turned(volume: Volume, axes: str) -> Volume:
    """Return a volume (a view) whose array axes point where `axes` says, such as "RAS"."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    change = ornt_transform(io_orientation(volume.affine), axcodes2ornt(axes))
    array = apply_orientation(volume.array, change)
    return replace(volume, array=array, affine=volume.affine @ inv_ornt_aff(change, volume.shape))


def resampled(volume: Volume, spacing_mm: Sequence[float | None]) -> Maps:
    """Return the maps to a spacing along right, anterior, superior; None keeps an axis."""
    sizes = [
        size if new is None or abs(old / new - 1) <= KEPT_WITHIN else resampled_size(size, old, new)
        for size, old, new in zip(volume.shape, volume.spacing_mm, by_array_axis(volume, spacing_mm), strict=True)
    ]
    maps = _covering(volume, sizes)
    steps = [axis.step for axis in maps if axis.old > 1 and axis.old != axis.new]
    has_vanished = any(axis.new == 1 and axis.old >= VANISHED for axis in maps)
    if has_vanished or (steps and min(steps) < 1 / LARGEST_GROWTH):
        raise absurd_size(volume, maps, "the spacings are too far apart")
    return maps


def placed(volume: Volume, maps: Maps) -> Volume:
    """Return shape and place of what maps make of a volume, with voxels that take no memory.

    Raises:
        InvalidVolumeError: more voxels than a volume may have; names its voxels and the new ones.
    """
    shape = (maps[0].new, maps[1].new, maps[2].new)
    change = np.diag([*(axis.step for axis in maps), 1.0])
    change[:3, 3] = [axis.start for axis in maps]
    after = Volume(np.broadcast_to(np.float32(0), shape), volume.affine @ change, volume.path)
    if prod(shape) * volume.channels > MAX_VALUES:
        raise absurd_size(volume, maps, f"at most {MAX_VALUES} values are allowed")
    return after


def absurd_size(volume: Volume, maps: Maps, why: str) -> InvalidVolumeError:
    """Return the error for a volume that would become too large, or too small: with its voxels and the new ones."""
    new_mm = [old * axis.step for old, axis in zip(volume.spacing_mm, maps, strict=True)]
    before, after = (
        f"{' x '.join(map(str, shape))} voxels of {' x '.join(f'{value:.4g}' for value in spacing_mm)} mm"
        for shape, spacing_mm in ((volume.shape, volume.spacing_mm), ([axis.new for axis in maps], new_mm))
    )
    return InvalidVolumeError(
        f"{volume.origin}: {before} would become {after} ({why}); correct the spacing in its header, or what it is"
        " resampled to"
    )


def resized(volume: Volume, size: Sequence[int | None]) -> Maps:
    """Return the maps to a number of voxels along right, anterior, superior; None keeps an axis."""
    wanted = by_array_axis(volume, size)
    return _covering(volume, [new or old for old, new in zip(volume.shape, wanted, strict=True)])


def centred(volume: Volume, size: Sequence[int | None]) -> Maps:
    """Return the maps that crop or pad around the centre: voxel size // 2 from the left, the back, the foot."""
    maps = []
    wanted, flips = by_array_axis(volume, size), _flips_by_array_axis(volume)
    for old, given, flipped in zip(volume.shape, wanted, flips, strict=True):
        new = given or old
        before = new // 2 - old // 2
        maps.append(AxisMap(old, new, float(-((new - old - before) if flipped else before))))
    return maps[0], maps[1], maps[2]


def in_voxels(volume: Volume, box: Sequence[tuple[int, int] | None]) -> Maps:
    """Return the maps that keep voxels FIRST up to LAST from the left, the back, the foot; None keeps an axis."""
    found = []
    wanted, flips = by_array_axis(volume, box), _flips_by_array_axis(volume)
    for size, extent, flipped in zip(volume.shape, wanted, flips, strict=True):
        first, stop = extent or (0, size)
        found.append((size - stop, size - first) if flipped else (first, stop))
    return _boxed(volume, found)


def in_box_mm(volume: Volume, box: Sequence[Extent | None]) -> Maps:
    """Return the maps that keep the voxels whose centres lie within a world box; None keeps an axis."""
    return _boxed(volume, _voxel_box(volume, box))


def content(volume: Volume, above: float | None, margin_mm: float) -> Maps:
    """Return the maps that keep the content, and a margin where there is one; without content they keep all."""
    margins = [ceil(margin_mm / spacing - EDGE) for spacing in volume.spacing_mm]
    extents = _content(volume.array, above)
    return _boxed(volume, [(low - by, high + by) for (low, high), by in zip(extents, margins, strict=True)])


def by_array_axis(volume: Volume, values: Sequence) -> list:
    """Return values along right, anterior, superior in the order of a volume's array axes."""
    found = [None, None, None]
    for canonical, axis in enumerate(orientation_of(volume.affine).axes):
        found[axis] = values[canonical]
    return found


def _flips_by_array_axis(volume: Volume) -> list[bool]:
    return by_array_axis(volume, orientation_of(volume.affine).flips)


def _covering(volume: Volume, sizes: Sequence[int]) -> Maps:
    a, b, c = (AxisMap.covering(old, new) for old, new in zip(volume.shape, sizes, strict=True))
    return a, b, c


def _boxed(volume: Volume, box: Sequence[tuple[int, int]]) -> Maps:
    maps = []
    for size, (first, stop) in zip(volume.shape, box, strict=True):
        low, high = max(0, first), min(size, stop)
        if high <= low:
            raise InvalidVolumeError(
                f"{volume.origin}: the box to crop to holds no voxel of this scan ({volume.shape} voxels); along one"
                f" axis it spans voxels {first} to {stop - 1}"
            )
        maps.append(AxisMap(size, high - low, float(low)))
    return maps[0], maps[1], maps[2]


def _voxel_box(volume: Volume, mm: Sequence[Extent | None]) -> list[tuple[int, int]]:
    """(first, last plus one) along each array axis of the voxels whose centres may lie within the world box."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in volume.shape])).reshape(3, -1)
    world = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    whole = [(float(row.min()), float(row.max())) for row in world]
    extents = [
        (max(low, given[0]), min(high, given[1])) if given else (low, high)
        for (low, high), given in zip(whole, mm, strict=True)
    ]
    if any(high < low for low, high in extents):
        return [(0, 0)] * 3
    box = np.array(np.meshgrid(*extents)).reshape(3, -1)
    places = np.linalg.solve(volume.affine[:3, :3], box - volume.affine[:3, 3:])
    return [(ceil(row.min() - EDGE), floor(row.max() + EDGE) + 1) for row in places]


def _content(array: np.ndarray, above: float | None) -> list[tuple[int, int]]:
    """(first, last plus one) along each axis of the content; the whole axis where there is none."""
    shape = array.shape[:3]
    seen = [np.zeros(size, bool) for size in shape]
    step = max(1, CONTENT_VOXELS // max(1, array[0].size))
    for start in range(0, shape[0], step):  # some slices at a time: no mask of the whole volume
        part = array[start : start + step]
        mask = part != 0 if above is None else part > above
        mask = mask.any(axis=3) if mask.ndim == 4 else mask
        plane = mask.any(axis=0)
        seen[0][start : start + step] = mask.any(axis=(1, 2))
        seen[1] |= plane.any(axis=1)
        seen[2] |= plane.any(axis=0)
    if not seen[0].any():
        return [(0, size) for size in shape]
    return [(int(places[0]), int(places[-1]) + 1) for places in map(np.flatnonzero, seen)]
