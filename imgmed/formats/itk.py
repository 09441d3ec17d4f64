"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) through SimpleITK."""

from __future__ import annotations

import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from imgmed.errors import InvalidVolumeError, UnreadableFileError, UnsupportedFormatError
from imgmed.formats.header import DEFLATE_RATIO, VolumeHeader, check_size, damaged, stored_bytes
from imgmed.formats.units import MILLIMETRES, SpatialUnits, Unit, in_mm, unit_of_name
from imgmed.volume import MAX_VALUES, Volume, storable
from r2d2_base.files import check_free_space, written_beside

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["LPS_TO_RAS", "SUFFIXES", "Segment", "read", "read_header", "segments", "without_noise", "write"]

META_SUFFIXES = (".mha", ".mhd")
SUFFIXES: tuple[str, ...] = (*META_SUFFIXES, ".nrrd", ".nhdr")
DETACHED = (".mhd", ".nhdr")  # the voxels lie in another file of the same folder
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
READ_FAILURES = ("Uncompress failed", "data not read completely")  # MetaIO says so and goes on
STDERR = 2
MOST_HEADER = 2**16
COMPRESSED = re.compile(rb"^(?:CompressedData *= *True|encoding: *(?:gzip|gz)) *\r?$", re.IGNORECASE | re.MULTILINE)
BIG_ENDIAN = re.compile(rb"^(?:\w*ByteOrderMSB *= *True|endian: *big)", re.IGNORECASE | re.MULTILINE)
DATA_FILE = re.compile(rb"^(?:ElementDataFile *=|data ?file:) *(\S.*?) *\r?$", re.IGNORECASE | re.MULTILINE)
NRRD_UNITS = re.compile(rb"^(space units|units): *(.*?) *\r?$", re.IGNORECASE | re.MULTILINE)
END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
QUOTED = re.compile(r'"([^"]*)"')
META_UNITS = "ITK_VoxelUnits"
SEGMENT = re.compile(r"Segment(\d+)_(?:Name|LabelValue|Layer)")
_lock = threading.Lock()
T = TypeVar("T")


@dataclass(frozen=True)
class Segment:
    """A segment as 3D Slicer names it: one value in one layer (channel) of the file."""

    name: str
    value: int
    layer: int


def read(files: tuple[Path, ...], max_values: int = MAX_VALUES, spatial_units: SpatialUnits = "header") -> Volume:
    """Return the volume in a MetaImage or NRRD file.

    Places are in millimetres whatever unit the header is in.
    Vector voxels, and a fourth axis, are channels; a picture of two axes becomes one slice.

    Raises:
        UnreadableFileError: truncated, damaged or no such file.
        InvalidVolumeError: unusable shape, number type or affine.
    """
    import SimpleITK

    path = files[0]
    reader = _reader_with_header(path)
    header = _header_of(reader, path, spatial_units)
    folder = path.parent.iterdir() if path.name.lower().endswith(DETACHED) else (path,)
    stored = stored_bytes(file for file in folder if file.is_file())
    sizes = (*header.shape, header.channels)
    check_size(path, sizes, header.dtype.itemsize, stored, max_values, DEFLATE_RATIO)
    image = without_noise(reader.Execute, path)
    stored_order = SimpleITK.GetArrayFromImage(image)
    _check_sum(stored_order, path)
    return Volume(_channels_last(stored_order, image.GetDimension(), header), header.affine, path)


def read_header(files: tuple[Path, ...], spatial_units: SpatialUnits = "header") -> VolumeHeader:
    """Return shape, number type and affine without reading voxels."""
    return _header_of(_reader_with_header(files[0]), files[0], spatial_units)


def segments(path: Path) -> tuple[Segment, ...]:
    """Return the segments that the header of a NRRD file names as 3D Slicer does, () where it names none."""
    reader = _reader_with_header(path)
    keys = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys() if SEGMENT.fullmatch(key)}
    numbers = sorted({int(found[1]) for key in keys if (found := SEGMENT.fullmatch(key)) is not None})
    layered = any(key.endswith("_Layer") for key in keys)
    return tuple(
        Segment(
            name=keys.get(f"Segment{number}_Name", "").strip() or f"segment {number + 1}",
            value=_whole(keys.get(f"Segment{number}_LabelValue", "1"), path),
            # before layers had numbers, each segment had a channel of its own
            layer=_whole(keys.get(f"Segment{number}_Layer", "0"), path) if layered else number,
        )
        for number in numbers
    )


