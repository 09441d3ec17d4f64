"""Volume formats, found by the suffix of a file's name.

A format is a module with `SUFFIXES`, `read(files, max_values, spatial_units) -> Volume` and
`read_header(files, spatial_units) -> VolumeHeader`, and with `write(path, volume, like)` where it can be written;
to add one, write the module and name it in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from imgmed.errors import SourceNotFoundError, UnsupportedFormatError
from imgmed.formats import archive, dicom, folders, itk, nifti, pictures
from imgmed.formats.dicom_file import is_dicom
from imgmed.formats.header import VolumeHeader
from imgmed.formats.units import SpatialUnits
from imgmed.volume import MAX_VALUES, Volume, check_affine

if TYPE_CHECKING:
    from imgmed.study import VolumeSource

__all__ = [
    "SpatialUnits",
    "VolumeHeader",
    "case_stem",
    "files_of",
    "has_known_suffix",
    "is_picture",
    "known_suffixes",
    "read_header",
    "read_volume",
    "write_volume",
]


class VolumeFormat(Protocol):
    """What a format module offers."""

    SUFFIXES: tuple[str, ...]

    def read(self, files: tuple[Path, ...], max_values: int, spatial_units: SpatialUnits) -> Volume:
        """Return the volume that `files` make."""

    def read_header(self, files: tuple[Path, ...], spatial_units: SpatialUnits) -> VolumeHeader:
        """Return what is known of it without reading voxels."""


FORMATS: tuple[VolumeFormat, ...] = (nifti, itk, dicom, pictures)
WRITTEN = {nifti: nifti.SUFFIXES, itk: itk.SUFFIXES, pictures: pictures.WRITTEN_SUFFIXES}


def known_suffixes() -> tuple[str, ...]:
    """Return the suffixes of all files that can be read, longest first.

    >>> known_suffixes()
    ('.nii.gz', '.jpeg', '.nhdr', '.nrrd', '.tiff', '.dcm', '.jpg', '.mha', '.mhd', '.nii', '.png', '.tif')
    """
    return _by_length(_readable())


def has_known_suffix(path: Path) -> bool:
    """Tell whether the name of `path` ends like a volume and is not hidden.

    >>> [has_known_suffix(Path(name)) for name in ("scan.NII.gz", "._scan.nii", "a.txt")]
    [True, False, False]
    """
    name = Path(path).name
    return not name.startswith(".") and name.lower().endswith(known_suffixes())


def is_picture(path: Path | str) -> bool:
    """Tell whether a file holds pictures, which have no size in millimetres and no place in a patient, by its name.

    >>> is_picture("photos/a.JPG"), is_picture("set.npz"), is_picture("scan.nii.gz")
    (True, True, False)
    """
    return str(path).lower().endswith((*pictures.SUFFIXES, ".npz"))


def case_stem(path: Path) -> str:
    """Return a file's name without folder and volume suffix.

    >>> case_stem(Path("imagesTr/hippocampus_001.nii.gz")), case_stem(Path("liver.seg.nrrd"))
    ('hippocampus_001', 'liver.seg')
    """
    name = Path(path).name
    for suffix in known_suffixes():
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def read_volume(
    source: Path | str | VolumeSource, max_values: int = MAX_VALUES, spatial_units: SpatialUnits = "header"
) -> Volume:
    """Read a volume of any known format.

    Args:
        source: a file; a folder that holds exactly one DICOM series or one stack of equally sized pictures
            (in the natural order of their names); or the files of one volume.
        max_values: most voxels times channels that are read; a header that asks for more is refused before
            memory is taken, as is one that asks for more than its file can hold.
        spatial_units: what the sizes in NIfTI, NRRD and MetaImage headers count in: "header" as each says, by its
            unit code or field, and millimetres where it says nothing; "mm", "um" or "m" whatever it says.

    Returns:
        The volume in the file's own voxel order and number type, (i, j, k) or (i, j, k, channels), placed in
        millimetres. Pictures
        are (rows, columns, pages) with 1 mm between pixels, by convention: they have no place in a patient.

    Raises:
        SourceNotFoundError: there is no such file.
        SourceLayoutError: a folder that holds no volume, or several.
        UnsupportedFormatError: no format has this suffix, or the file holds what cannot be read.
        UnreadableFileError: the file is truncated, damaged or of another format.
        InvalidVolumeError: its shape, number type or affine cannot be used; or slices are missing, tilted ...; or its
            unit makes voxels above 50 mm or below 1 micrometre.
    """
    files, entry = files_of(source)
    if entry is not None:
        return archive.read(files[0], entry, max_values)
    return _format_of(files[0]).read(files, max_values, spatial_units)


def read_header(source: Path | str | VolumeSource, spatial_units: SpatialUnits = "header") -> VolumeHeader:
    """Read shape, number type, affine and other facts of a volume, without its voxels.

    Args:
        source: as for `read_volume`.
        spatial_units: as for `read_volume`.

    Raises:
        Exceptions of `read_volume` that do not depend on voxels.
    """
    files, entry = files_of(source)
    if entry is not None:
        return archive.read_header(files[0], entry)
    header = _format_of(files[0]).read_header(files, spatial_units)
    check_affine(header.affine, str(files[0]))
    return header


def write_volume(path: Path | str, volume: Volume, like: Path | str | None = None) -> None:
    """Write a volume atomically; the format follows from the suffix.

    Args:
        path: target ending in .nii, .nii.gz, .mha or .nrrd, .png or .tif (whole numbers from 0 to 65535 alone, without
            a place); its folder must exist.
        volume: whole numbers without negatives are stored in the smallest unsigned type that holds them (a
            label map: uint8), other whole numbers as they are, real numbers as float32.
        like: a file of the same format whose header (NIfTI: units, codes, qform and sform) is taken over; numbers
            are then in its unit.

    Raises:
        UnsupportedFormatError: no format that can be written has this suffix.
        NoSpaceError: the disk is full; nothing is left at `path`.
    """
    path = Path(path)
    for form, suffixes in WRITTEN.items():
        if path.name.lower().endswith(suffixes):
            form.write(path, volume, None if like is None else Path(like))
            return
    every = [suffix for suffixes in WRITTEN.values() for suffix in suffixes]
    raise UnsupportedFormatError(f"{path}: not a format that can be written; use {_choice(every)}")


def files_of(source: Path | str | VolumeSource) -> tuple[tuple[Path, ...], str | None]:
    """Return the files of one volume and the entry within them; raises as `read_volume` where there are none."""
    if not isinstance(source, Path | str):
        files, entry = tuple(Path(path) for path in source.files), source.entry
    else:
        path = Path(source)
        files, entry = folders.files_of_one_volume(path) if path.is_dir() else (path,), None
    for path in files:
        if not path.exists():
            _format_of(path)
            raise SourceNotFoundError(f"no such file: {path}")
    return files, entry


def _format_of(path: Path) -> VolumeFormat:
    for form in FORMATS:
        if path.name.lower().endswith(form.SUFFIXES):
            return form
    if path.is_file() and is_dicom(path):  # often named by a number, without suffix
        return dicom
    raise UnsupportedFormatError(f"{path}: not a volume format known here; use {_choice(_readable())}")


def _readable() -> list[str]:
    return [suffix for form in FORMATS for suffix in form.SUFFIXES]


def _by_length(suffixes: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(suffixes), key=lambda suffix: (-len(suffix), suffix)))


def _choice(suffixes: Iterable[str]) -> str:
    return " or ".join(_by_length(suffixes))
