"""Folders that appear whole, that an interrupted run goes on with, or that one process alone may write."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from r2d2_base.errors import BusyFolderError, CancelledError, OutputExistsError, ProcessLostError
from r2d2_base.files import disk_faults_named, name_beside, remove_leftovers, writing

__all__ = [
    "NO_LOCKS",
    "check_absent",
    "locked_folder",
    "remove_unfinished",
    "resumable_folder",
    "staged_folder",
]

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


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


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """Give a temporary sibling of `out` to fill; at the end it becomes `out`.

    On any error or interruption the sibling, and the parents that were made for it, are removed again and
    `out` stays as it was (absent or empty).

    Raises:
        OutputExistsError: `out` is not free.
        NoSpaceError: the disk filled up meanwhile.
        NotWritableError: the system refuses for another reason.
    """
    out = Path(out).absolute()
    check_absent(out)
    staging = name_beside(out)
    with _parents_made(staging, out), disk_faults_named(out), _removed_after_errors(staging):
        with writing(out):
            staging.mkdir()
        yield staging
        with writing(out):
            _move_into_place(staging, out)


@contextmanager
def resumable_folder(out: Path, is_of_use: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Give an unfinished sibling of `out` to fill, as an interrupted run left it; at the end it becomes `out`.

    After an error the sibling is removed again; after an interruption (Ctrl-C, a kill, a request to stop, a process
    lost for want of memory) it stays for the next run, without half-written files. A folder that stands at `out` is
    there until the new one takes its place in one step. The sibling is locked against a second process.

    Args:
        out: the folder.
        is_of_use: tells of the sibling, after an error or an interruption alike, whether it stays for the next run;
            None: after an interruption.

    Raises:
        BusyFolderError: another process is filling the same sibling.
        NoSpaceError: the disk filled up meanwhile.
        NotWritableError: the system refuses for another reason.
    """
    out = Path(out).absolute()
    staging = _unfinished(out)

    def is_kept(error: BaseException) -> bool:
        return _is_interruption(error) if is_of_use is None else is_of_use(staging)

    with _parents_made(staging, out), disk_faults_named(out):
        with writing(out):
            staging.mkdir(exist_ok=True)
        with locked_folder(staging, out), _removed_after_errors(staging, is_kept):
            remove_leftovers(staging)
            yield staging
            with writing(out):
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
def _parents_made(path: Path, name: Path) -> Iterator[None]:
    """Make the parents of `path`, which is called `name`; after an error those that were missing are removed again."""
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        with writing(name):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for parent in missing:
            with suppress(OSError):  # where anything stays in it
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
    return isinstance(error, CancelledError | ProcessLostError) or not isinstance(error, Exception)


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
