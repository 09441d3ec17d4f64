"""NIfTI files through nibabel."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segeval.errors import UnreadableLabelMapError

__all__ = ["SUFFIXES", "read"]

_COMPRESSED = ".nii.gz"
SUFFIXES = (_COMPRESSED, ".nii")

_CHUNK = 2**16
_NIFTI_1 = 348
"""Size of its header, with which a NIfTI-1 file begins."""


def read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Read the voxels in index order (i, j, k) and the affine to RAS mm.

    Raises:
        UnreadableLabelMapError: damaged, cut short or no NIfTI file.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        if path.name.lower().endswith(_COMPRESSED):
            return _read_compressed(path)
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Pair):
            raise UnreadableLabelMapError(f"{path}: not a NIfTI file; was it renamed?")
        return np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=np.float64)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError) as error:
        if isinstance(error, UnreadableLabelMapError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableLabelMapError(f"{path}: unreadable or truncated ({reason}); write it again") from error


def _read_compressed(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Read to the end of the file, where its checksum is; nibabel stops at the last voxel."""
    import nibabel

    with gzip.open(path) as stream:
        start = stream.read(4)
        stream.seek(0)
        sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
        image = (nibabel.Nifti1Image if _NIFTI_1 in sizes else nibabel.Nifti2Image).from_stream(stream)
        array = np.asanyarray(image.dataobj)
        while stream.read(_CHUNK):
            pass
        return array, np.asarray(image.affine, dtype=np.float64)
