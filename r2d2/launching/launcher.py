"""One interface to all that starts the workers of a job: here, on other hosts, through a batch system."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from r2d2.launching.worker_end import WorkerEnd

__all__ = ["KILL_AFTER_SECONDS", "SHIELDED", "Launcher", "Worker", "end_workers", "last_line"]

KILL_AFTER_SECONDS = 10.0
"""What a worker has after a SIGTERM that ends the job, as against a stop, which takes the time that it needs."""

LAST_BYTES = 10_000

# A batch system may signal every process of a job. Where these two are ignored (an ignored signal stays so through
# exec), the process that started the workers alone stops the run, in the time that it needs.
SHIELDED = ("sh", "-c", "trap '' HUP USR1; exec \"$@\"", "sh")


@dataclass(frozen=True)
class Worker:
    """A worker as its launcher knows it.

    Attributes:
        rank: its number in the job.
        host: where it runs.
        pid: its process there; None where the launcher does not know it.
        last_words: the last line that it wrote to stdout, stderr or its log; empty where it wrote none.
        end: how it ended; None where it has not, or where the launcher does not know.
    """

    rank: int
    host: str
    pid: int | None
    last_words: str
    end: WorkerEnd | None


class Launcher(Protocol):
    """Starts the workers of one job, once, and stays in charge of them.

    Every worker finds its place in the job in Horovod's environment variables, and gets HUP and USR1 ignored.
    """

    def start(self, command: Sequence[str], workers: int, logs: Path) -> None:
        """Start the workers; where one of them cannot be, none stays.

        Args:
            command: of each worker.
            workers: how many.
            logs: an existing folder for what they write.

        Raises:
            R2D2Error: why they cannot be started.
        """
        ...

    def signal(self, number: int, rank: int | None = None) -> None:
        """Send a signal to one worker, or to all; to no other process. Who has ended gets none.

        Args:
            number: of the signal.
            rank: of the worker; None: all.
        """
        ...

    def wait(self, timeout_s: float | None = None) -> WorkerEnd | None:
        """Wait for the end of the job, and see to it: call it again and again, as it ends what a lost worker leaves.

        A worker that does not end well ends the job: the others get a SIGTERM, and a SIGKILL where that does not help.

        Args:
            timeout_s: how long to wait; None: for ever.

        Returns:
            How the first worker ended that did not end well, or rank 0 where all did; no process of the job is left
            then. None: it goes on.
        """
        ...

    def describe(self) -> tuple[Worker, ...]:
        """Tell of every worker, by rank."""
        ...


def last_line(log: Path, begin: int) -> str:
    """Give the last line that a file has from a byte on; empty where there is none."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - LAST_BYTES))
        lines = (line.strip() for line in reversed(file.read().decode(errors="replace").splitlines()))
        return next(filter(None, lines), "")
    return ""


def end_workers(launcher: Launcher) -> WorkerEnd:
    """Leave no process of a job that was started behind: ask those that are left, then kill them.

    Returns:
        What ``Launcher.wait`` gives at the end.
    """
    end = launcher.wait(0)
    if end is None:
        launcher.signal(signal.SIGTERM)
        end = launcher.wait(KILL_AFTER_SECONDS)
    while end is None:
        launcher.signal(signal.SIGKILL)
        end = launcher.wait(1)
    return end