def _whole(text: str, path: Path) -> int:
    if not text.strip().isdecimal():
        raise UnreadableFileError(f"{path}: its header gives {text!r} where the number of a segment is due")
    return int(text)


def write(path: Path, volume: Volume, like: Path | None) -> None:
    """Store `volume` at `path` with zlib compression; these formats take nothing from `like` but its place."""
    import SimpleITK

    if path.name.lower().endswith(DETACHED):
        raise UnsupportedFormatError(f"{path}: written in one file only; use {path.stem}.mha or {path.stem}.nrrd")
    array = storable(volume.array)
    check_free_space(path.parent, MOST_HEADER)
    turned = np.ascontiguousarray(np.moveaxis(array, (0, 1, 2), (2, 1, 0)))
    image = SimpleITK.GetImageFromArray(turned, isVector=array.ndim == 4)
    spacing = np.array(volume.spacing_mm)
    affine = LPS_TO_RAS @ volume.affine
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    with written_beside(path) as (beside,):
        without_noise(lambda: SimpleITK.WriteImage(image, str(beside), True), path, OSError)
        _check_written(beside, path, array.nbytes)


def _check_written(beside: Path, path: Path, size: int) -> None:
    """Read the file again: ITK's writers say nothing where a disk fills up."""
    try:
        read((beside,))
    except UnreadableFileError as error:
        check_free_space(path.parent, size)
        raise OSError("what was read back was not whole") from error


def _reader_with_header(path: Path) -> SimpleITK.ImageFileReader:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("MetaImageIO" if path.name.lower().endswith(META_SUFFIXES) else "NrrdImageIO")
    try:
        path.open("rb").close()
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror})") from error
    without_noise(reader.ReadImageInformation, path)
    return reader


def _header_of(reader: SimpleITK.ImageFileReader, path: Path, spatial_units: SpatialUnits) -> VolumeHeader:
    import SimpleITK

    axes, size = reader.GetDimension(), reader.GetSize()
    components = reader.GetNumberOfComponents()
    if axes not in (2, 3, 4) or (axes == 4 and components > 1):
        raise InvalidVolumeError(
            f"{path}: expected 3 axes, or 4 with channels; received {axes} axes of {components} components;"
            " split it into volumes"
        )
    spaces = min(axes, 3)
    affine = np.eye(4)
    direction = np.array(reader.GetDirection()).reshape(axes, axes)[:spaces, :spaces]
    affine[:spaces, :spaces] = direction * reader.GetSpacing()[:spaces]
    affine[:spaces, 3] = reader.GetOrigin()[:spaces]
    name = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    i, j, k = (*size, 1)[:3] if axes == 2 else size[:3]
    channels = size[3] if axes == 4 else components
    unit = _unit(reader, path)
    facts = {"format": "MetaImage" if path.name.lower().endswith(META_SUFFIXES) else "NRRD"}
    facts |= {} if unit is MILLIMETRES else {"units": unit.name}
    affine = in_mm(LPS_TO_RAS @ affine, (i, j, k), unit, spatial_units, path)
    return VolumeHeader((i, j, k), channels, _dtype_named(name, path), affine, facts, spaces)


def _unit(reader: SimpleITK.ImageFileReader, path: Path) -> Unit:
    """The unit of length that a header states, millimetres where it states none; ITK leaves NRRD's aside."""
    field, names = "DistanceUnits", []
    if reader.HasMetaDataKey(META_UNITS):
        names = [reader.GetMetaData(META_UNITS)]
    elif not path.name.lower().endswith(META_SUFFIXES):
        with path.open("rb") as stream:
            stated = NRRD_UNITS.search(END_OF_HEADER.split(stream.read(MOST_HEADER))[0])
        if stated:
            field, names = stated[1].decode(), QUOTED.findall(stated[2].decode("utf-8", "replace"))
    units = {unit for name in names if (unit := unit_of_name(name, field)) is not None}
    if len(units) > 1:
        raise InvalidVolumeError(f"{path}: its axes are in several units ({', '.join(names)}); write it in one of them")
    return next(iter(units), MILLIMETRES)


