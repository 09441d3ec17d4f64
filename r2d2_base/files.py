"""Files that appear whole or not at all; and what the system says where they cannot be written, in one line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from r2d2_base.errors import NoSpaceError, NotWritableError, OutputExistsError, R2D2Error

__all__ = [
    "NO_SPACE",
    "check_free_space",
    "check_writable",
    "disk_faults_named",
    "is_leftover",
    "make_folder",
    "name_beside",
    "read_json",
    "remove",
    "remove_leftovers",
    "remove_leftovers_of",
    "sha256_of",
    "sync",
    "write_all",
    "write_bytes",
    "write_json",
    "write_whole",
    "writing",
    "written_beside",
]

LONGEST_KEPT = 40  # letters of a name that the name of its unfinished file begins with: that may be no longer either
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)

_LONGEST_SUFFIX = 16
_LEFTOVER = re.compile(
    r"\.[0-9a-f]{8}-[0-9a-f]{8}\.partial(\.[^.]+)?"  # as `written_beside` and `staged_folder` name them
    r"|\.(.+\.)?[0-9a-f]{8}\.partial(\.(mha|nrrd))?"  # as version 0.1.0 did
)


@contextmanager
def written_beside(*paths: Path, is_durable: bool = False, may_replace: bool = True) -> Iterator[tuple[Path, ...]]:
    """Give a name beside each of `paths`; what is written there in the block takes its place when the block ends.

    Nobody ever sees a half-written file under `paths`. After an error or an interruption nothing is left of what was
    written, and what stood at `paths` before is still there. The names keep the suffix, which some writers go by.

    Args:
        paths: the files, each in a folder that exists; they take their places one after the other, in this order.
        is_durable: bring each to the disk before any takes its place, and the names at the end, so that they outlive a
            loss of power too.
        may_replace: whether a file that stands there gives way.

    Raises:
        NoSpaceError: the disk filled up.
        NotWritableError: the system refuses for another reason.
        OutputExistsError: there is a file that may not be replaced.

    Example:
        >>> with written_beside(Path("nowhere", "scores.csv")) as (beside,):
        ...     beside.write_text("case,dice")
        Traceback (most recent call last):
            ...
        r2d2_base.errors.NotWritableError: nowhere/scores.csv cannot be written (no such file or directory); choose \
another place
    """
    names = tuple(name_beside(path) for path in paths)
    try:
        with writing(paths[0]):
            yield names
            for name in names if is_durable else ():
                sync(name)
            for name, path in zip(names, paths, strict=True):
                _put_in_place(name, path, may_replace)
            for folder in {path.parent: None for path in paths} if is_durable else ():
                sync(folder)
    finally:
        for name in names:
            with suppress(OSError):
                name.unlink(missing_ok=True)


def _put_in_place(name: Path, path: Path, may_replace: bool) -> None:
    if may_replace:
        name.replace(path)
        return
    try:
        path.hardlink_to(name)  # a rename would replace what is there
    except FileExistsError as error:
        raise OutputExistsError(f"{path} exists already") from error


def name_beside(path: Path) -> Path:
    """A name that is told to be a leftover, and of which file, should this process be killed; short for any name."""
    suffix = path.suffix.lower() if len(path.suffix) <= _LONGEST_SUFFIX else ""
    return path.with_name(f".{_digest(path)}-{uuid4().hex[:8]}.partial{suffix}")


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]


def sync(path: Path) -> None:
    """Bring a file to the disk, or the names in a folder; for these some file systems know no such thing."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def is_leftover(name: str) -> bool:
    """Tell whether a name in a folder is of something half-written, which a process that was killed left behind.

    >>> [is_leftover(name) for name in (".0a1b2c3d-01234567.partial.mha", ".a.png.01234567.partial", ".a.png", "a.png")]
    [True, True, False, False]
    """
    return _LEFTOVER.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove everything half-written in a folder and those below, for the one process that writes there."""
    for parent, folders, names in os.walk(folder):
        for left in filter(is_leftover, (*folders, *names)):
            remove(Path(parent, left))
        folders[:] = [name for name in folders if not is_leftover(name)]


def remove_leftovers_of(path: Path) -> None:
    """Remove what a killed process left of one file, for the one process that writes it."""
    earlier = re.escape(path.name)  # version 0.1.0 named it after the file
    names = re.compile(rf"\.{_digest(path)}-[0-9a-f]{{8}}\.partial(\.[^.]+)?|\.{earlier}\.partial|\.partial\.{earlier}")
    for left in list(path.parent.iterdir()) if path.parent.is_dir() else ():
        if names.fullmatch(left.name):
            remove(left)


def remove(left: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; it may be gone already."""
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, *, is_durable: bool = False) -> None:
    """Write `data` as a file that appears whole; see `written_beside`."""
    write_whole(Path(path), lambda stream: write_all(stream, data), is_durable=is_durable)


