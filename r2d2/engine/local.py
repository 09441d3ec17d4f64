"""Jobs on this host: supervisors detached from the engine, known again by their process and its start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dist_training.own_code import CODE_ROOTS
from r2d2.engine.executor import StartFault
from r2d2.engine.folder import AttemptFolder
from r2d2.engine.processes import MARK, ask_to_end, kill, processes_of
from r2d2_base.errors import R2D2Error
from r2d2_base.files import check_writable, writing
from r2d2_base.process_identity import ProcessIdentity

__all__ = ["LocalExecutor"]

ENDS_ITSELF_S = 20.0  # a task whose supervisor is gone notices, and leaves a checkpoint
KILLS = 5  # one may have started another while they were looked for
SIGTERM_S = 5.0
_HOME = Path(__file__).resolve().parents[2]
SILENT_S = 60.0  # of a supervisor on another host only the heartbeat is known


class LocalExecutor:
    """Starts supervisors on this host.

    Args:
        work_root: the folder in which they, and the tasks, work.
        code_roots: the only folders whose code tasks may run, besides what is installed.
    """

    def __init__(self, work_root: Path, code_roots: Sequence[Path] = ()) -> None:
        self._work_root = work_root
        self._code_roots = tuple(code_roots)
        self._started: dict[Path, int] = {}
        self._exit_codes: dict[Path, int] = {}
        self._beats: dict[Path, tuple[int, float]] = {}

    def start(self, attempt: AttemptFolder) -> None:
        """Start a supervisor in a session of its own, with a log and without a terminal."""
        command = [sys.executable, "-P", "-m", "r2d2.engine.supervisor", str(attempt.path)]
        environment = _environment(os.environ, self._code_roots)
        with writing(attempt.supervisor_log), attempt.supervisor_log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._work_root,
                env=environment,
                start_new_session=True,
            )
        self._started[attempt.path] = process.pid
        process.returncode = 0  # it outlives this object, which is to know nothing of its end: `tidy` does

    def fault(self, attempt: AttemptFolder) -> StartFault | None:
        """Look at the supervisor that was started here: has it ended, and nobody has the attempt?"""
        self.tidy()
        code = self._exit_codes.get(attempt.path)
        if code is None or attempt.supervisor.exists():
            return None
        try:
            check_writable(attempt.path)
        except R2D2Error as error:
            return StartFault(str(error))
        return StartFault(_last_line(attempt.supervisor_log) or f"its supervisor ended with exit code {code}")

    def is_alive(self, attempt: AttemptFolder) -> bool | None:
        """Ask the system; of a process of another host the heartbeat is watched, by a clock that does not jump."""
        holder = attempt.holder()
        if holder is None:
            return None
        is_alive = holder.is_alive()
        return self._beats_on(attempt) if is_alive is None else is_alive

    def is_of_this_start(self, attempt: AttemptFolder) -> bool:
        """Compare with the identity of this process."""
        holder, own = attempt.holder(), ProcessIdentity.of_this_process()
        return holder is not None and (holder.host, holder.boot_id) == (own.host, own.boot_id)

    def end(self, attempt: AttemptFolder, seconds: float) -> bool:
        """Wait for the task to end by itself, then ask, then kill."""
        left = processes_of(attempt.path)
        if left and seconds >= ENDS_ITSELF_S + SIGTERM_S:
            for _ in range(KILLS):
                killed = left
                kill(killed)
                left = processes_of(attempt.path)
                if set(left) <= set(killed):  # none, or what cannot be killed now
                    break
        elif left and seconds >= ENDS_ITSELF_S:
            ask_to_end(left)
        return not left

    def tidy(self) -> None:
        """Reap supervisors that have ended."""
        for path, pid in list(self._started.items()):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # of an engine in another process
                ended, status = pid, 0
            if ended:
                del self._started[path]
                self._exit_codes[path] = os.waitstatus_to_exitcode(status)
        for path in [path for path in self._exit_codes if (path / "supervisor.json").exists()]:
            del self._exit_codes[path]
            self._beats.pop(path, None)

    def _beats_on(self, attempt: AttemptFolder) -> bool:
        try:
            beat = attempt.heartbeat.stat().st_mtime_ns
        except OSError:
            beat = 0
        known, now = self._beats.get(attempt.path), time.monotonic()
        if known is None or known[0] != beat:
            self._beats[attempt.path] = (beat, now)
            return True
        return now - known[1] < SILENT_S


def _environment(own: Mapping[str, str], code_roots: Sequence[Path]) -> dict[str, str]:
    """Give the environment of a job: R2D2 is found where this one is, and no code of whoever started the engine."""
    given = {name: value for name, value in own.items() if name not in (MARK, "PYTHONSTARTUP", "PYTHONHOME")}
    given.pop("PYTHONPATH", None)
    if _HOME.name not in ("site-packages", "dist-packages"):  # a checkout
        given["PYTHONPATH"] = str(_HOME)
    given[CODE_ROOTS] = os.pathsep.join(map(str, code_roots))
    return given


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip().removeprefix("r2d2: ") for line in reversed(lines) if line.strip()), "")
