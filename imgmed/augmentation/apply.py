"""Slices changed as drawn: images and label maps together, resampled once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from imgmed.augmentation.draw import Draw, elastic_basis
from imgmed.augmentation.settings import AugmentationSettings
from imgmed.augmentation.volume_draw import VolumeDraw

__all__ = [
    "BEYOND",
    "OUTSIDE",
    "adjust",
    "apply_draw",
    "bent",
    "channel_groups",
    "source_coordinates",
    "warp_cubic",
    "warp_linear",
]

OUTSIDE = -1
"""Label of an output pixel that shows nothing of the slice, and of one that counts nowhere."""

BEYOND = -2
"""Label of a pixel that shows nothing, before it is moved: it stays empty, and becomes `OUTSIDE`."""

cv2.setNumThreads(1)  # a slice is small, and its worker has its own share of the cores


def apply_draw(
    image: np.ndarray, label_map: np.ndarray, draw: Draw, settings: AugmentationSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Change one slice; neither argument is altered.

    A pixel whose place lies outside the slice becomes 0 and `OUTSIDE`: no expert has said what is there.

    Args:
        image: float32 (height, width, channels).
        label_map: int32 (height, width), 0 or more; `OUTSIDE` where a pixel is shown and counts nowhere.
        draw: what to do.
        settings: those it was drawn from.

    Returns:
        float32 (*draw.size, channels) and int32 draw.size; every label is one of `label_map`, or `OUTSIDE`.

    >>> from imgmed.augmentation.draw import draw_sample
    >>> settings = AugmentationSettings(horizontal_flip_probability=1)
    >>> draw = draw_sample(settings, (0, 0, 0), (1, 3), (1, 3))
    >>> labels = np.array([[5, 6, 7]], np.int32)
    >>> apply_draw(labels[..., None].astype(np.float32), labels, draw, settings)[1].tolist()
    [[7, 6, 5]]
    """
    return _adjusted(*_mover(draw, settings)(image, label_map), draw, draw.noise)


Moved = tuple[np.ndarray, np.ndarray]


def _mover(draw: Draw, settings: AugmentationSettings) -> Callable[[np.ndarray, np.ndarray], Moved]:
    """Give what moves a slice and its label map to their new places."""
    if draw.shift is not None:
        return partial(_shift, shift=draw.shift, size=draw.size)
    rows, columns = source_coordinates(draw, settings.elastic_sigma_px)
    warp = warp_linear if settings.interpolation == "linear" else warp_cubic

    def move(image: np.ndarray, label_map: np.ndarray) -> Moved:
        labels = cv2.remap(
            label_map, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=BEYOND
        )
        return warp(image, rows, columns), labels

    return move


def _adjusted(moved: np.ndarray, labels: np.ndarray, draw: Draw, noise: np.ndarray | None) -> Moved:
    """Change the intensities of what shows something, in place, and empty the rest."""
    inside = labels != BEYOND
    if not draw.keeps_intensities:
        moved[inside] = adjust(moved[inside], draw, None if noise is None else noise[inside])
    if not inside.all():
        moved[~inside], labels[~inside] = 0, OUTSIDE
    return moved, labels


def source_coordinates(draw: Draw, elastic_sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the column in the slice that each output pixel shows, float32 draw.size each."""
    height, width = draw.size
    down, across = np.arange(height, dtype=np.float64)[:, None], np.arange(width, dtype=np.float64)
    maps = []
    for axis, (per_row, per_column, offset) in enumerate(draw.matrix.tolist()):
        coordinates = np.add((per_row * down + offset), per_column * across)
        if draw.elastic is not None:
            basis = elastic_basis(height, elastic_sigma_px), elastic_basis(width, elastic_sigma_px)
            coordinates += basis[0] @ draw.elastic[axis] @ basis[1].T
        maps.append(coordinates.astype(np.float32))
    return maps[0], maps[1]


def _shift(image: np.ndarray, label_map: np.ndarray, shift: tuple[int, int], size: tuple[int, int]) -> Moved:
    """Copy what lies within the output, unchanged."""
    moved = np.zeros((*size, image.shape[2]), np.float32)
    labels = np.full(size, BEYOND, np.int32)
    source, target = [], []
    for first, length, given in zip(shift, size, label_map.shape, strict=True):
        low, high = max(0, first), max(0, first, min(given, first + length))
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    moved[target[0], target[1]] = image[source[0], source[1]]
    labels[target[0], target[1]] = label_map[source[0], source[1]]
    return moved, labels


def warp_linear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Resample linearly; beyond the outermost pixels' centres their values go on.

    Args:
        image: float32 (height, width, channels).
        rows, columns: float32, equal shapes: the place in the image that each output pixel shows.

    Returns:
        float32 (*rows.shape, channels).
    """
    warped = np.empty((*rows.shape, image.shape[2]), np.float32)
    for first, count in channel_groups(image.shape[2]):
        part = np.ascontiguousarray(image[..., first : first + count])
        result = cv2.remap(part, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        warped[..., first : first + count] = result.reshape(*rows.shape, count)
    return warped


def channel_groups(channels: int) -> list[tuple[int, int]]:
    """Cut channels into groups of 4, 3 and 1: OpenCV 5 rounds others' places to 1/32 pixel.

    >>> channel_groups(6), channel_groups(2)
    ([(0, 4), (4, 1), (5, 1)], [(0, 1), (1, 1)])
    """
    groups, first = [], 0
    while first < channels:
        count = next(size for size in (4, 3, 1) if size <= channels - first)
        groups.append((first, count))
        first += count
    return groups


def warp_cubic(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Resample by a cubic spline; OpenCV's cubic rounds places to 1/32 pixel."""
    from scipy import ndimage

    places = np.stack([rows, columns])
    parts = [ndimage.map_coordinates(part, places, order=3, mode="nearest") for part in np.moveaxis(image, -1, 0)]
    return np.stack(parts, axis=-1).astype(np.float32)


def adjust(values: np.ndarray, draw: Draw | VolumeDraw, noise: np.ndarray | None) -> np.ndarray:
    """Change the intensities (pixels, channels) of the pixels that show something; the noise is theirs.

    Args:
        values: float32 (pixels, channels); not altered.
        draw: whose gamma, contrast and brightness change them.
        noise: float32 (pixels, channels) to be added; None: nothing.
    """
    if not values.size:
        return values
    if draw.gamma != 1:
        values = bent(values, draw.gamma)
    if draw.contrast != 1:
        mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
        values = mean + np.float32(draw.contrast) * (values - mean)
    if draw.brightness != 0:
        values = values + np.float32(draw.brightness)
    if noise is not None:
        values = values + noise
    return values


def bent(values: np.ndarray, gamma: float) -> np.ndarray:
    """Raise intensities (pixels, channels) to a power, each channel on its own range, which stays; there are some."""
    low = values.min(axis=0)
    span = values.max(axis=0) - low
    span[span == 0] = 1
    return low + span * ((values - low) / span) ** np.float32(gamma)
