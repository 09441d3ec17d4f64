"""NIfTI-1 and NIfTI-2 single files, plain or compressed, through nibabel; loaded with the first of them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from isal import igzip, isal_zlib

from imgmed.errors import InvalidVolumeError, UnreadableFileError
from imgmed.formats.header import DEFLATE_RATIO, VolumeHeader, check_size, damaged
from imgmed.formats.quiet import quiet
from imgmed.formats.units import MILLIMETRES, SpatialUnits, Unit, in_mm
from imgmed.volume import MAX_VALUES, Volume, storable
from r2d2_base.files import write_bytes

if TYPE_CHECKING:
    import nibabel as nib

__all__ = ["SUFFIXES", "read", "read_header", "write", "write_fractions"]

SUFFIXES: tuple[str, ...] = (".nii.gz", ".nii")
GZIP_MAGIC = b"\x1f\x8b"
NIFTI1_HEADER_SIZE = 348
NIFTI2_HEADER_SIZE = 540
LARGEST_FRACTION = 2**16 - 1
LARGEST_NIFTI1_AXIS = 2**15 - 1
UNITS = {1: Unit("metre (xyzt_units 1)", 1e3), 3: Unit("micron (xyzt_units 3)", 1e-3)}  # 2, and 0 for none: mm
SPATIAL_BITS = 7  # of xyzt_units; the others are the unit of time
SAME_PLACE = 1e-6
MOST_PADDING = 2**20  # bytes that may follow the voxels; more is no NIfTI file but a trap
DAMAGED: tuple[Any, ...] = (EOFError, zlib.error, isal_zlib.error, gzip.BadGzipFile, OSError, ValueError)


def read(files: tuple[Path, ...], max_values: int = MAX_VALUES, spatial_units: SpatialUnits = "header") -> Volume:
    """Return the volume in a .nii or .nii.gz file, checksum of the compression included.

    Places are in millimetres whatever unit the header is in. Scale factors are applied; the number type is the stored
    one where there are none. A fourth axis is taken as channels; (i, j, k, 1, c) loses its empty time axis; two axes
    become one slice. No more is decompressed than the header says.

    Raises:
        UnreadableFileError: truncated, damaged or no NIfTI file.
        InvalidVolumeError: unusable shape, number type or affine.
    """
    from nibabel.volumeutils import apply_read_scaling, array_from_file

    path = files[0]
    with _opened(path) as (stream, expansion):
        header = _header_from(stream, path)
        shape, dtype = _axes(header, path), header.get_data_dtype()
        stored = max(0, path.stat().st_size - (header.get_data_offset() if expansion == 1 else 0))
        check_size(path, shape, dtype.itemsize, stored, max_values, expansion)
        array = array_from_file(shape, dtype, stream, offset=header.get_data_offset(), mmap=False)
        if len(stream.read(MOST_PADDING + 1)) > MOST_PADDING:  # reading to the end checks the checksum
            raise ValueError(f"it goes on for more than {MOST_PADDING} bytes after the {array.nbytes} of its header")
    slope, inter = _scale(header, path)
    affine = in_mm(_place(header, path), shape[:3], _unit(header), spatial_units, path)
    return Volume(apply_read_scaling(array, slope, inter), affine, path)


def read_header(files: tuple[Path, ...], spatial_units: SpatialUnits = "header") -> VolumeHeader:
    """Return shape, number type and affine; of a compressed file only the first bytes are decompressed."""
    import nibabel as nib
    from nibabel.volumeutils import apply_read_scaling

    path = files[0]
    with _opened(path) as (stream, _):
        header = _header_from(stream, path)
    i, j, k, *channels = _axes(header, path)
    slope, inter = _scale(header, path)
    unit = _unit(header)
    affine = in_mm(_place(header, path), (i, j, k), unit, spatial_units, path)
    dtype = apply_read_scaling(np.ones(1, header.get_data_dtype()), slope, inter).dtype
    facts = {"format": "NIfTI-2" if isinstance(header, nib.Nifti2Header) else "NIfTI-1"}
    facts |= {} if unit is MILLIMETRES else {"units": unit.name}
    axes = min(3, len(header.get_data_shape()))
    return VolumeHeader((i, j, k), channels[0] if channels else 1, dtype, affine, facts, axes)


def write(path: Path, volume: Volume, like: Path | None) -> None:
    """Store `volume` at `path` (see `imgmed.write_volume`); compressed bytes carry no time stamp.

    NIfTI-1; NIfTI-2 where an axis is too long for it. With `like` numbers are in its unit, and where `volume` lies
    where `like` does, they are its very numbers.
    """
    _write(path, storable(volume.array), volume, like)


def write_fractions(path: Path, volume: Volume, like: Path | None = None) -> None:
    """Store real numbers from 0 to 1, such as probabilities, as 16-bit numbers with a scale factor.

    Args:
        path: target ending in .nii or .nii.gz; its folder must exist.
        volume: (i, j, k); what is read back differs from it by less than 1e-5.
        like: as for `imgmed.write_volume`.

    Raises:
        NoSpaceError: the disk is full; nothing is left at `path`.
    """
    _write(path, np.rint(volume.array * LARGEST_FRACTION).astype(np.uint16), volume, like, 1 / LARGEST_FRACTION)


def _write(path: Path, array: np.ndarray, volume: Volume, like: Path | None, scale: float | None = None) -> None:
    """Store `array`, whose numbers count in `scale`, where `volume` lies."""
    import nibabel as nib

    header = _header_like(like)
    kind = nib.Nifti1Image if max(array.shape) <= LARGEST_NIFTI1_AXIS else nib.Nifti2Image
    affine = volume.affine if header is None else _in_unit_of(header, volume)
    image = kind(array, affine, header=header)
    image.header.set_data_dtype(array.dtype)
    if scale is not None:
        image.header.set_slope_inter(scale, 0)
    if header is None or not np.allclose(image.header.get_best_affine(), affine, rtol=0, atol=1e-6):
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1, strip_shears=True)
        if header is None:
            image.header.set_xyzt_units("mm")
    data = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data, compresslevel=6, mtime=0)
    write_bytes(path, data)


def _in_unit_of(header: nib.Nifti1Header, volume: Volume) -> np.ndarray:
    """The affine of `volume` in the numbers of a header: in its unit, unless they were read as millimetres."""
    stored = header.get_best_affine()
    if np.allclose(stored, volume.affine, rtol=SAME_PLACE, atol=SAME_PLACE):
        return stored
    affine = volume.affine.copy()
    affine[:3] /= _unit(header).mm
    return stored if np.allclose(stored, affine, rtol=SAME_PLACE, atol=SAME_PLACE) else affine


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
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    raw = stream.read(NIFTI1_HEADER_SIZE)
    sizes = {int.from_bytes(raw[:4], order) for order in ("little", "big")}
    kind = nib.Nifti1Header
    if NIFTI2_HEADER_SIZE in sizes:
        kind, raw = nib.Nifti2Header, raw + stream.read(NIFTI2_HEADER_SIZE - NIFTI1_HEADER_SIZE)
    try:
        with quiet("nibabel.global"):
            stored, header = kind(raw, check=False), kind(raw, check=True)
        if not header["magic"].item().startswith(b"n+"):
            raise HeaderDataError("its voxels are said to lie in another file")
        if header.get_data_offset() < len(raw):
            header.set_data_offset(kind.single_vox_offset)
    except _not_nifti() as error:
        raise UnreadableFileError(
            f"{path}: not a NIfTI file ({_reason(error)}); expected a single .nii or .nii.gz file"
        ) from error
    _check_spacing(stored, path)
    return header


def _check_spacing(header: nib.Nifti1Header, path: Path) -> None:
    """Refuse sizes of 0, which nibabel takes for 1, where the place of the voxels depends on them."""
    if header["sform_code"] > 0:
        return
    sizes, spacings = header["dim"][1 : 1 + min(3, int(header["dim"][0]))], header["pixdim"][1:4]
    unknown = [axis for axis, (size, mm) in enumerate(zip(sizes, spacings, strict=False), 1) if size > 1 and mm == 0]
    if unknown:
        axes = " and ".join(map(str, unknown))
        raise InvalidVolumeError(
            f"{path}: its header tells no size of its voxels (pixdim 0 along axis {axes}); write the spacing into it"
        )


def _not_nifti() -> tuple[type[Exception], ...]:
    """What nibabel raises of a header that is none."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    return ImageFileError, HeaderDataError, WrapStructError, ValueError


