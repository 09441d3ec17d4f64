"""What there is to convert: files, and the files of a DICOM series together."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imgmed.conversion.pictures import PictureConversion
from imgmed.conversion.volumes import SliceConversion
from imgmed.errors import SourceNotFoundError, UnreadableFileError
from imgmed.formats.dicom import find_series
from imgmed.recipes.tree import is_dicom
from imgmed.study import VolumeSource
from r2d2_base.files import sha256_of

__all__ = ["Conversion", "Source", "find_sources"]

Conversion = SliceConversion | PictureConversion


@dataclass(frozen=True)
class Source:
    """One volume or picture.

    Args:
        name: path within the folder of the sources, of which the names of the pictures are made: the file's; of a
            series of several files that of their folder, with a number where it holds several series.
        files: one file, or all of a DICOM series.
    """

    name: PurePosixPath
    files: tuple[Path, ...]

    @property
    def origin(self) -> Path:
        """What messages name: the file, or the folder of a series."""
        return self.files[0] if len(self.files) == 1 else self.files[0].parent

    @property
    def volume(self) -> Path | VolumeSource:
        """What a conversion reads."""
        return self.files[0] if len(self.files) == 1 else VolumeSource(self.files)

    @property
    def size(self) -> int:
        """Bytes of all files; raises OSError where one cannot be looked at."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file; of several that of their digests, one after the other."""
        digests = [sha256_of(path) for path in self.files]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def find_sources(conversion: Conversion, source: Path, root: Path) -> list[Source]:
    """Find what a conversion takes: a file, or all in a folder and its sub-folders, by name.

    The slices of a DICOM series are one volume. Links are followed, hidden files and folders are left out.

    Args:
        conversion: which files are taken.
        source: a file or a folder.
        root: the folder, or that of the file.

    Raises:
        SourceNotFoundError: there is nothing to convert.
    """
    if source.is_file():
        sources = [Source(PurePosixPath(source.name), (source,))] if _takes(conversion, source) else []
    else:
        paths = [path for path in _walk(root) if _takes(conversion, path)]
        slices = [path for path in paths if is_dicom(path)]
        apart = set(slices)
        sources = [Source(_relative(path, root), (path,)) for path in paths if path not in apart]
        sources += _series(slices, root)
    if not sources:
        raise SourceNotFoundError(f"{source}: no {conversion.takes} here")
    return sorted(sources, key=lambda one: one.name)


def _takes(conversion: Conversion, path: Path) -> bool:
    """Whether a file is taken; DICOM is often named by a number, without a suffix."""
    return conversion.accepts(path) or (isinstance(conversion, SliceConversion) and is_dicom(path))


def _series(slices: Sequence[Path], root: Path) -> Iterator[Source]:
    """The image series among DICOM files; broken files alone, so that each is told with the other faults."""
    try:
        found, broken = find_series(slices), []
    except UnreadableFileError:
        broken = [path for path in slices if not _is_readable(path)]
        found = find_series([path for path in slices if path not in broken])
    yield from (Source(_relative(path, root), (path,)) for path in broken)
    images = [series.files for series in found if series.kind == "image"]
    yield from (Source(_relative(files[0], root), files) for files in images if len(files) == 1)
    several = sorted(files for files in images if len(files) > 1)
    counts = Counter(files[0].parent for files in several)
    numbers: Counter[Path] = Counter()
    for files in several:
        folder = files[0].parent
        numbers[folder] += 1
        name = PurePosixPath(root.resolve().name) if folder == root else _relative(folder, root)
        yield Source(name if counts[folder] == 1 else name.with_name(f"{name.name}_{numbers[folder]}"), files)


def _is_readable(path: Path) -> bool:
    try:
        find_series((path,))
    except UnreadableFileError:
        return False
    return True


def _relative(path: Path, root: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(root))


def _walk(root: Path) -> Iterator[Path]:
    """Every file below `root`, links followed, no folder twice, nothing hidden."""
    seen = set()

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(root, onerror=fail, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in names if not name.startswith("."))
