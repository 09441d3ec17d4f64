"""NIfTI-1 and NIfTI-2 single files, plain or compressed, through nibabel."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling, array_from_file
from nibabel.wrapstruct import WrapStructError

from imgmed.errors import InvalidVolumeError, UnreadableFileError
from imgmed.formats.header import DEFLATE_RATIO, MAX_VALUES, VolumeHeader, check_size, damaged
from imgmed.formats.quiet import quiet
from imgmed.volume import Volume, storable
from r2d2_base.files import write_bytes

__all__ = ["SUFFIXES", "read", "read_header", "write"]

SUFFIXES: tuple[str, ...] = (".nii.gz", ".nii")
GZIP_MAGIC = b"\x1f\x8b"
NIFTI1_HEADER_SIZE = 348
NIFTI2_HEADER_SIZE = 540
MOST_PADDING = 2**20  # bytes that may follow the voxels; more is no NIfTI file but a trap
DAMAGED: tuple[Any, ...] = (EOFError, zlib.error, isal_zlib.error, gzip.BadGzipFile, OSError, ValueError)
NOT_NIFTI = (ImageFileError, HeaderDataError, WrapStructError, ValueError)


def read(files: tuple[Path, ...], max_values: int = MAX_VALUES) -> Volume:
    """Return the volume in a .nii or .nii.gz file, checksum of the compression included.

    Scale factors are applied; the number type is the stored one where there are none. A fourth axis is taken
    as channels; (i, j, k, 1, c) loses its empty time axis; two axes become one slice. No more is decompressed
    than the header says.

    Raises:
        UnreadableFileError: truncated, damaged or no NIfTI file.
        InvalidVolumeError: unusable shape, number type or affine.
    """
    path = files[0]
    with _opened(path) as (stream, expansion):
        header = _header_from(stream, path)
        shape, dtype = _axes(header, path), header.get_data_dtype()
        stored = max(0, path.stat().st_size - (header.get_data_offset() if expansion == 1 else 0))
        check_size(path, shape, dtype.itemsize, stored, max_values, expansion)
        array = array_from_file(shape, dtype, stream, offset=header.get_data_offset(), mmap=False)
        if len(stream.read(MOST_PADDING + 1)) > MOST_PADDING:  # reading to the end checks the checksum
            raise ValueError(f"it goes on for more than {MOST_PADDING} bytes after the {array.nbytes} of its header")
    affine, slope, inter = _place_and_scale(header, path)
    return Volume(apply_read_scaling(array, slope, inter), affine, path)


def read_header(files: tuple[Path, ...]) -> VolumeHeader:
    """Return shape, number type and affine; of a compressed file only the first bytes are decompressed."""
    path = files[0]
    with _opened(path) as (stream, _):
        header = _header_from(stream, path)
    i, j, k, *channels = _axes(header, path)
    affine, slope, inter = _place_and_scale(header, path)
    dtype = apply_read_scaling(np.ones(1, header.get_data_dtype()), slope, inter).dtype
    name = "NIfTI-2" if isinstance(header, nib.Nifti2Header) else "NIfTI-1"
    return VolumeHeader((i, j, k), channels[0] if channels else 1, dtype, affine, {"format": name})


def write(path: Path, volume: Volume, like: Path | None) -> None:
    """Store `volume` at `path` (see `imgmed.write_volume`); compressed bytes carry no time stamp."""
    array = storable(volume.array)
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


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, int]]:
    """Give the bytes of a file, decompressed where they are gzip, and how many bytes a stored one can become."""
    try:
        with path.open("rb") as stored:
            is_compressed = stored.read(2) == GZIP_MAGIC
            stored.seek(0)
            if is_compressed:
                # ISA-L decompresses 1.4 to 2.7 times as fast as zlib on the scans of the tests
                with igzip.IGzipFile(fileobj=stored, mode="rb") as stream:
                    yield stream, DEFLATE_RATIO
            else:
                yield stored, 1
    except (UnreadableFileError, InvalidVolumeError):
        raise
    except (PermissionError, IsADirectoryError) as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror})") from error
    except DAMAGED as error:
        raise damaged(path, error) from error


def _header_from(stream: Any, path: Path) -> nib.Nifti1Header | nib.Nifti2Header:
    raw = stream.read(NIFTI1_HEADER_SIZE)
    sizes = {int.from_bytes(raw[:4], order) for order in ("little", "big")}
    kind = nib.Nifti1Header
    if NIFTI2_HEADER_SIZE in sizes:
        kind, raw = nib.Nifti2Header, raw + stream.read(NIFTI2_HEADER_SIZE - NIFTI1_HEADER_SIZE)
    try:
        with quiet("nibabel.global"):
            header = kind(raw, check=True)
        if not header["magic"].item().startswith(b"n+"):
            raise HeaderDataError("its voxels are said to lie in another file")
        if header.get_data_offset() < len(raw):
            header.set_data_offset(kind.single_vox_offset)
        return header
    except NOT_NIFTI as error:
        raise UnreadableFileError(
            f"{path}: not a NIfTI file ({_reason(error)}); expected a single .nii or .nii.gz file"
        ) from error


def _place_and_scale(header: nib.Nifti1Header, path: Path) -> tuple[np.ndarray, float, float]:
    """Affine, scale factor and offset of a header."""
    try:
        with quiet("nibabel.global"):
            slope, inter = (None, None) if header.get_data_dtype().kind not in "iuf" else header.get_slope_inter()
            return header.get_best_affine(), 1.0 if slope is None else slope, 0.0 if inter is None else inter
    except NOT_NIFTI as error:
        raise InvalidVolumeError(f"{path}: its scale factors or its place are not usable ({_reason(error)})") from error


def _axes(header: nib.Nifti1Header, path: Path) -> tuple[int, ...]:
    """Sizes along (i, j, k) or (i, j, k, channels)."""
    stored = shape = tuple(int(size) for size in header.get_data_shape())
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise InvalidVolumeError(
            f"{path}: expected 3 axes, or 4 with channels last; received shape {stored}; split it into volumes"
        )
    return shape


def _header_like(like: Path | None) -> nib.Nifti1Header | None:
    """Header of `like` without what belongs to its voxels: scaling, display range, intent and extensions."""
    if like is None or not like.name.lower().endswith(SUFFIXES):
        return None
    with _opened(like) as (stream, _):
        found = _header_from(stream, like)
    header = nib.Nifti1Header.from_header(found, check=False)
    header["cal_max"] = header["cal_min"] = 0
    header.set_intent("none")
    return header


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
