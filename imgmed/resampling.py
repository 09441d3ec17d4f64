"""Resampling along the axes of an array.

Voxels are boxes: resampling to another number of voxels keeps the field of view, so output voxel x has its centre
at input position (x + 0.5) * input_size / output_size - 0.5. The axes are handled one after the other: growing
interpolates, shrinking averages over the extent of the output voxel (which keeps aliasing out). Slices are worked
on a few at a time by matrix products, so that memory holds the input, the output and some megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from imgmed.axis_map import AxisMap, Block, Maps, Orders, weight_blocks

__all__ = [
    "resample",
    "resample_images",
    "resample_label_map",
    "resample_labels",
    "resample_slabs",
    "resampled_size",
]

TIE = 1e-5  # label shares that differ by less are equal: float32 rounds
ROWS = 16  # output rows a block of weights makes
BLOCK_VOXELS = 2**17  # voxels resampled at a time: they stay in the cache of a core


def resampled_size(size: int, spacing_mm: float, new_spacing_mm: float) -> int:
    """Return the number of pixels of the new spacing that cover `size` pixels of the old one, at least 1.

    >>> resampled_size(100, 0.5, 1.0), resampled_size(3, 0.1, 5.0)
    (50, 1)
    """
    return max(1, round(size * spacing_mm / new_spacing_mm))


def resample(
    array: np.ndarray, maps: Maps, order: Orders, fill: Sequence[float] = (), limits: np.ndarray | None = None
) -> np.ndarray:
    """Resample intensities or scores along three axes.

    Args:
        array: (a, b, c, channels), real numbers; not changed.
        maps: how each of the first three axes is resampled.
        order: how an axis grows, or each of them: 0 by the nearest voxel, 1 linearly, 3 by cubic convolution, which
            may leave the input's range a little.
        fill: value of each channel where the output lies outside the input; empty: 0.
        limits: (channels, 2) lowest and highest value that the result is cut to; None: as it is.

    Returns:
        (*new, channels) float32; where all axes are copied a view of `array`, in its own type.

    >>> maps = (AxisMap(2, 2), AxisMap.covering(4, 2), AxisMap(3, 4, start=-1.0))
    >>> resample(np.ones((2, 4, 3, 1)), maps, order=1)[0, :, :, 0].tolist()
    [[0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]]
    """
    maps, box, shape = _prepared(maps)
    if all(axis.is_copy for axis in maps):
        return _copied(array, maps, box, shape, fill)
    result = _filled((*shape, array.shape[3]), np.float32, box, fill)
    target = result[box]
    if target.size == 0:
        return result
    across, *plane = maps
    order_across, *in_plane = order if isinstance(order, tuple) else (order,) * 3
    blocks = [weight_blocks(axis, along, ROWS) for axis, along in zip(plane, in_plane, strict=True)]
    for part in weight_blocks(across, order_across, _slices_at_a_time(across, array.shape[1:])):
        planes = _planes(array[part.source])
        planes = _apply(planes, [[part], *blocks], _axis_order(maps))
        if limits is not None:
            low, high = (side[:, np.newaxis, np.newaxis, np.newaxis] for side in np.asarray(limits, np.float32).T)
            planes = np.clip(planes, low, high)
        target[part.out] = np.moveaxis(planes, 0, 3)
    return result


def resample_slabs(slabs: Iterable[np.ndarray], maps: Maps, fill: Sequence[float] = ()) -> Iterator[np.ndarray]:
    """Resample scores linearly, as `resample` does, that come some slices at a time, and give them so.

    No more is held than the slabs that the next slices are made from.

    Args:
        slabs: (n, b, c, channels) float32, at least one, that together are the array; not changed.
        maps: how each of the first three axes is resampled.
        fill: value of each channel where the output lies outside the input; empty: 0.

    Yields:
        (m, *new[1:], channels) float32, in their order what `resample` gives; it may be a view of a slab.

    Raises:
        ValueError: the slabs end before the array.

    >>> maps = (AxisMap.covering(4, 3), AxisMap(1, 1), AxisMap(1, 2))
    >>> array = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
    >>> parts = list(resample_slabs([array[:1], array[1:]], maps, [7]))
    >>> bool((np.concatenate(parts) == resample(array, maps, 1, [7])).all())
    True
    """
    maps, box, shape = _prepared(maps)
    (across, *plane), (along, *in_plane) = maps, box
    held, order = _Slabs(slabs, across.old), _axis_order(maps)
    is_copy = all(axis.is_copy for axis in maps)
    blocks = [weight_blocks(axis, 1, ROWS) for axis in plane]
    yield from held.nothing(along.start, shape[1:], fill)
    for part in weight_blocks(across, 1, _slices_at_a_time(across, held.plane)):
        array, count = held.slices(part.source), part.out.stop - part.out.start
        size, inside = (count, *shape[1:]), (slice(0, count), *in_plane)
        if is_copy:
            yield _copied(array, (AxisMap(count, count), plane[0], plane[1]), inside, size, fill)
            continue
        result = _filled((*size, array.shape[3]), np.float32, inside, fill)
        if result[inside].size:
            result[inside] = np.moveaxis(_apply(_planes(array), [[part], *blocks], order), 0, 3)
        yield result
    yield from held.nothing(shape[0] - along.stop, shape[1:], fill)


class _Slabs:
    """Slabs of an array, as they come: those that are still wanted are held.

    Attributes:
        plane: (b, c, channels) of a slice.
    """

    def __init__(self, slabs: Iterable[np.ndarray], count: int) -> None:
        self._coming, self._count, self._first = iter(slabs), count, 0
        self._held: list[np.ndarray] = []
        self._take_in()
        self.plane = self._held[0].shape[1:]

    def slices(self, wanted: slice) -> np.ndarray:
        """Give slices of the array, a view where one slab has them all; none before them is wanted any more."""
        while self._first + sum(map(len, self._held)) < wanted.stop:
            self._take_in()
        while self._first + len(self._held[0]) <= wanted.start:
            self._first += len(self._held.pop(0))
        parts, at = [], self._first
        for slab in self._held:
            parts.append(slab[max(0, wanted.start - at) : max(0, wanted.stop - at)])
            at += len(slab)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def nothing(self, count: int, plane: tuple[int, ...], fill: Sequence[float]) -> Iterator[np.ndarray]:
        """Give so many slices of a size where there is no input, one at a time."""
        for _ in range(count):
            yield _filled((1, *plane, self.plane[-1]), np.float32, (slice(0, 0),), fill)

    def _take_in(self) -> None:
        slab = next(self._coming, None)
        if slab is None:
            held = self._first + sum(map(len, self._held))
            raise ValueError(f"slabs must be all {self._count} slices of an array; received {held}")
        self._held.append(slab)


def resample_label_map(array: np.ndarray, maps: Maps) -> np.ndarray:
    """Resample a label map along three axes without inventing values.

    Each label's mask is interpolated linearly (averaged where an axis shrinks); every voxel takes the label with
    the largest share, the smaller label on a tie, and 0 outside of the input.

    Args:
        array: (a, b, c), any integer type; not changed.
        maps: how each axis is resampled.

    Returns:
        (*new) of the same type; where all axes are copied a view of `array`.

    >>> maps = (AxisMap(1, 1), AxisMap(1, 1), AxisMap.covering(9, 3))
    >>> resample_label_map(np.array([[[1, 1, 1, 2, 2, 2, 2, 2, 1]]], np.uint8), maps).tolist()
    [[[1, 2, 2]]]
    """
    maps, box, shape = _prepared(maps)
    if all(axis.is_copy for axis in maps):
        return _copied(array, maps, box, shape, ())
    result = _filled(shape, array.dtype, box, ())
    target = result[box]
    if target.size == 0:
        return result
    across, *plane = maps
    blocks = [weight_blocks(axis, 1, ROWS) for axis in plane]
    for part in weight_blocks(across, 1, _slices_at_a_time(across, array.shape[1:])):
        _resample_label_block(array, target[part.out], [[part], *blocks], _axis_order(maps))
    return result


def resample_images(slices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample intensities to `size`: cubic where a direction grows, averaged over areas where it shrinks.

    Args:
        slices: (slices, height, width, channels) float32.
        size: new (height, width).

    Returns:
        (slices, *size, channels) float32; `slices` itself if nothing changes. Cubic interpolation may
        leave the range of the input by a little.

    >>> resample_images(np.ones((2, 4, 4, 1), np.float32), (8, 2)).shape
    (2, 8, 2, 1)
    """
    return slices if slices.shape[1:3] == tuple(size) else resample(slices, _in_plane(slices.shape, size), 3)


