"""Archives of scans, unpacked so that nothing is written outside the folder and no disk is filled."""

from __future__ import annotations

import errno
import lzma
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from imgmed.errors import SourceNotFoundError, UnreadableFileError, UnsafeArchiveError, UnsupportedFormatError
from r2d2_base.errors import NotWritableError
from r2d2_base.files import check_free_space
from r2d2_base.folders import staged_folder
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["DAMAGED", "SUFFIXES", "Unpacked", "is_archive", "opened_source", "unpack"]

ZIP = ".zip"
TARS = (".tar", ".tar.gz", ".tgz")
SUFFIXES: tuple[str, ...] = (ZIP, *TARS)
MARGIN = 1_000_000_000  # bytes that stay free
PER_MEMBER = 4096  # bytes that a file takes on the disk besides its content
CHUNK = 1 << 20
MOST_LINKS = 40  # followed from one member, as many as Linux follows
BLOCK = 512  # of a tar file; two empty ones mark its end
DRIVE = re.compile("[A-Za-z]:/")
ENCRYPTED = 0x1
DAMAGED: tuple[type[Exception], ...] = (  # OSError: a place before the file's beginning, or a disk that fails
    EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile,
    struct.error, UnicodeDecodeError, OverflowError, IndexError,
)  # fmt: skip
Kind = Literal["file", "folder", "link", "other"]


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive.

    Args:
        folder: where it lies.
        files: number of files written.
        skipped: members that were left out: devices, pipes, links to folders or to nothing.
        nested: archives among the files; they are not unpacked.
    """

    folder: Path
    files: int
    skipped: tuple[str, ...]
    nested: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    """One entry; `target` is what a link points at, as a path within the archive."""

    name: str
    size: int
    kind: Kind
    target: str
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Tell whether a name ends like an archive that `unpack` reads.

    >>> is_archive(Path("Task04.TAR")), is_archive(Path("scan.nii.gz"))
    (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def unpack(
    archive: Path | str,
    folder: Path | str,
    *,
    free_bytes_margin: int = MARGIN,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Unpacked:
    """Unpack a .zip, .tar, .tar.gz or .tgz into a new folder, which appears when it is complete.

    Links become copies of the member that they point at. Owners, permissions and times are not taken over.
    Archives within the archive stay as they are.

    Args:
        archive: the file.
        folder: to be made; it must not exist, or be empty.
        free_bytes_margin: bytes that must stay free on the disk.
        progress: called with ("unpacking", done, total), in bytes.
        stop: ends the work where it is made; nothing of the folder is left.

    Raises:
        SourceNotFoundError: no such file.
        UnsupportedFormatError: no such archive, encrypted, or compressed by another method.
        UnsafeArchiveError: a member that leaves the folder, or holds more than it declares.
        UnreadableFileError: truncated or damaged.
        NoSpaceError: the members need more than is free; nothing was written.
        OutputExistsError: `folder` holds something.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise SourceNotFoundError(f"no such archive: {archive}")
    with _members_of(archive) as members:
        files, skipped = _resolved(members)
        total = sum(member.size for member in files.values())
        check_free_space(folder, total + PER_MEMBER * len(members) + free_bytes_margin)
        with staged_folder(folder) as staging, _long_names_named(archive):
            _write(files, staging, archive, total, Watcher(progress, stop))
            for member in members:
                if member.kind == "folder":
                    _make_folder(staging / member.name, archive)
    nested = tuple(name for name in files if is_archive(Path(name)))
    return Unpacked(folder, len(files), skipped, nested)


@contextmanager
def opened_source(
    source: Path | str, progress: Progress | None = None, stop: StopRequest | None = None
) -> Iterator[tuple[Path, Unpacked | None]]:
    """Give the folder of a source: itself, or for an archive a temporary one that is removed at the end.

    The temporary folder lies where the system keeps such (TMPDIR).
    """
    source = Path(source)
    if not (is_archive(source) and source.is_file()):
        yield source, None
        return
    stem = next(source.name[: -len(end)] for end in sorted(SUFFIXES, key=len, reverse=True) if _ends(source, end))
    with _temporary_folder(source) as place:
        unpacked = unpack(source, Path(place) / (stem or "archive"), progress=progress, stop=stop)
        yield unpacked.folder, unpacked


def _temporary_folder(archive: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="r2d2-")
    except OSError as error:
        raise NotWritableError(
            f"{archive} cannot be unpacked for a look: no folder for temporary files can be written"
            f" ({(error.strerror or str(error)).lower()}); set TMPDIR"
        ) from error


