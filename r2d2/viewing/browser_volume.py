"""Volumes as a browser gets them: one NIfTI file, on a coarser grid where there are too many voxels."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np
from isal import igzip

__all__ = ["MOST_VOXELS", "BrowserVolume", "browser_volume", "thinning"]

MOST_VOXELS = 4_000_000
"""Of a volume that is sent without being asked for the whole: about 160 along each axis."""

_FIRST, _LAST = -32768, 32767


@dataclass(frozen=True)
class BrowserVolume:
    """A volume to be sent.

    Attributes:
        content: the .nii.gz file.
        shape: voxels that it has.
        steps: of so many voxels along each axis one was taken.
    """

    content: bytes
    shape: tuple[int, int, int]
    steps: tuple[int, int, int]


def thinning(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], most_voxels: int = MOST_VOXELS
) -> tuple[int, int, int]:
    """Choose the steps with which a volume is thinned out, so that voxels become more alike along all axes.

    >>> thinning((512, 512, 100), (0.7, 0.7, 3.0))
    (3, 3, 1)
    """
    steps = [1, 1, 1]
    while np.prod([-(-size // step) for size, step in zip(shape, steps, strict=True)]) > most_voxels:
        lengths = [
            step * mm if size > step else np.inf for size, step, mm in zip(shape, steps, spacing_mm, strict=True)
        ]
        steps[int(np.argmin(lengths))] += 1
    return steps[0], steps[1], steps[2]


def browser_volume(
    array: np.ndarray,
    affine: np.ndarray,
    *,
    is_label_map: bool = False,
    most_voxels: int | None = MOST_VOXELS,
    window: tuple[float, float] | None = None,
) -> BrowserVolume:
    """Write a volume for a browser.

    The scan and its label maps are thinned out alike, by leaving voxels out: those that are left lie where they lay.

    Args:
        array: (i, j, k) of the scan or of a label map.
        affine: (4, 4) voxel index to millimetres.
        is_label_map: numbers stay as they are; intensities are kept to 1/65535 of their range.
        most_voxels: that are sent; None: all, however many.
        window: intensities to be shown black and white at first.
    """
    spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    size = (array.shape[0], array.shape[1], array.shape[2])
    lengths = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    steps = (1, 1, 1) if most_voxels is None else thinning(size, lengths, most_voxels)
    taken = array[:: steps[0], :: steps[1], :: steps[2]]
    placed = np.asarray(affine, np.float64) @ np.diag([*map(float, steps), 1.0])
    stored, slope, inter = (_labels(taken), 1.0, 0.0) if is_label_map else _intensities(taken)
    image = nibabel.Nifti1Image(stored, placed)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(slope, inter)
    if window is not None:
        image.header["cal_min"], image.header["cal_max"] = window
    shape = (stored.shape[0], stored.shape[1], stored.shape[2])
    return BrowserVolume(igzip.compress(image.to_bytes(), 1, mtime=0), shape, steps)


def _labels(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.uint8 if array.size == 0 or int(array.max()) < 256 else np.int32)


def _intensities(array: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Give 16-bit numbers, and what they are multiplied by and added to."""
    if array.dtype.kind in "biu" and (not array.size or (array.min() >= _FIRST and array.max() <= _LAST)):
        return np.asarray(array, np.int16), 1.0, 0.0
    values = np.nan_to_num(array.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    slope = (high - low) / (_LAST - _FIRST) or 1.0
    stored = np.rint((values - low) / slope + _FIRST).clip(_FIRST, _LAST).astype(np.int16)
    return stored, slope, low - slope * _FIRST