def resample_labels(slices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample label maps (slices, height, width) to (height, width) `size`, see `resample_label_map`.

    Returns:
        (slices, *size) of the same type; `slices` itself if nothing changes.
    """
    return slices if slices.shape[1:3] == tuple(size) else resample_label_map(slices, _in_plane(slices.shape, size))


def _in_plane(shape: tuple[int, ...], size: tuple[int, int]) -> Maps:
    count, height, width = shape[:3]
    return AxisMap(count, count), AxisMap.covering(height, size[0]), AxisMap.covering(width, size[1])


def _prepared(maps: Maps) -> tuple[Maps, tuple[slice, ...], tuple[int, int, int]]:
    """The maps of what lies inside the input, where that lies in the output, and the output's shape."""
    snapped = [axis.snapped() for axis in maps]
    box = tuple(axis.inside for axis in snapped)
    a, b, c = (axis.only(part) for axis, part in zip(snapped, box, strict=True))
    return (a, b, c), box, (maps[0].new, maps[1].new, maps[2].new)


def _copied(
    array: np.ndarray, maps: Maps, box: tuple[slice, ...], shape: tuple[int, ...], fill: Sequence[float]
) -> np.ndarray:
    content = array[tuple(slice(round(axis.start), round(axis.start) + axis.new) for axis in maps)]
    if content.shape[:3] == shape:
        return content
    result = _filled((*shape, *array.shape[3:]), array.dtype, box, fill)
    result[box] = content
    return result


def _filled(
    shape: tuple[int, ...], dtype: np.typing.DTypeLike, box: tuple[slice, ...], fill: Sequence[float]
) -> np.ndarray:
    if all(part == slice(0, size) for part, size in zip(box, shape, strict=False)):
        return np.empty(shape, dtype)
    result = np.zeros(shape, dtype)
    if len(fill):
        result[...] = np.asarray(fill, dtype)
    return result


def _slices_at_a_time(axis: AxisMap, plane: tuple[int, ...]) -> int:
    """Output slices made at a time; some at least where each is made from several, which the next ones share."""
    fewest = 1 if axis.is_copy else ROWS
    return max(fewest, round(BLOCK_VOXELS / int(np.prod(plane)) / max(1.0, axis.step)))


def _axis_order(maps: Maps) -> list[int]:
    """The axes, the most shrinking one first: less work for the others."""
    return sorted(range(3), key=lambda axis: 1 / maps[axis].step)


def _planes(part: np.ndarray) -> np.ndarray:
    """(n, height, width, channels) as float32 (channels, n, height, width) that a matrix product takes as it lies."""
    planes = np.moveaxis(part, 3, 0)
    in_plane = planes.strides[2:]
    is_compact = part.itemsize in map(abs, in_plane)
    if planes.dtype == np.float32 and is_compact and min(in_plane) > 0:
        return planes
    return planes.astype(np.float32, order="K" if is_compact else "C")


def _apply(planes: np.ndarray, blocks: list[list[Block]], order: list[int]) -> np.ndarray:
    """Resample (channels, a, b, c) along each axis by its blocks, which lie side by side, in the given order."""
    for axis in order:
        planes = _taken(planes, blocks[axis], axis)
        if blocks[axis][0].weights is not None:
            planes = _multiply(planes, blocks[axis], axis)
    return planes


def _taken(planes: np.ndarray, blocks: list[Block], axis: int) -> np.ndarray:
    """The input voxels along an axis from the first to the last that blocks are made from; planes may hold all."""
    wanted = _span(blocks).source
    if planes.shape[axis + 1] == wanted.stop - wanted.start:
        return planes
    return planes[(slice(None),) * (axis + 1) + (wanted,)]


def _multiply(planes: np.ndarray, blocks: list[Block], axis: int) -> np.ndarray:
    channels, depth, height, width = planes.shape
    first, origin = blocks[0].out.start, min(block.source.start for block in blocks)
    size = blocks[-1].out.stop - first
    if axis == 0:
        planes = planes.reshape(channels, depth, height * width)
        result = np.empty((channels, size, height * width), np.float32)
    elif axis == 1:
        result = np.empty((channels, depth, size, width), np.float32)
    else:
        result = np.empty((channels, depth, height, size), np.float32)
    for out, source, weights in blocks:
        into, taken = slice(out.start - first, out.stop - first), slice(source.start - origin, source.stop - origin)
        if axis == 2:
            np.matmul(planes[..., taken], weights.T, out=result[..., into])  # type: ignore[union-attr]
        else:
            np.matmul(weights, planes[..., taken, :], out=result[..., into, :])  # type: ignore[arg-type]
    return result if axis else result.reshape(channels, size, height, width)


def _resample_label_block(array: np.ndarray, target: np.ndarray, blocks: list[list[Block]], order: list[int]) -> None:
    """Resample the slices of one block across; only where there is something besides the smallest label."""
    part = array[blocks[0][0].source]
    smallest = part.min()
    target[...] = smallest
    extents = _extents(part != smallest)
    if extents is None:
        return
    across, rows, columns = blocks[0], _touching(blocks[1], extents[0]), _touching(blocks[2], extents[1])
    part = part[:, _span(rows).source, _span(columns).source]
    window = target[:, _span(rows).out, _span(columns).out]
    best = np.zeros(window.shape, np.float32)
    rest = np.ones(window.shape, np.float32)
    for value in np.unique(part):
        if value != smallest:
            mask = (part == value).astype(np.float32)[np.newaxis]
            share = _apply(mask, [across, rows, columns], order)[0]
            rest -= share
            window[share > best + TIE] = value
            np.maximum(best, share, out=best)
    window[rest >= best - TIE] = smallest


def _extents(mask: np.ndarray) -> tuple[slice, slice] | None:
    """First and last row and column of (n, height, width) that hold a True; None: there is none."""
    seen = mask.any(axis=0)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _touching(blocks: list[Block], extent: slice) -> list[Block]:
    return [block for block in blocks if block.source.start < extent.stop and block.source.stop > extent.start]


def _span(blocks: list[Block]) -> Block:
    source = slice(min(block.source.start for block in blocks), max(block.source.stop for block in blocks))
    return Block(slice(blocks[0].out.start, blocks[-1].out.stop), source, None)
