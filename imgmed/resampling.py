"""Resampling of slices in their plane, and centred padding or cropping.

Pixels are areas: a slice covers the same field of view before and after, so output pixel x has its centre at
input position (x + 0.5) * input_size / output_size - 0.5. Both directions are handled one after the other:
growing interpolates, shrinking averages over the area of the output pixel (which keeps aliasing out). The
weights form a small sparse matrix for each direction.

Source: R. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29 (1981) 1153-1160.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from scipy import sparse

__all__ = ["Fit", "fit_slices", "resample_images", "resample_labels", "resample_scores", "resampled_size"]

Growing = Literal["linear", "cubic"]


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
    return _resample(slices, size, "cubic")


def resample_scores(slices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample scores (such as logits) to `size`: linear where a direction grows, averaged where it shrinks.

    Args:
        slices: (slices, height, width, classes) float32.
        size: new (height, width).

    Returns:
        (slices, *size, classes) float32; `slices` itself if nothing changes. The input's range is kept.
    """
    return _resample(slices, size, "linear")


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


def _resample(slices: np.ndarray, size: tuple[int, int], growing: Growing) -> np.ndarray:
    old = slices.shape[1:3]
    if old == tuple(size):
        return slices
    result = np.empty((len(slices), *size, slices.shape[3]), np.float32)
    steps = _steps(old, size, growing)
    for source, target in zip(slices, result, strict=True):
        target[...] = _resize(source, steps)
    return result


def _resample_label_slice(source: np.ndarray, target: np.ndarray) -> None:
    values = np.unique(source)
    target[...] = values[0]
    if len(values) == 1:
        return
    steps = _steps(source.shape, target.shape, "linear")
    best = np.zeros(target.shape, np.float32)
    for value in values:
        share = _resize((source == value)[..., np.newaxis], steps)[..., 0]
        target[share > best] = value
        np.maximum(best, share, out=best)


def _steps(old: tuple[int, ...], new: tuple[int, ...], growing: Growing) -> list[tuple[int, sparse.csr_array]]:
    """The directions that change, each with its weights, the most shrinking one first (less work)."""
    changing = sorted((new[axis] / old[axis], axis) for axis in range(2) if new[axis] != old[axis])
    return [(axis, _weights(old[axis], new[axis], growing)) for _, axis in changing]


def _resize(image: np.ndarray, steps: list[tuple[int, sparse.csr_array]]) -> np.ndarray:
    """Apply weights along rows (0) or columns (1) of one image (height, width, channels)."""
    result = image.astype(np.float32, copy=False)
    for axis, weights in steps:
        lines = np.ascontiguousarray(np.moveaxis(result, axis, 0))
        changed = weights @ lines.reshape(len(lines), -1)
        result = np.moveaxis(changed.reshape(-1, *lines.shape[1:]), 0, axis)
    return result


@lru_cache(maxsize=256)
def _weights(old: int, new: int, growing: Growing) -> sparse.csr_array:
    """Weights (new, old), float32, each row summing to 1, that resample a line of pixels."""
    if new < old:
        taps, weights = _area_taps(old, new)
    else:
        centres = (np.arange(new) + 0.5) * old / new - 0.5
        reach = 1 if growing == "linear" else 2
        taps = np.floor(centres).astype(np.intp)[:, np.newaxis] + np.arange(1 - reach, reach + 1)
        distance = np.abs(taps - centres[:, np.newaxis])
        weights = np.maximum(0, 1 - distance) if growing == "linear" else _keys(distance)
    rows = np.repeat(np.arange(new), taps.shape[1])
    columns = np.clip(taps, 0, old - 1).ravel()  # beyond the edge the outermost pixel is repeated
    return sparse.csr_array((weights.ravel().astype(np.float32), (rows, columns)), shape=(new, old))


def _area_taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Input pixels under each output pixel and the parts of the output pixel that they cover."""
    edges = (np.arange(new + 1) * old / new)[:, np.newaxis]
    first, last = edges[:-1], edges[1:]
    taps = np.floor(first).astype(np.intp) + np.arange(-(-old // new) + 1)
    overlap = np.minimum(taps + 1, last) - np.maximum(taps, first)
    return taps, np.maximum(0, overlap) * new / old


def _keys(distance: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel of Keys 1981 with a = -1/2, which reproduces parabolas."""
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
