"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from r2d2_base.errors import (
    BusyFolderError,
    CancelledError,
    NoSpaceError,
    NotWritableError,
    OutputExistsError,
    R2D2Error,
)

__all__ = [
    "NO_LOCKS",
    "NO_SPACE",
    "check_absent",
    "check_free_space",
    "locked_folder",
    "read_json",
    "remove_unfinished",
    "resumable_folder",
    "sha256_of",
    "staged_folder",
    "write_all",
    "write_bytes",
    "write_json",
    "write_whole",
    "writing",
]

LONGEST_KEPT = 40  # letters of a name that the name of its unfinished file begins with: that may be no longer either
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)  # on the way, where a folder is due
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENAMETOOLONG, errno.EIO, *NO_FOLDER)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename it into place; no half-written file is ever seen under `path`.

    Raises:
        NoSpaceError: the disk filled up; what stood at `path` before is still there.
        NotWritableError: a read-only file system, no permission, a name that does not do.
    """
    write_whole(Path(path), lambda stream: write_all(stream, data))


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically; NaN and infinity are refused with ValueError."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, in UTF-8 or UTF-16 and with or without a byte order mark (Windows writes one).

    Raises OSError or ValueError as Python does.
    """
    return json.loads(Path(path).read_bytes())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_absent(folder: Path) -> None:
    """Raise OutputExistsError if `folder` is a file or a folder that is not empty."""
    folder = Path(folder)
    if folder.is_dir():
        if any(folder.iterdir()):
            raise OutputExistsError(
                f"{folder} exists and is not empty; choose another folder, or remove it if it is no longer needed"
            )
    elif folder.exists() or folder.is_symlink():
        raise OutputExistsError(f"{folder} exists and is no folder; choose another name")


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
def staged_folder(out: Path) -> Iterator[Path]:
    """Give a temporary sibling of `out` to fill; at the end it becomes `out`.

    On any error or interruption the sibling, and the parents that were made for it, are removed again and
    `out` stays as it was (absent or empty).

    Raises:
        OutputExistsError: `out` is not free.
        NoSpaceError: the disk filled up meanwhile.
        NotWritableError: nothing can be written there.
    """
    out = Path(out).absolute()
    check_absent(out)
    staging = out.parent / f".{out.name}.{uuid4().hex[:8]}.partial"
    with writing(out, staging), _parents_made(staging), _removed_after_errors(staging):
        staging.mkdir()
        yield staging
        _move_into_place(staging, out)


@contextmanager
def resumable_folder(out: Path, is_of_use: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Give an unfinished sibling of `out` to fill, as an interrupted run left it; at the end it becomes `out`.

    After an error the sibling is removed again; after an interruption (Ctrl-C, a kill, a request to stop) it stays
    for the next run, without half-written files. A folder that stands at `out` is there until the new one
    takes its place in one step. The sibling is locked against a second process.

    Args:
        out: the folder.
        is_of_use: tells of the sibling, after an error or an interruption alike, whether it stays for the next run;
            None: after an interruption.

    Raises:
        BusyFolderError: another process is filling the same sibling.
        NoSpaceError: the disk filled up meanwhile.
        NotWritableError: nothing can be written there.
    """
    out = Path(out).absolute()
    staging = _unfinished(out)

    def is_kept(error: BaseException) -> bool:
        return _is_interruption(error) if is_of_use is None else is_of_use(staging)

    with writing(out, staging), _parents_made(staging):
        staging.mkdir(exist_ok=True)
        with locked_folder(staging, out), _removed_after_errors(staging, is_kept):
            _remove_half_written(staging)
            yield staging
            _take_the_place(staging, out)


def remove_unfinished(out: Path) -> None:
    """Remove what an interrupted run left beside the finished folder `out`, unless another process fills it."""
    staging = _unfinished(Path(out).absolute())
    if staging.is_dir():
        with suppress(BusyFolderError), locked_folder(staging, out):
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def locked_folder(folder: Path, name: Path, patience_s: float = 0.0) -> Iterator[int]:
    """Lock an existing folder against other processes; give the descriptor that holds the lock.

    The lock ends with the block, or with the process and every worker that inherited the descriptor. On a file
    system that knows no locks there is none.

    Args:
        folder: what is locked.
        name: what the message calls it.
        patience_s: for how long another process may still hold it.

    Raises:
        BusyFolderError: another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + patience_s
        while not _has_locked(descriptor):
            if time.monotonic() >= end:
                raise BusyFolderError(
                    f"{name} is being written by another process; wait for it, or choose another folder"
                )
            time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)


