"""Resampling of slices in their plane, and centred padding or cropping.

Pixels are areas: a slice covers the same field of view before and after, so output pixel x has its centre at
input position (x + 0.5) * input_size / output_size - 0.5. Both directions are handled one after the other:
growing interpolates, shrinking averages over the area of the output pixel (which keeps aliasing out).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

__all__ = ["Fit", "fit_slices", "resample_images", "resample_labels", "resample_scores", "resampled_size"]

MOST_CHANNELS = 4  # what every OpenCV interpolation accepts at once


def resampled_size(size: int, spacing_mm: float, new_spacing_mm: float) -> int:
    """Return the number of pixels of the new spacing that cover `size` pixels of the old one, at least 1.

    >>> resampled_size(100, 0.5, 1.0), resampled_size(3, 0.1, 5.0)
    (50, 1)
    """
    return max(1, round(size * spacing_mm / new_spacing_mm))


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
    return _resample(slices, size, cv2.INTER_CUBIC)


def resample_scores(slices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample scores (such as logits) to `size`: linear where a direction grows, averaged where it shrinks.

    Args:
        slices: (slices, height, width, classes) float32.
        size: new (height, width).

    Returns:
        (slices, *size, classes) float32; `slices` itself if nothing changes. The input's range is kept.
    """
    return _resample(slices, size, cv2.INTER_LINEAR)


def resample_labels(slices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample a label map to `size` without inventing values.

    Each label's mask is interpolated like a score; every pixel takes the label with the largest share, the
    smaller label on a tie.

    Args:
        slices: (slices, height, width), any integer type.
        size: new (height, width).

    Returns:
        (slices, *size) of the same type; `slices` itself if nothing changes.
    """
    if slices.shape[1:3] == tuple(size):
        return slices
    result = np.empty((len(slices), *size), slices.dtype)
    for source, target in zip(slices, result, strict=True):
        _resample_label_slice(source, target)
    return result


class Fit(NamedTuple):
    """Slices padded or cropped around their centre: `array`, and `before`, the (height, width) offsets.

    A positive offset counts padded rows or columns before the content, a negative one cropped ones.
    """

    array: np.ndarray
    before: tuple[int, int]


def fit_slices(slices: np.ndarray, size: tuple[int, int], fill: float = 0) -> Fit:
    """Pad with `fill` or crop, centred, to `size`.

    Args:
        slices: (slices, height, width, ...), any type; not changed.
        size: wanted (height, width).
        fill: value of the padding.

    Returns:
        The new array (slices, *size, ...) and where the content went. `fit_slices(fitted, old_size)` takes
        padding off again exactly.

    >>> fit_slices(np.ones((1, 3, 5)), (4, 4)).array[0].sum(axis=1).tolist()
    [0.0, 4.0, 4.0, 4.0]
    """
    result = np.full((len(slices), *size, *slices.shape[3:]), fill, slices.dtype)
    before, sources, targets = [], [], []
    for old, new in zip(slices.shape[1:3], size, strict=True):
        # The centre index is size // 2 in both arrays: padding and cropping are inverse to each other.
        shift = new // 2 - old // 2
        kept = slice(max(0, -shift), min(old, new - shift))
        before.append(shift)
        sources.append(kept)
        targets.append(slice(kept.start + shift, kept.stop + shift))
    result[:, targets[0], targets[1]] = slices[:, sources[0], sources[1]]
    return Fit(result, (before[0], before[1]))


def _resample(slices: np.ndarray, size: tuple[int, int], growing: int) -> np.ndarray:
    if slices.shape[1:3] == tuple(size):
        return slices
    channels = slices.shape[3]
    result = np.empty((len(slices), *size, channels), np.float32)
    for source, target in zip(slices, result, strict=True):
        for first in range(0, channels, MOST_CHANNELS):
            part = slice(first, first + MOST_CHANNELS)
            target[..., part] = _resize(source[..., part], size, growing)
    return result


def _resize(image: np.ndarray, size: tuple[int, int], growing: int) -> np.ndarray:
    """Resize one (height, width, up to 4 channels) image, the shrinking direction first (less work)."""
    height, width = size
    steps = sorted([(height / image.shape[0], 0), (width / image.shape[1], 1)])
    result: np.ndarray = np.ascontiguousarray(image, np.float32)
    for factor, axis in steps:
        if factor == 1:
            continue
        shape = (height, result.shape[1]) if axis == 0 else (result.shape[0], width)
        kind = growing if factor > 1 else cv2.INTER_AREA
        result = cv2.resize(result, (shape[1], shape[0]), interpolation=kind)
    return result.reshape(height, width, image.shape[2])


def _resample_label_slice(source: np.ndarray, target: np.ndarray) -> None:
    values = np.unique(source)
    target[...] = values[0]
    if len(values) == 1:
        return
    size = (target.shape[0], target.shape[1])
    best = np.zeros(size, np.float32)
    for value in values:
        share = _resize((source == value)[..., np.newaxis], size, cv2.INTER_LINEAR)[..., 0]
        larger = share > best
        target[larger] = value
        np.maximum(best, share, out=best)
