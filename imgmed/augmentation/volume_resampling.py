"""Values of a volume at places between its voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from imgmed.augmentation.apply import channel_groups

__all__ = ["SPLINE_MARGIN", "nearest", "sample_cubic", "sample_linear", "sample_nearest"]

SPLINE_MARGIN = 12
"""Voxels beside a place that a cubic spline depends on, to a millionth."""

MOST_ROWS = 2**13
"""Of slices laid below each other: places among them are float32, and right to 1/4000 voxel."""

MOST_VOXELS = 2**14
"""Of a block: its arrays stay in the processor's cache."""

Places = Sequence[np.ndarray]


def sample_linear(volume: np.ndarray, places: Places) -> np.ndarray:
    """Resample linearly along three axes; beyond the outermost voxels' centres their values go on.

    OpenCV resamples pictures, several times as fast as SciPy does volumes. So slices are laid below each other as one
    tall picture, in which each place is looked up twice, in the slice before it and in the one after.

    Args:
        volume: float32 (slices, rows, columns, channels), contiguous.
        places: float32 slice, row and column, of equal shapes (three axes).

    Returns:
        float32 (*shape, channels), within 1/2000 of the difference between neighbours.

    >>> places = [np.full((1, 1, 1), place, np.float32) for place in (0.5, 0.0, 9.0)]
    >>> sample_linear(np.arange(8, dtype=np.float32).reshape(2, 2, 2, 1), places).item()
    3.0
    """
    depth, height, width, channels = volume.shape
    groups = channel_groups(channels)
    parts = [np.ascontiguousarray(volume[..., first : first + count]) for first, count in groups]
    sampled = np.empty((*places[0].shape, channels), np.float32)
    for block in _blocks(places[0], height):
        slices, rows, columns = (place[block] for place in places)
        slices, rows = np.clip(slices, 0, depth - 1), np.clip(rows, 0, height - 1)
        low = np.minimum(slices.astype(np.int32), max(0, depth - 2))
        first, last = int(low.min()), int(low.max()) + 2
        part: np.ndarray = (slices - low.astype(np.float32))[..., np.newaxis]
        rows += ((low - first) * height).astype(np.float32)
        flat = (-1, columns.shape[-1])
        below, above, across = rows.reshape(flat), (rows + np.float32(height)).reshape(flat), columns.reshape(flat)
        for (begin, count), source in zip(groups, parts, strict=True):
            tall = source[first:last].reshape(-1, width, count)
            values, others = (
                cv2.remap(tall, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for down in (below, above)
            )
            mixed = (others - values).reshape(*columns.shape, count) * part
            mixed += values.reshape(mixed.shape)
            sampled[(*block, slice(begin, begin + count))] = mixed
    return sampled


def sample_cubic(volume: np.ndarray, places: Places) -> np.ndarray:
    """Resample by a cubic spline through the voxels; as `sample_linear` otherwise, and exact."""
    from scipy import ndimage

    at = np.stack(places)
    parts = [ndimage.map_coordinates(part, at, order=3, mode="nearest") for part in np.moveaxis(volume, -1, 0)]
    return np.stack(parts, axis=-1).astype(np.float32)


def sample_nearest(volume: np.ndarray, places: Places) -> np.ndarray:
    """Take the voxels of a volume (slices, rows, columns) that are nearest to some places, halves upwards."""
    index = nearest(places[0], volume.shape[0])
    for place, length in zip(places[1:], volume.shape[1:], strict=True):
        index *= length
        index += nearest(place, length)
    return volume.reshape(-1).take(index)


def nearest(places: np.ndarray, length: int) -> np.ndarray:
    """Give the voxels of an axis that are nearest to some places, intp."""
    return (np.clip(places, 0, length - 1) + np.float32(0.5)).astype(np.intp)


def _blocks(slices: np.ndarray, height: int) -> Iterator[tuple[slice, ...]]:
    """Cut an array of places into blocks that are small, and need few slices of that height."""
    most_rows = max(MOST_ROWS, 4 * height)
    pending = [tuple(slice(0, length) for length in slices.shape)]
    while pending:
        block = pending.pop()
        places = slices[block]
        rows = (float(places.max()) - float(places.min()) + 3) * height
        if places.size == 1 or (places.size <= MOST_VOXELS and rows <= most_rows):
            yield block
            continue
        axis = int(np.argmax(places.shape))
        first, last = block[axis].start, block[axis].stop
        middle = (first + last) // 2
        pending += [(*block[:axis], part, *block[axis + 1 :]) for part in (slice(middle, last), slice(first, middle))]
