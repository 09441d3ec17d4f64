"""The processes of an attempt: found wherever they went, and ended. Linux only, and only those of this user."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = ["MARK", "adopt_orphans", "ask_to_end", "kill", "memory_of_jobs", "processes_of", "reap"]

MARK = "R2D2_ATTEMPT"
"""Environment variable of all processes of an attempt: its folder. Whoever they start has it too."""

_SET_CHILD_SUBREAPER = 36  # prctl(2)


def adopt_orphans() -> None:
    """Have processes below this one that lose their parent become children of this one, not of the system."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> dict[int, int]:
    """Take leave of children that have ended; gives the exit code of each, negative: the signal that ended it."""
    ended: dict[int, int] = {}
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


def processes_of(attempt: Path, *, below: int | None = None) -> list[psutil.Process]:
    """Find the processes of an attempt that live, but for this one.

    Args:
        attempt: its folder, the mark in their environment.
        below: a process whose descendants belong to it too, also where they have cleaned their environment.
    """
    found = {process.pid: process for process in _marked(lambda mark: mark == str(attempt))}
    if below is not None:
        with suppress(psutil.NoSuchProcess):
            found |= {process.pid: process for process in psutil.Process(below).children(recursive=True)}
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _lives(process)]


def memory_of_jobs(work_root: Path) -> int:
    """Add up the memory, in bytes, of all processes of jobs; what several share is counted once."""
    jobs, total = f"{work_root / 'jobs'}{os.sep}", 0
    for process in _marked(lambda mark: mark.startswith(jobs)):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def _marked(is_wanted: Callable[[str], bool]) -> Iterable[psutil.Process]:
    prefix = f"{MARK}=".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:  # of another user, or gone
            continue
        marks = [os.fsdecode(one[len(prefix) :]) for one in environment.split(b"\0") if one.startswith(prefix)]
        if any(map(is_wanted, marks)):
            with suppress(psutil.NoSuchProcess):
                yield psutil.Process(int(folder.name))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ask_to_end(processes: Iterable[psutil.Process]) -> None:
    """Send SIGTERM."""
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.terminate()


def kill(processes: Iterable[psutil.Process], patience_s: float = 5.0) -> None:
    """Send SIGKILL, and wait until they are gone."""
    killed = list(processes)
    for process in killed:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()
    end = time.monotonic() + patience_s
    while time.monotonic() < end and any(_lives(process) for process in killed):
        time.sleep(0.02)