def write_json(path: Path, content: Any, *, is_durable: bool = False) -> None:
    """Write `content` as indented JSON; NaN and infinity are refused with ValueError; see `written_beside`."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode(), is_durable=is_durable)


def write_whole(path: Path, write: Callable[[BinaryIO], None], *, is_durable: bool = False) -> None:
    """Have a stream written that becomes a file when it is whole.

    Args:
        path: the file.
        write: called with the stream, which it fills.
        is_durable: see `written_beside`.

    Raises:
        NoSpaceError: the disk filled up; what stood at `path` before is still there.
        NotWritableError: the system refuses for another reason.
    """
    with written_beside(path, is_durable=is_durable) as (beside,), beside.open("xb") as stream:
        write(stream)


def write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write `data` to a stream; a full disk shows here, with the system's error number."""
    stream.write(data)
    stream.flush()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, in UTF-8 or UTF-16 and with or without a byte order mark (Windows writes one).

    Raises OSError or ValueError as Python does.
    """
    return json.loads(Path(path).read_bytes())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_folder(path: Path) -> Path:
    """Make a folder and those above it, where they are missing.

    Raises:
        NoSpaceError: the disk is full.
        NotWritableError: a file is in the way, or the system refuses for another reason.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def check_writable(folder: Path) -> None:
    """Refuse, before work of minutes, a folder that nothing can be written into: something is, and removed again.

    What the permissions say is not asked: it is another thing for root, on a full disk and on a read-only one.

    Args:
        folder: folder to be; it, and those above it, need not be there.

    Raises:
        NoSpaceError: the disk is full.
        NotWritableError: it cannot be made or written into.
    """
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    name = name_beside(folder / "file")
    try:
        make_folder(folder)
        with writing(folder):
            name.write_bytes(b"\n")
    finally:
        with suppress(OSError):
            name.unlink(missing_ok=True)
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()


def check_free_space(folder: Path, needed: int) -> None:
    """Raise NoSpaceError if the disk of `folder` (or its nearest existing parent) has under `needed` bytes.

    >>> check_free_space(Path("."), 0)
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise NoSpaceError(
            f"{folder} needs {_readable(needed)}, {_readable(free)} free in {place};"
            " make room or choose a folder on another disk"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of every system error in the block, which only writes, that `path` could not be written, and why.

    Raises:
        NoSpaceError: the disk is full.
        NotWritableError: the system refuses for another reason.
    """
    try:
        yield
    except R2D2Error:
        raise
    except OSError as error:
        raise _write_fault(path, error) from error


@contextmanager
def disk_faults_named(path: Path) -> Iterator[None]:
    """Do so in a block that also reads, where the error can only be of writing: a disk that is full, or read-only."""
    try:
        yield
    except R2D2Error:
        raise
    except OSError as error:
        if error.errno not in (*NO_SPACE, errno.EROFS):
            raise
        raise _write_fault(path, error) from error


def _write_fault(path: Path, error: OSError) -> R2D2Error:
    if error.errno in NO_SPACE:
        return NoSpaceError(
            f"no room left on the disk while writing {path}; what was written is removed again;"
            " make room or choose a folder on another disk"
        )
    reason = error.strerror.lower() if error.strerror else str(error)
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        above = next((place for place in (path, *path.parents) if place.exists() or place.is_symlink()), path)
        reason = reason if above.is_dir() else f"{above} is no folder"
    return NotWritableError(f"{path} cannot be written ({reason}); choose another place", number=error.errno)


def _readable(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
