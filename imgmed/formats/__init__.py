"""Volume formats, found by the suffix of a file's name.

A format is a module with `SUFFIXES`, `read(path) -> Volume` and `write(path, volume, like)`; to add one,
write the module and name it in `FORMATS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from imgmed.errors import SourceNotFoundError, UnsupportedFormatError
from imgmed.formats import nifti
from imgmed.volume import Volume

__all__ = ["case_stem", "has_known_suffix", "known_suffixes", "read_volume", "write_volume"]


class VolumeFormat(Protocol):
    """What a format module offers."""

    SUFFIXES: tuple[str, ...]

    def read(self, path: Path) -> Volume:
        """Return the volume stored at `path`."""

    def write(self, path: Path, volume: Volume, like: Path | None) -> None:
        """Store `volume` at `path`, with the header of `like` where there is one."""


FORMATS: tuple[VolumeFormat, ...] = (nifti,)


def known_suffixes() -> tuple[str, ...]:
    """Return the suffixes of all files that can be read, longest first.

    >>> known_suffixes()
    ('.nii.gz', '.nii')
    """
    suffixes = {suffix for form in FORMATS for suffix in form.SUFFIXES}
    return tuple(sorted(suffixes, key=lambda suffix: (-len(suffix), suffix)))


def has_known_suffix(path: Path) -> bool:
    """Tell whether the name of `path` ends like a volume and is not hidden.

    >>> [has_known_suffix(Path(name)) for name in ("scan.NII.gz", "._scan.nii", "a.txt")]
    [True, False, False]
    """
    name = Path(path).name
    return not name.startswith(".") and name.lower().endswith(known_suffixes())


def case_stem(path: Path) -> str:
    """Return a file's name without folder and volume suffix.

    >>> case_stem(Path("imagesTr/hippocampus_001.nii.gz"))
    'hippocampus_001'
    """
    name = Path(path).name
    for suffix in known_suffixes():
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def read_volume(path: Path | str) -> Volume:
    """Read a volume of any known format.

    Args:
        path: a file ending in .nii or .nii.gz.

    Returns:
        The volume in the file's own voxel order and number type, (i, j, k) or (i, j, k, channels).

    Raises:
        SourceNotFoundError: there is no such file.
        UnsupportedFormatError: no format has this suffix.
        UnreadableFileError: the file is truncated, damaged or of another format.
        InvalidVolumeError: its shape, number type or affine cannot be used.
    """
    path = Path(path)
    form = _format_of(path)
    if not path.exists():
        raise SourceNotFoundError(f"no such file: {path}")
    return form.read(path)


def write_volume(path: Path | str, volume: Volume, like: Path | str | None = None) -> None:
    """Write a volume atomically; the format follows from the suffix.

    Args:
        path: target ending in .nii or .nii.gz; its folder must exist.
        volume: whole numbers without negatives are stored in the smallest unsigned type that holds them (a
            label map: uint8), other whole numbers as they are, real numbers as float32.
        like: a file of the same format whose header (units, codes, qform and sform) is taken over.

    Raises:
        UnsupportedFormatError: no format has this suffix.
        NoSpaceError: the disk is full; nothing is left at `path`.
    """
    path = Path(path)
    _format_of(path).write(path, volume, None if like is None else Path(like))


def _format_of(path: Path) -> VolumeFormat:
    for form in FORMATS:
        if path.name.lower().endswith(form.SUFFIXES):
            return form
    raise UnsupportedFormatError(f"{path}: not a volume format known here; use {' or '.join(known_suffixes())}")
