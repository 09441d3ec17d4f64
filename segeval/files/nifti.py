"""NIfTI files through nibabel."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray

from segeval.errors import UnreadableLabelMapError

__all__ = ["SUFFIXES", "read"]

SUFFIXES = (".nii.gz", ".nii")


def read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Read the voxels in index order (i, j, k) and the affine to RAS mm.

    Raises:
        UnreadableLabelMapError: damaged, cut short or no NIfTI file.
    """
    try:
        image = nibabel.load(path)
        if not isinstance(image, SpatialImage):
            raise UnreadableLabelMapError(f"{path}: not an image; a NIfTI label map is needed")
        return np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=np.float64)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        if isinstance(error, UnreadableLabelMapError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableLabelMapError(f"{path}: unreadable or truncated ({reason}); write it again") from error