def _ends(path: Path, suffix: str) -> bool:
    return path.name.lower().endswith(suffix)


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn whatever reading an archive ends in into errors that name it; any of its bytes may be wrong."""
    try:
        yield
    except (SourceNotFoundError, UnreadableFileError, UnsafeArchiveError, UnsupportedFormatError):
        raise
    except NotImplementedError as error:
        raise UnsupportedFormatError(f"{archive}: {error}; pack it again with deflate") from error
    except (PermissionError, IsADirectoryError) as error:
        raise UnreadableFileError(f"{archive}: cannot be read ({error.strerror})") from error
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableFileError(
            f"{archive}: truncated or damaged ({reason}); copy or download it again from its source"
        ) from error


@contextmanager
def _long_names_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UnsupportedFormatError(f"{archive}: holds a name that is too long for this disk") from error


@contextmanager
def _members_of(archive: Path) -> Iterator[list[_Member]]:
    if not is_archive(archive):
        raise UnsupportedFormatError(f"{archive}: no archive known here; use {' or '.join(SUFFIXES)}")
    with ExitStack() as stack:
        with _reading(archive):
            if _ends(archive, ZIP):
                packed = stack.enter_context(zipfile.ZipFile(archive))
                members = [_zip_member(packed, info, archive) for info in packed.infolist()]
            else:
                tape = stack.enter_context(tarfile.open(archive, "r:*"))
                infos = tape.getmembers()
                _check_end(tape)
                members = [_tar_member(tape, info, archive) for info in infos]
        yield members


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> _Member:
    if info.flag_bits & ENCRYPTED:
        raise UnsupportedFormatError(
            f"{archive}: member {info.filename!r} is encrypted; unpack it with its password and name the folder"
        )
    name = _safe_name(info.filename.replace("\\", "/"), archive)
    mode = info.external_attr >> 16
    kind: Kind = "folder" if info.is_dir() else "file"
    target = ""
    if stat.S_ISLNK(mode):
        kind = "link"
        text = opened.read(info).decode(errors="surrogateescape") if info.file_size < BLOCK * 8 else ""
        target = _target_name(name, text, archive)
    elif kind == "file" and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        kind = "other"
    return _Member(name, info.file_size, kind, target, lambda: opened.open(info))


def _tar_member(opened: tarfile.TarFile, info: tarfile.TarInfo, archive: Path) -> _Member:
    name = _safe_name(info.name, archive)
    kind: Kind = "file" if info.isreg() else "folder" if info.isdir() else "other"
    target = ""
    if info.issym() or info.islnk():
        kind = "link"
        target = _target_name(name, info.linkname, archive) if info.issym() else _safe_name(info.linkname, archive)
    return _Member(name, info.size, kind, target, lambda: opened.extractfile(info))


def _check_end(opened: tarfile.TarFile) -> None:
    """Read to the end of a tar file: its mark must be there, and the checksum of its compression right."""
    stream = opened.fileobj
    if stream is None:
        raise tarfile.ReadError("no data")
    stream.seek(opened.offset)
    if stream.read(BLOCK) != bytes(BLOCK):
        raise tarfile.ReadError("its end is missing")
    while stream.read(CHUNK):
        pass


def _safe_name(name: str, archive: Path) -> str:
    """The name as a path within the folder; refused where it leaves it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or DRIVE.match(name):
        raise UnsafeArchiveError(
            f"{archive}: member {name!r} would be written outside the folder; nothing was unpacked (is this archive"
            " from a source that you trust?)"
        )
    return path.as_posix()


def _target_name(name: str, target: str, archive: Path) -> str:
    """Where a symbolic link points, as a path within the archive; refused where it leaves it."""
    parts: list[str] = []
    for part in (*PurePosixPath(name).parts[:-1], *PurePosixPath(target).parts):
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    if PurePosixPath(target).is_absolute() or ".." in parts:
        raise UnsafeArchiveError(
            f"{archive}: link {name!r} points to {target!r}, outside the archive; nothing was unpacked"
        )
    return "/".join(parts)


def _resolved(members: list[_Member]) -> tuple[dict[str, _Member], tuple[str, ...]]:
    """The files to write by name (a later member replaces an earlier one), and the names of what is left out."""
    by_name = {member.name: member for member in members}
    files: dict[str, _Member] = {}
    skipped = []
    for name, member in by_name.items():
        end = _followed(member, by_name)
        if end is not None and end.kind == "file":
            files[name] = end
        elif member.kind != "folder":
            skipped.append(name)
    return files, tuple(skipped)


def _followed(member: _Member, by_name: Mapping[str, _Member]) -> _Member | None:
    """The member at the end of a chain of links; None for a chain that ends nowhere or runs in a circle."""
    current: _Member | None = member
    for _ in range(MOST_LINKS):
        if current is None or current.kind != "link":
            return current
        current = by_name.get(current.target)
    return None


def _write(files: Mapping[str, _Member], folder: Path, archive: Path, total: int, watcher: Watcher) -> None:
    done = 0
    watcher.report("unpacking", 0, total)
    for name, member in files.items():
        _make_folder((folder / name).parent, archive)
        if (folder / name).is_dir():
            raise _both(name, archive)
        with (folder / name).open("xb") as out:
            for chunk in _content(name, member, archive):
                out.write(chunk)
                done += len(chunk)
                watcher.report("unpacking", done, total)


def _content(name: str, member: _Member, archive: Path) -> Iterator[bytes]:
    """What a member holds, a part at a time; refused where it is not as long as it says."""
    read = 0
    with ExitStack() as stack:
        with _reading(archive):
            opened = member.open()
            if opened is None:
                raise tarfile.ReadError(f"member {name!r} has no content")
            stream = stack.enter_context(opened)
        while True:
            with _reading(archive):
                chunk = stream.read(CHUNK)
                read += len(chunk)
                if read > member.size:
                    raise UnsafeArchiveError(
                        f"{archive}: member {name!r} holds more than the {member.size} bytes it says"
                    )
                if not chunk and read < member.size:
                    raise tarfile.ReadError(f"member {name!r} has {read} of {member.size} bytes")
            if not chunk:
                return
            yield chunk


def _make_folder(folder: Path, archive: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _both(folder.name, archive) from error


def _both(name: str, archive: Path) -> UnreadableFileError:
    return UnreadableFileError(f"{archive}: {name!r} is both a file and a folder; pack it again")
