"""Workers on this host, started without any other program: who ended how is known, and nobody stays behind."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dist_training.ranks.communicator import has_horovod
from dist_training.ranks.launched import check_own_name
from r2d2.errors import LaunchError
from r2d2.launching.launcher import KILL_AFTER_SECONDS, SHIELDED, Worker, last_line
from r2d2.launching.launcher_watch import launcher_in_environment
from r2d2.launching.worker_end import WORKER_LOST, WorkerEnd
from r2d2_base.files import writing

__all__ = ["LocalLauncher"]

LOOK_SECONDS = 0.05
SETTLE_SECONDS = 5.0
"""For workers that are connected to notice by themselves that one is lost, and to record it."""
_PLACE = ("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_HOSTNAME", "HOROVOD_LOCAL_", "HOROVOD_CROSS_", "HOROVOD_GLOO_REND")


@dataclass
class _Started:
    """A worker that was started."""

    process: subprocess.Popen[bytes]
    log: Path
    log_begin: int
    end: WorkerEnd | None = None


class LocalLauncher:
    """See ``Launcher``. Each worker is the first of a session of its own: no Ctrl-C of a terminal reaches it.

    Workers that watch it (``watch_launcher``) end within five seconds of its own end.
    """

    def __init__(self) -> None:
        self._workers: list[_Started] = []
        self._first: WorkerEnd | None = None
        self._failed_at: float | None = None  # by the monotonic clock
        self._asked_at: float | None = None  # seconds after that
        self._closing = ExitStack()

    def start(self, command: Sequence[str], workers: int, logs: Path) -> None:
        """See ``Launcher``; several workers find each other by a rendezvous of ours.

        Raises:
            LaunchError: Horovod is not installed.
            ConfigurationError: this host's own name does not resolve.
            NoSpaceError: no room for their logs.
        """
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else the system forgets how children ended
        rendezvous = None
        if workers > 1:
            if not has_horovod():
                raise LaunchError("Horovod is not installed; run 'make install', or train with --workers 1")
            check_own_name()
            from r2d2.launching.rendezvous import Rendezvous

            rendezvous = Rendezvous(workers)
            self._closing.callback(rendezvous.close)
        self._rendezvous, self._log = rendezvous, logs / "launcher.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_PLACE)}
        inherited |= {"PYTHONUNBUFFERED": "1", **launcher_in_environment()}
        try:
            for rank in range(workers):
                place = {} if rendezvous is None else rendezvous.place_of(rank)
                self._start_one(rank, command, logs / f"rank-{rank}.log", {**inherited, **place})
        except BaseException:
            self.signal(signal.SIGKILL)
            self.wait()
            raise

    def _start_one(self, rank: int, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        with writing(log):
            output = log.open("ab")
        with output:
            begin = output.tell()
            process = subprocess.Popen(
                [*SHIELDED, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        self._workers.append(_Started(process, log, begin))
        self._record(f"rank {rank} is process {process.pid}")

    def signal(self, number: int, rank: int | None = None) -> None:
        """See ``Launcher``."""
        self._look()
        for worker in self._workers if rank is None else [self._workers[rank]]:
            if worker.end is None:  # so it is not reaped: no other process can have its number
                os.kill(worker.process.pid, number)

    def wait(self, timeout_s: float | None = None) -> WorkerEnd | None:
        """See ``Launcher``."""
        give_up = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._look()
            ends = [worker.end for worker in self._workers if worker.end is not None]
            if len(ends) == len(self._workers):
                self._closing.close()
                return self._first or (ends[0] if ends else WorkerEnd(None, 0))
            if self._failed_at is not None:
                self._end_the_others(time.monotonic() - self._failed_at)
            rest = LOOK_SECONDS if give_up is None else min(LOOK_SECONDS, give_up - time.monotonic())
            if rest <= 0:
                return None
            time.sleep(rest)

    def describe(self) -> tuple[Worker, ...]:
        """See ``Launcher``."""
        self._look()
        return tuple(
            Worker(rank, platform.node(), worker.process.pid, last_line(worker.log, worker.log_begin), worker.end)
            for rank, worker in enumerate(self._workers)
        )

    def _look(self) -> None:
        """Take note of workers that have ended, and end what they leave behind."""
        ended = []
        for rank, worker in enumerate(self._workers):
            if worker.end is not None or not _has_ended(worker.process.pid):
                continue
            with suppress(ProcessLookupError):  # its session: nobody gets this number before it is reaped
                os.killpg(worker.process.pid, signal.SIGKILL)
            worker.end = WorkerEnd.of_process(rank, worker.process.wait())
            self._record(worker.end.description)
            ended += [] if worker.end.is_good else [worker.end]
        if ended and self._failed_at is None:
            self._failed_at = time.monotonic()
        if (
            ended and self._asked_at is None
        ):  # of two that ended at about the same time, who lost the other was not first
            self._first = min([*([] if self._first is None else [self._first]), *ended], key=_lateness)

    def _end_the_others(self, seconds: float) -> None:
        """Those that are connected with a lost worker end by themselves; others would wait for it."""
        have_met = self._rendezvous is not None and self._rendezvous.is_over
        if self._asked_at is None and (not have_met or seconds > SETTLE_SECONDS):
            self._asked_at = seconds
            self._record("the others are ended")
            self.signal(signal.SIGTERM)
        elif self._asked_at is not None and seconds - self._asked_at > KILL_AFTER_SECONDS:
            self.signal(signal.SIGKILL)

    def _record(self, text: str) -> None:
        with suppress(OSError), self._log.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now().isoformat(sep=' ', timespec='milliseconds')} {text}\n")


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; it is not reaped, so that its number stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _lateness(end: WorkerEnd) -> int:
    return 0 if end.signal is not None else 2 if end.exit_code == WORKER_LOST else 1