def _scale(header: nib.Nifti1Header, path: Path) -> tuple[float, float]:
    """Scale factor and offset of a header."""
    if header.get_data_dtype().kind not in "iuf":
        return 1.0, 0.0
    try:
        with quiet("nibabel.global"):
            slope, inter = header.get_slope_inter()
    except _not_nifti() as error:
        raise InvalidVolumeError(f"{path}: its scale factors are not usable ({_reason(error)})") from error
    return 1.0 if slope is None else slope, 0.0 if inter is None else inter


def _place(header: nib.Nifti1Header, path: Path) -> np.ndarray:
    """Affine of a header, in its own unit."""
    try:
        with quiet("nibabel.global"):
            return header.get_best_affine()
    except _not_nifti() as error:
        raise InvalidVolumeError(f"{path}: its place is not usable ({_reason(error)})") from error


def _unit(header: nib.Nifti1Header) -> Unit:
    """The unit of length that a header states; millimetres where it states none, or one that NIfTI does not know."""
    return UNITS.get(int(header["xyzt_units"]) & SPATIAL_BITS, MILLIMETRES)


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


def _header_like(like: Path | None) -> nib.Nifti1Header | nib.Nifti2Header | None:
    """Header of `like` without what belongs to its voxels: scaling, display range, intent and extensions."""
    if like is None or not like.name.lower().endswith(SUFFIXES):
        return None
    with _opened(like) as (stream, _):
        header = _header_from(stream, like)
    header["cal_max"] = header["cal_min"] = 0
    header.set_intent("none")
    return header


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