def _dtype_named(name: str, path: Path) -> np.dtype:
    """Number type from SimpleITK's name of a pixel type, such as "vector of 16-bit signed integer"."""
    found = re.fullmatch(r"(?:vector of )?(\d+)-bit (float|signed integer|unsigned integer)", name)
    if found is None:
        raise InvalidVolumeError(f"{path}: voxels must be real numbers; received {name}")
    letter = {"float": "f", "signed integer": "i", "unsigned integer": "u"}[found[2]]
    return np.dtype(f"{letter}{int(found[1]) // 8}")


def _channels_last(array: np.ndarray, axes: int, header: VolumeHeader) -> np.ndarray:
    """SimpleITK's (j, i[, c]), (k, j, i[, c]) or (c, k, j, i) of an image of 2, 3 or 4 axes as (i, j, k[, c])."""
    if axes == 4:
        array = np.moveaxis(array, 0, -1)
    if axes == 2:
        array = array[np.newaxis]
    array = np.moveaxis(array, (0, 1, 2), (2, 1, 0))
    return array[..., 0] if array.ndim == 4 and header.channels == 1 else array


def _check_sum(array: np.ndarray, path: Path) -> None:
    """Compare voxels with the checksum at the end of their compressed file, which ITK reads past.

    Not for bytes in the other order than this machine's, nor for NRRD channels, which ITK may have moved.
    """
    with path.open("rb") as stream:
        head = stream.read(MOST_HEADER)
    if not COMPRESSED.search(head) or BIG_ENDIAN.search(head) or (array.ndim > 3 and b"NRRD" in head[:4]):
        return
    named = DATA_FILE.search(head)
    is_apart = named is not None and named[1] != b"LOCAL"
    data = path.parent / os.fsdecode(named[1]) if named and is_apart else path
    if not data.is_file():
        return  # spread over several files
    with data.open("rb") as stream:
        stream.seek(-8, os.SEEK_END)
        end = stream.read()
    voxels = np.ascontiguousarray(array).data.cast("B")
    if zlib.adler32(voxels).to_bytes(4, "big") != end[4:] and zlib.crc32(voxels).to_bytes(4, "little") != end[:4]:
        raise damaged(path, "its checksum does not agree with its voxels")


def without_noise(action: Callable[[], T], path: Path, failure: type[OSError] = UnreadableFileError) -> T:
    """Run a step of SimpleITK; what its C++ parts print is taken as the reason where it fails.

    MetaIO only prints that a compressed file is damaged and goes on with what it has, so the text also decides.
    """
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    said: list[str] = []
    try:
        with _captured_stderr(said):
            result = action()
    except RuntimeError as error:
        if failure is not UnreadableFileError:
            raise failure(_last_line(error)) from error
        if _is_unknown(error):
            raise UnreadableFileError(
                f"{path}: not a file of the format that its name says; was it renamed, or its copying interrupted?"
            ) from error
        raise damaged(path, "; ".join(said) or _last_line(error)) from error
    if any(failed in line for line in said for failed in READ_FAILURES):
        raise damaged(path, "; ".join(said))
    return result


def _is_unknown(error: RuntimeError) -> bool:
    return "Unable to determine ImageIO" in str(error) or "could not be read" in str(error)


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].rpartition("_read: ")[2]


@contextmanager
def _captured_stderr(lines: list[str]) -> Iterator[None]:
    """Collect what is written to the process's standard error, C++ included, as lines without blanks."""
    with _lock, os.fdopen(os.memfd_create("stderr"), "w+b") as caught:
        kept = os.dup(STDERR)
        try:
            os.dup2(caught.fileno(), STDERR)
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            caught.seek(0)
            text = caught.read().decode(errors="replace")
            lines += [line.strip() for line in text.splitlines() if line.strip()]
