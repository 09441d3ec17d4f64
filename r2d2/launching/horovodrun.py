"""Workers on hosts that are named, started by ``horovodrun``, which reaches them by ssh."""

from __future__ import annotations

import platform
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from dist_training.ranks.communicator import has_horovod
from r2d2.errors import LaunchError
from r2d2.launching.hosts import parse_hosts
from r2d2.launching.launcher import KILL_AFTER_SECONDS, SHIELDED, Worker, last_line
from r2d2.launching.worker_end import WorkerEnd
from r2d2_base.files import writing

__all__ = ["HOROVODRUN", "HorovodrunLauncher", "ends_in"]

HOROVODRUN = (sys.executable, "-P", "-m", "r2d2.launching.gloo")
_EXIT = re.compile(r"^Process (\d+) exit with status code (\d+)\.", re.MULTILINE)


def ends_in(said: str) -> list[WorkerEnd]:
    """Read from what horovodrun says how those ended that did not end well, in that order."""
    return [WorkerEnd.of_shell(int(rank), int(status)) for rank, status in _EXIT.findall(said)]


class HorovodrunLauncher:
    """See ``Launcher``. It reaches processes of this host alone; ``horovodrun`` ends those of the others.

    That kills its workers five seconds after a SIGTERM, and says of those that did not end well how they ended.

    Args:
        hosts: see ``parse_hosts``; they take as many workers as are started.
    """

    def __init__(self, hosts: str) -> None:
        self._hosts = hosts
        self._places = [host.name for host in parse_hosts(hosts) for _ in range(host.workers)]
        self._process: subprocess.Popen[bytes] | None = None
        self._here: list[psutil.Process] = []

    def start(self, command: Sequence[str], workers: int, logs: Path) -> None:
        """See ``Launcher``; all that the workers write goes to launcher.log.

        Raises:
            LaunchError: Horovod is not installed.
            NoSpaceError: no room for the log.
        """
        if not has_horovod():
            raise LaunchError("Horovod is not installed; run 'make install', or train with --workers 1")
        self._log = logs / "launcher.log"
        self._begin = self._log.stat().st_size if self._log.exists() else 0
        with writing(self._log):
            output = self._log.open("ab")
        with output:
            self._process = subprocess.Popen(
                [*SHIELDED, *HOROVODRUN, "-np", str(workers), "-H", self._hosts, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def signal(self, number: int, rank: int | None = None) -> None:
        """See ``Launcher``; SIGTERM and SIGKILL of all go to horovodrun too, and so to the hosts beyond."""
        ours = self._ranks_here()
        reached = [process for of, process in ours.items() if rank in (None, of)]
        if rank is None and number in (signal.SIGTERM, signal.SIGKILL):
            reached = [*self._here, *reached]
        for process in dict.fromkeys(reached):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def wait(self, timeout_s: float | None = None) -> WorkerEnd | None:
        """See ``Launcher``."""
        process = self._process
        if process is None:
            return WorkerEnd(None, 0)
        self._look(process.pid)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._clear()
        ends = self._ends()
        return ends[0] if ends else WorkerEnd.of_shell(None if process.returncode else 0, process.returncode)

    def describe(self) -> tuple[Worker, ...]:
        """See ``Launcher``; ends are known of those that did not end well, or of all; last words are the job's."""
        ours, ends = self._ranks_here(), {end.rank: end for end in self._ends()}
        is_over = self._process is not None and self._process.poll() == 0
        said = last_line(self._log, self._begin)
        return tuple(
            Worker(
                rank,
                platform.node() if rank in ours else host,
                ours[rank].pid if rank in ours else None,
                said,
                ends.get(rank, WorkerEnd(rank, 0) if is_over else None),
            )
            for rank, host in enumerate(self._places)
        )

    def _look(self, pid: int) -> None:
        """Take note of who belongs to the job, also of those whose parent ends before them."""
        with suppress(psutil.NoSuchProcess):
            ours = psutil.Process(pid)
            now = [ours, *ours.children(recursive=True)]
            self._here = [*now, *(one for one in self._here if one not in now and one.is_running())]

    def _ranks_here(self) -> dict[int, psutil.Process]:
        """The workers of this host: the first process, from horovodrun on, whose environment names a rank."""
        if self._process is None or self._process.poll() is not None:
            return {}
        found: dict[int, psutil.Process] = {}
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    rank = process.environ().get("HOROVOD_RANK", "")
                    if rank.isdecimal():
                        found.setdefault(int(rank), process)
        return found

    def _ends(self) -> list[WorkerEnd]:
        return ends_in(self._log.read_bytes()[self._begin :].decode(errors="replace"))

    def _clear(self) -> None:
        """Leave no process of this host behind."""
        alive = [process for process in self._here if process.is_running()]
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(alive, timeout=KILL_AFTER_SECONDS)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
