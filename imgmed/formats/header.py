"""What a volume's header says, and the check that it asks for no more than its file can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imgmed.errors import InvalidVolumeError, UnreadableFileError

__all__ = ["DEFLATE_RATIO", "PICTURE_AFFINE", "VolumeHeader", "check_size", "damaged", "stored_bytes"]

PICTURE_AFFINE = np.array([[0.0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""(row, column, page) -> millimetres of pictures, which say nothing about patients: as ITK places them, one pixel a
millimetre, columns to the patient's left and rows to the back, so that the radiological view shows them upright."""

DEFLATE_RATIO = 1032
"""Deflate (gzip, zlib, PNG) makes at most 1032 bytes of one (258 bytes from two bits): zlib's technical notes."""


@dataclass(frozen=True, eq=False)
class VolumeHeader:
    """A volume without its voxels.

    Args:
        shape: number of voxels along i, j, k.
        channels: number of channels; 1 for a three-dimensional array.
        dtype: number type that `read_volume` gives.
        affine: (4, 4) voxel index -> millimetres, axes pointing right, anterior, superior.
        facts: what else is known, such as {"format": "DICOM", "modality": "CT"}; never who the patient is.
        axes: in the file: 2 where it is a plane, whose thickness the affine makes up.
    """

    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype
    affine: np.ndarray
    facts: Mapping[str, str] = field(default_factory=dict)
    axes: int = 3

    @property
    def values(self) -> int:
        """Number of voxels times channels."""
        return math.prod(self.shape) * self.channels


def check_size(
    origin: object, sizes: Iterable[int], itemsize: int, stored: int, max_values: int, expansion: int | None = 1
) -> None:
    """Refuse a header before memory is taken for what it asks for.

    Args:
        origin: the file, for messages.
        sizes: number of values along every axis, channels included.
        itemsize: bytes of a value as stored.
        stored: bytes of the files that hold the values.
        max_values: most values that are allowed.
        expansion: how many bytes one stored byte can become: 1 without compression; None: no bound is known.

    Raises:
        InvalidVolumeError: an axis without values, or more values than allowed.
        UnreadableFileError: more bytes than the file can hold.

    >>> check_size("a.mha", (512, 512, 100), 2, 1000, 2**31)
    Traceback (most recent call last):
        ...
    imgmed.errors.UnreadableFileError: a.mha: truncated or damaged (its header asks for 512 x 512 x 100 values, \
52428800 bytes, which 1000 stored bytes cannot hold); copy or download it again from its source
    """
    listed = [int(size) for size in sizes]
    shape = " x ".join(str(size) for size in listed)
    if any(size < 1 for size in listed):
        raise InvalidVolumeError(f"{origin}: a volume needs voxels along every axis; its header says {shape}")
    values = math.prod(listed)
    if values > max_values:
        raise InvalidVolumeError(
            f"{origin}: its header asks for {shape} = {values} values ({values * itemsize} bytes); at most"
            f" {max_values} are allowed; correct the header, cut the volume, or raise max_values"
        )
    if expansion is not None and values * itemsize > stored * expansion:
        raise damaged(
            origin,
            f"its header asks for {shape} values, {values * itemsize} bytes, which {stored} stored bytes cannot hold",
        )


def stored_bytes(files: Iterable[Path]) -> int:
    """Return the number of bytes that files take together."""
    return sum(path.stat().st_size for path in files)


def damaged(origin: object, reason: object) -> UnreadableFileError:
    """Return the error for a file that is broken, in one line."""
    said = " ".join(str(reason).split()) or type(reason).__name__
    return UnreadableFileError(f"{origin}: truncated or damaged ({said}); copy or download it again from its source")
