"""Slices as PNG pictures: the scan in greys, and label maps as transparent pictures to lay over it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from imgmed.slice_pictures import edges_of, png_of
from r2d2.reports.palette import rgb

__all__ = ["grey_picture", "label_picture", "window_of"]

SAMPLE = 200_000  # voxels from which the window is taken
PERCENTILES = (0.5, 99.5)
UNKNOWN = "#FFFFFF"
"""Colour of numbers in a label map that are no label."""


def window_of(array: np.ndarray) -> tuple[float, float]:
    """Choose which intensities are black and white: all but the lowest and highest 0.5 %.

    Args:
        array: of a scan, or (..., 3) colours.

    >>> window_of(np.arange(1001.0))
    (5.0, 995.0)
    """
    step = max(1, round((array.size / SAMPLE) ** (1 / array.ndim)))
    sample = array[tuple(slice(None, None, step) for _ in array.shape)].ravel().astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(sample, PERCENTILES))
    if low == high:
        low, high = float(sample.min()), float(sample.max())
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def grey_picture(plane: np.ndarray, window: tuple[float, float]) -> bytes:
    """Draw a slice.

    Args:
        plane: (rows, columns) intensities, or (rows, columns, 3) colours.
        window: intensities that are black and white.

    Returns:
        The PNG file.
    """
    low, high = window
    shown = np.clip(np.nan_to_num(plane.astype(np.float32), nan=low), low, high)
    return png_of(np.rint((shown - low) * (255.0 / max(high - low, 1e-30))).astype(np.uint8))


def label_picture(
    plane: np.ndarray, labels: Mapping[str, int], colours: Mapping[str, str], *, is_outline: bool = False
) -> bytes:
    """Draw a slice of a label map; what is background is transparent.

    Args:
        plane: (rows, columns) integers.
        labels: name to value.
        colours: of each name.
        is_outline: draw only the pixels of a label that border on others.

    Returns:
        The PNG file.
    """
    plane = np.asarray(plane).astype(np.int64)
    table = np.zeros((int(plane.max(initial=0)) + 1, 4), np.uint8)
    table[1:] = (*rgb(UNKNOWN), 255)
    for name, value in labels.items():
        if value < len(table):
            table[value] = (*rgb(colours[name]), 255)
    shown = np.where(edges_of(plane), plane, 0) if is_outline else plane
    return png_of(table[shown])
