"""One multi-frame DICOM file (Enhanced CT, MR, PET ...) as a volume, through highdicom."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgmed.errors import UnsupportedFormatError
from imgmed.formats.dicom_file import checked_header, read_file
from imgmed.formats.header import VolumeHeader, check_size
from imgmed.formats.itk import LPS_TO_RAS
from imgmed.volume import Volume

if TYPE_CHECKING:
    import highdicom as hd

__all__ = ["place_frames", "read", "read_header"]

REFUSALS: tuple[type[Exception], ...] = (
    RuntimeError, ValueError, AttributeError, KeyError, TypeError, IndexError, NotImplementedError, struct.error,
)  # fmt: skip


def read(path: Path, max_values: int) -> Volume:
    """Return the frames as (columns, rows, slices) in RAS millimetres, rescaled, float32.

    Raises:
        UnsupportedFormatError: frames that are no regular stack, such as a film of ultrasound, or several volumes.
    """
    image = _opened(path)
    shape, _ = _geometry(image, path)
    check_size(path, shape, 2, 0, max_values, None)
    try:
        volume = image.get_volume(dtype=np.float32, apply_presentation_lut=False)
    except REFUSALS as error:
        raise _refused(path, error) from error
    return Volume(*place_frames(volume.array, volume.affine), path)


def read_header(path: Path) -> VolumeHeader:
    """Return shape and affine without decoding frames."""
    image = _opened(path)
    shape, affine = _geometry(image, path)
    facts = {"format": "DICOM", "modality": str(image.get("Modality", "")), "frames": str(image.NumberOfFrames)}
    if image.get("BodyPartExamined"):
        facts["body_part"] = str(image.BodyPartExamined)
    return VolumeHeader(shape, 1, np.dtype(np.float32), affine, facts)


def place_frames(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """highdicom's (slices, rows, columns, ...) and LPS affine as (columns, rows, slices, ...) and RAS affine."""
    turn = np.eye(4)[:, [2, 1, 0, 3]]
    return np.moveaxis(array, (0, 1, 2), (2, 1, 0)), LPS_TO_RAS @ affine @ turn


def _opened(path: Path) -> Any:
    import highdicom as hd
    from pydicom.errors import InvalidDicomError

    try:
        return hd.imread(path, lazy_frame_retrieval=True)
    except InvalidDicomError:  # without the usual beginning
        with checked_header(path):
            return hd.Image.from_dataset(read_file(path))
    except REFUSALS as error:
        raise _refused(path, error) from error


def _geometry(image: hd.Image, path: Path) -> tuple[tuple[int, int, int], np.ndarray]:
    try:
        geometry = image.get_volume_geometry()
    except REFUSALS as error:
        raise _refused(path, error) from error
    if geometry is None:
        raise _refused(path, ValueError("its frames are no regular stack of parallel slices"))
    if int(image.get("SamplesPerPixel") or 1) > 1:
        raise _refused(path, ValueError("its frames are in colour"))
    slices, rows, columns = geometry.spatial_shape
    if image.NumberOfFrames != slices:
        raise _refused(path, ValueError(f"{image.NumberOfFrames} frames at {slices} positions"))
    return (columns, rows, slices), place_frames(np.empty((0, 0, 0)), geometry.affine)[1]


def _refused(path: Path, error: Exception) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"{path}: a multi-frame DICOM file that is not one regular volume ({' '.join(str(error).split())})"
    )
