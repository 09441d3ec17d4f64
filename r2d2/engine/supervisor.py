"""The process that has one attempt at a job, from its claim to its end; it loads little and outlives the engine.

It starts the task in a process of its own, keeps its heartbeat, ends it where that is wished (a request first, then
SIGTERM, then SIGKILL), leaves no process behind, and writes ``exit.json`` last.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from r2d2.engine.folder import AttemptFolder
from r2d2.engine.processes import MARK, adopt_orphans, ask_to_end, kill, processes_of, reap
from r2d2_base.errors import R2D2Error

__all__ = ["CANNOT_WRITE", "main"]

CANNOT_WRITE = 74
"""What it exits with where its folder cannot be written into (EX_IOERR of sysexits.h); it has no attempt then."""

POLL_S = 0.1
HEARTBEAT_S = 2.0
LEFT_BEHIND_S = 5.0  # what a task leaves running may end by itself, once asked
WRITING_AGAIN_S = 600.0  # for so long a full disk is waited out, to say how the attempt ended
_QUIET = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
_FAULTS = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP")


def main(folder: Path) -> int:
    """Have an attempt, unless another has it; gives the exit code."""
    attempt = AttemptFolder(folder)
    try:
        if not attempt.claim():
            return 0
    except R2D2Error as error:
        with suppress(OSError):  # of a full disk there is no log
            print(f"r2d2: {error}", file=sys.stderr)  # noqa: T201 (its log)
        return CANNOT_WRITE
    _Supervisor(attempt).run()
    return 0


class _Supervisor:
    def __init__(self, attempt: AttemptFolder) -> None:
        self._attempt = attempt
        self._signal: int | None = None
        self._wish: Mapping[str, Any] | None = None
        self._wish_at = 0.0
        self._asked_at: float | None = None

    def run(self) -> None:
        adopt_orphans()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)
        begin = time.monotonic()
        try:
            code = self._follow(self._start())
        except OSError as error:
            self._end({"state": "failed", "reason": f"the job could not be started: {error}"}, begin)
            return
        self._leave_none()
        outcome = self._attempt.read(self._attempt.outcome)
        self._end(end_of(outcome, code, self._wish), begin, exit_code=code)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "r2d2.engine.work", str(self._attempt.path)]
        environment = {**os.environ, MARK: str(self._attempt.path)}
        environment = {**_QUIET, **environment}
        with self._attempt.log.open("ab") as log:
            # It holds the other end of the pipe: a supervisor that is gone shows as its end.
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, env=environment
            )

    def _follow(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end of the task's process, and serve wishes; gives its exit code."""
        beaten = -HEARTBEAT_S
        passed_on = False
        while True:
            ended = reap()
            if process.pid in ended:
                process.returncode = ended[process.pid]
                return process.returncode
            if time.monotonic() - beaten >= HEARTBEAT_S:
                beaten = time.monotonic()
                self._beat()
            if self._signal is not None and not passed_on:
                passed_on = True
                os.kill(process.pid, signal.SIGTERM)  # it is there, or not reaped yet; Popen would reap it
            self._serve(process)
            time.sleep(POLL_S)

    def _beat(self) -> None:
        try:
            self._attempt.heartbeat.touch()
        except OSError:  # a full disk is no reason to die
            return

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        """Escalate a cancellation; the request itself is read by the task's process."""
        if self._attempt.control.exists():
            wish = self._attempt.read(self._attempt.control)
            if wish is not None and (self._wish is None or wish.get("request") != self._wish.get("request")):
                self._wish_at, self._asked_at = time.monotonic(), None
            self._wish = wish or self._wish  # asked again, it may be more urgent
        if self._wish is None or self._wish.get("request") != "cancel":
            return
        waited = time.monotonic() - self._wish_at
        if self._asked_at is None and waited >= float(self._wish.get("grace_s", 0)):
            self._asked_at = time.monotonic()
            ask_to_end(processes_of(self._attempt.path, below=os.getpid()))
        if self._asked_at is not None and time.monotonic() - self._asked_at >= float(self._wish.get("kill_after_s", 0)):
            kill(processes_of(self._attempt.path, below=os.getpid()))

    def _leave_none(self) -> None:
        """End what the task's process has left behind."""
        left = processes_of(self._attempt.path, below=os.getpid())
        ask_to_end(left)
        end = time.monotonic() + LEFT_BEHIND_S
        while left and time.monotonic() < end:
            time.sleep(POLL_S / 2)
            reap()
            left = processes_of(self._attempt.path, below=os.getpid())
        while left:
            kill(left)
            reap()
            left = processes_of(self._attempt.path, below=os.getpid())
        reap()

    def _end(self, end: Mapping[str, Any], begin: float, **more: Any) -> None:
        """Write exit.json; where the disk is full, wait for room."""
        give_up = time.monotonic() + WRITING_AGAIN_S
        while True:
            try:
                self._attempt.end(end["state"], end.get("reason"), **{**more, **_rest(end)}, seconds=_since(begin))
                return
            except R2D2Error:
                if time.monotonic() > give_up:
                    raise
                self._beat()
                time.sleep(1.0)


def _rest(end: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in end.items() if key not in ("state", "reason")}


def _since(begin: float) -> float:
    return round(time.monotonic() - begin, 3)


def end_of(outcome: Mapping[str, Any] | None, code: int, wish: Mapping[str, Any] | None) -> dict[str, Any]:
    """Tell how an attempt ended.

    Args:
        outcome: what the task's process said at its end; None: nothing.
        code: its exit code, negative: the signal that ended it.
        wish: what was asked for while it was at work.

    Returns:
        State and reason; and ``is_retryable`` of one that was lost.

    >>> end_of({"state": "completed"}, 0, {"request": "cancel"})["state"]  # it was faster
    'completed'
    >>> end_of(None, -9, {"request": "cancel", "reason": "too long"})
    {'state': 'cancelled', 'reason': 'too long'}
    >>> end_of(None, -9, None)["state"]
    'lost'
    """
    said = None if outcome is None else outcome.get("state")
    reason = None if outcome is None else outcome.get("reason")
    if said == "completed":
        return {"state": said, "reason": reason}
    if wish is not None and wish.get("request") == "cancel":
        return {"state": "cancelled", "reason": wish.get("reason")}
    if said == "interrupted":
        return {"state": "cancelled", "reason": reason}
    if said is not None:
        return {"state": said, "reason": reason}
    if code >= 0:
        return {"state": "failed", "reason": f"the job's process ended with exit code {code} and no word; see its log"}
    name = signal.Signals(-code).name
    if name in _FAULTS:
        return {"state": "failed", "reason": f"the job's process was ended by {name}, a fault of its code; see its log"}
    cause = ": by someone, or by the system for lack of memory (see dmesg)" if name == "SIGKILL" else ""
    return {"state": "lost", "reason": f"the job's process was ended by {name}{cause}", "is_retryable": wish is None}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
