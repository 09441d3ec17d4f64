"""NIfTI-1 and NIfTI-2 single files, plain or compressed, through nibabel."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from imgmed.errors import InvalidVolumeError, UnreadableFileError
from imgmed.storage import write_bytes
from imgmed.volume import Volume

__all__ = ["SUFFIXES", "read", "write"]

SUFFIXES: tuple[str, ...] = (".nii.gz", ".nii")
GZIP_MAGIC = b"\x1f\x8b"
NIFTI2_HEADER_SIZE = 540
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, OSError, ValueError)
NOT_NIFTI = (ImageFileError, HeaderDataError, WrapStructError)


def read(path: Path) -> Volume:
    """Return the volume in a .nii or .nii.gz file, checksum of the compression included.

    Scale factors are applied; the number type is the stored one where there are none. A fourth axis is taken
    as channels; (i, j, k, 1, c) loses its empty time axis; two axes become one slice.

    Raises:
        UnreadableFileError: truncated, damaged or no NIfTI file.
        InvalidVolumeError: unusable shape, number type or affine.
    """
    image = _read_image(path)
    try:
        array = np.asanyarray(image.dataobj)
    except DAMAGED as error:
        raise _damaged(path, error) from error
    return Volume(_with_channels_last(array, path), image.affine, path)


def write(path: Path, volume: Volume, like: Path | None) -> None:
    """Store `volume` at `path` (see `imgmed.write_volume`); compressed bytes carry no time stamp."""
    array = _storable(volume.array)
    header = _header_like(like)
    image = nib.Nifti1Image(array, volume.affine, header=header)
    image.header.set_data_dtype(array.dtype)
    if header is None or not np.allclose(image.header.get_best_affine(), volume.affine, rtol=0, atol=1e-6):
        image.set_sform(volume.affine, code=1)
        image.set_qform(volume.affine, code=1, strip_shears=True)
        if header is None:
            image.header.set_xyzt_units("mm")
    data = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data, compresslevel=6, mtime=0)
    write_bytes(path, data)


def _read_image(path: Path) -> nib.Nifti1Image:
    try:
        raw = path.read_bytes()
        if raw[:2] == GZIP_MAGIC:
            raw = gzip.decompress(raw)
    except DAMAGED as error:
        raise _damaged(path, error) from error
    sizes = {int.from_bytes(raw[:4], order) for order in ("little", "big")}
    kind = nib.Nifti2Image if NIFTI2_HEADER_SIZE in sizes else nib.Nifti1Image
    try:
        return kind.from_bytes(raw)
    except (*NOT_NIFTI, *DAMAGED) as error:
        raise UnreadableFileError(
            f"{path}: not a NIfTI file ({_reason(error)}); expected a single .nii or .nii.gz file"
        ) from error


def _with_channels_last(array: np.ndarray, path: Path) -> np.ndarray:
    if array.ndim == 5 and array.shape[3] == 1:
        array = array[:, :, :, 0, :]
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim not in (3, 4):
        raise InvalidVolumeError(
            f"{path}: expected 3 axes, or 4 with channels last; received shape {array.shape}; split it into volumes"
        )
    return array


def _header_like(like: Path | None) -> nib.Nifti1Header | None:
    """Header of `like` without what belongs to its voxels: scaling, display range, intent and extensions."""
    if like is None:
        return None
    header = nib.Nifti1Header.from_header(_read_image(like).header, check=False)
    header.extensions.clear()
    header["cal_max"] = header["cal_min"] = 0
    header.set_intent("none")
    return header


def _storable(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.min() < 0:
        return array if array.dtype.itemsize < 8 else array.astype(np.int32)
    return array.astype(np.min_scalar_type(int(array.max())), copy=False)


def _damaged(path: Path, error: Exception) -> UnreadableFileError:
    if isinstance(error, PermissionError | IsADirectoryError):
        return UnreadableFileError(f"{path}: cannot be read ({_reason(error)})")
    return UnreadableFileError(
        f"{path}: truncated or damaged ({_reason(error)}); copy or download it again from its source"
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
