"""NRRD and MetaImage files through SimpleITK."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from segeval.errors import UnreadableLabelMapError

__all__ = ["SUFFIXES", "read"]

_META = (".mha", ".mhd")
SUFFIXES = (".nrrd", ".nhdr", *_META)

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_CHUNK = 2**16
_HEADER_LINES = 1000
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS


def read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Read the voxels in index order (i, j, k) and the affine to RAS mm, as nibabel gives them for NIfTI.

    ITK has the first index last in its arrays and its world in LPS; both are turned here.

    Raises:
        UnreadableLabelMapError: damaged, cut short, several numbers per voxel, or not what its name says.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("MetaImageIO" if path.name.lower().endswith(_META) else "NrrdImageIO")
    try:
        reader.ReadImageInformation()
        _check_compressed(path)
        if reader.GetNumberOfComponents() != 1:
            raise UnreadableLabelMapError(
                f"{path}: a label map has one integer per voxel; received {reader.GetNumberOfComponents()}"
                " (colours, or overlapping segments?)"
            )
        image = reader.Execute()
    except (RuntimeError, MemoryError, OSError, zlib.error) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[-1].rpartition("sitk::ERROR: ")[2].strip()
        raise UnreadableLabelMapError(f"{path}: unreadable or truncated ({reason}); write it again") from error
    axes = image.GetDimension()
    spaces = min(axes, 3)
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(axes, axes)[:spaces, :spaces]
    affine[:spaces, :spaces] = directions * image.GetSpacing()[:spaces]
    affine[:spaces, 3] = image.GetOrigin()[:spaces]
    return SimpleITK.GetArrayFromImage(image).transpose(), _LPS_TO_RAS @ affine


def _check_compressed(path: Path) -> None:
    """Compare compressed voxels with their checksum, which ITK does not look at."""
    with path.open("rb") as stream:
        fields = _header_fields(stream)
        if fields.get("compresseddata") != "true" and fields.get("encoding") not in ("gzip", "gz"):
            return
        named = fields.get("elementdatafile") or fields.get("data file") or fields.get("datafile") or "local"
        if named.lower() == "local":
            _check_stream(stream)
        elif (path.parent / named).is_file():  # else spread over several files
            with (path.parent / named).open("rb") as apart:
                _check_stream(apart)


def _header_fields(stream: BinaryIO) -> dict[str, str]:
    """Read the header and leave the stream at the first byte after it."""
    fields: dict[str, str] = {}
    for _ in range(_HEADER_LINES):
        line = stream.readline(_CHUNK).decode("utf-8", "replace").strip()
        if not line:
            break  # the end of an NRRD header, or of the file
        name, separator, value = line.partition("=" if "=" in line.split(":")[0] else ":")
        key = name.strip().lower()
        if separator and not line.startswith("#"):
            fields[key] = value.strip() if "file" in key else value.strip().lower()
        if key == "elementdatafile":
            break  # the end of a MetaImage header
    return fields


def _check_stream(stream: BinaryIO) -> None:
    decompressor = zlib.decompressobj(_ZLIB_OR_GZIP)
    while not decompressor.eof and (chunk := stream.read(_CHUNK)):
        decompressor.decompress(chunk)
    if not decompressor.eof:
        raise zlib.error("its compressed voxels end too early")