def _has_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


@contextmanager
def _parents_made(path: Path) -> Iterator[None]:
    """Make the parents of `path`; after an error those that were missing are removed again, where they are empty."""
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        raise


@contextmanager
def _removed_after_errors(
    folder: Path, is_kept: Callable[[BaseException], bool] = lambda error: False
) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not is_kept(error):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _is_interruption(error: BaseException) -> bool:
    """Tell work that was ended from outside, and can go on, from work that failed."""
    return isinstance(error, CancelledError) or not isinstance(error, Exception)


def _remove_half_written(folder: Path) -> None:
    for left in list(folder.rglob(".*.partial")):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def _unfinished(out: Path) -> Path:
    return out.parent / f".{out.name}.unfinished"


def _take_the_place(staging: Path, out: Path) -> None:
    """Make `staging` the folder `out` in one step; what stood there is removed afterwards."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        staging.replace(out)
        return
    if not _exchanged(staging, out):
        # A file system without the exchange: for a moment `out` is missing, both folders stay complete.
        aside = out.parent / f".{out.name}.{uuid4().hex[:8]}.previous"
        out.replace(aside)
        staging.replace(out)
        aside.replace(staging)
    shutil.rmtree(staging, ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two folders in one step (Linux, renameat2); False where that cannot be done."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0


def _move_into_place(staging: Path, out: Path) -> None:
    try:
        staging.replace(out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise OutputExistsError(f"{out} was filled by someone else meanwhile; choose another folder") from error
        raise


@contextmanager
def writing(path: Path, beside: Path | None = None) -> Iterator[None]:
    """Say in one line, naming `path`, that the system does not let it be written; other errors pass.

    Args:
        path: the file or folder.
        beside: under which name it is written first.

    Raises:
        NoSpaceError: the disk is full.
        NotWritableError: a read-only file system, no permission, a name that does not do.
    """
    try:
        yield
    except R2D2Error:
        raise
    except OSError as error:
        if error.errno in NO_SPACE:
            raise NoSpaceError(
                f"no room left on the disk while writing {path}; what was written is removed again;"
                " make room or choose a folder on another disk"
            ) from error
        if error.errno in NOT_WRITABLE and _is_about(error, (path, *(() if beside is None else (beside,)))):
            reason = (error.strerror or type(error).__name__).lower()
            reason = f"{error.filename} is no folder" if error.errno in NO_FOLDER and error.filename else reason
            raise NotWritableError(f"{path} cannot be written ({reason}); choose another place") from error
        raise


def _is_about(error: OSError, paths: tuple[Path, ...]) -> bool:
    """Whether an error names no file, or one on the way to, or within, one of `paths`."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return True
    named = Path(os.fsdecode(error.filename)).absolute()
    return any(path.absolute().is_relative_to(named) or named.is_relative_to(path.absolute()) for path in paths)


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Have a stream written beside `path` and renamed into place.

    Args:
        path: the file.
        write: called with the stream, which it fills.

    Raises:
        NoSpaceError: the disk filled up; what stood at `path` before is still there.
        NotWritableError: a read-only file system, no permission, a name that does not do.
    """
    beside = path.with_name(f".{path.name[:LONGEST_KEPT]}.{uuid4().hex[:8]}.partial")
    try:
        with writing(path, beside):
            with beside.open("xb") as stream:
                write(stream)
            beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write `data` to a stream; a full disk shows here, with the system's error number."""
    stream.write(data)
    stream.flush()


def _readable(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
