"""Starting workers and staying in charge: the terminal, the interruptions, the restarts, the clear end."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from dist_training.errors import RunFolderError
from dist_training.record.events import Event, EventLog, follow_events
from dist_training.record.log import last_failure
from dist_training.record.run_folder import RunFolder
from dist_training.stopping.control import request_stop
from r2d2.errors import LaunchError
from r2d2.launching.job_end import WORKER_LOST, JobEnd
from r2d2.tasks.training import RunPlan

__all__ = ["INTERRUPTED", "WORKER_LOST", "launch"]

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
INTERRUPTED = 130
# A batch system may signal every process of a job. horovodrun would die of these two at once, and take the workers
# along within five seconds; where they are ignored, this process alone stops the run, in the time that it needs.
SHIELDED = ("sh", "-c", "trap '' HUP USR1; exec \"$@\"", "sh")
POLL_SECONDS = 0.2
KILL_AFTER_SECONDS = 10.0


def launch(
    plan: RunPlan,
    on_event: Callable[[Event], None] = lambda event: None,
    on_notice: Callable[[str], None] = lambda text: None,
    *,
    max_restarts: int = 0,
) -> dict[str, Any]:
    """Run the plan's workers, several under ``horovodrun``, and follow them to their end.

    The workers are in sessions of their own, so that Ctrl-C reaches only this process, which stops the run from
    inside (control.json): after the step in progress, with a checkpoint. So do SIGTERM, SIGHUP and SIGUSR1. A further
    Ctrl-C ends it at once.

    Args:
        plan: an opened run.
        on_event: called with every event that rank 0 writes.
        on_notice: called with a line for the user.
        max_restarts: how often a job that lost a worker is started again, from its last checkpoint.

    Returns:
        The content of exit.json.

    Raises:
        LaunchError: the job ended without completing or stopping as asked.
    """
    folder = plan.folder
    offset = [folder.events.stat().st_size if folder.events.exists() else 0]
    with _interruptions() as interruptions:
        for restarts in range(max_restarts + 1):
            end = _run_once(plan, offset, interruptions, on_event, on_notice)
            outcome = folder.read_exit()
            is_lost = end.is_worker_lost and (outcome is None or outcome["state"] == "failed")
            if restarts == max_restarts or interruptions or not is_lost:
                break
            on_notice(f"{end.description}; restart {restarts + 1} of {max_restarts} from the last checkpoint")
            _record_restart(folder, number=restarts + 1, of=max_restarts, reason=end.description)
            plan = replace(plan, is_resumed=True)
    for event in follow_events(folder.events, offset):
        on_event(event)
    return _outcome(folder, end, _is_impatient(interruptions))


def _run_once(
    plan: RunPlan,
    offset: list[int],
    interruptions: list[int],
    on_event: Callable[[Event], None],
    on_notice: Callable[[str], None],
) -> JobEnd:
    """Start the workers, follow them to their end, leave none behind."""
    plan.folder.exit.unlink(missing_ok=True)
    log = _launcher_log(plan.folder)
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            _command(plan), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        workers: list[psutil.Process] = []
        try:
            _follow(process, workers, plan.folder, offset, interruptions, on_event, on_notice)
        finally:
            _end(process, workers)
    said = log.read_bytes()[begin:].decode(errors="replace")
    return JobEnd.read(process.returncode, said)


def _launcher_log(folder: RunFolder) -> Path:
    return folder.logs / "launcher.log"


def _record_restart(folder: RunFolder, **figures: Any) -> None:
    """Write the restart into the run's record, once the last worker of another host has let go of it."""
    give_up = time.monotonic() + KILL_AFTER_SECONDS
    while True:
        try:
            log = EventLog(folder.events)
        except RunFolderError:
            if time.monotonic() > give_up:
                raise
            time.sleep(POLL_SECONDS)
            continue
        log.record("restart", **figures)
        log.close()
        return


def _command(plan: RunPlan) -> list[str]:
    worker = [sys.executable, "-P", "-m", "r2d2", "worker", str(plan.folder.path)]
    worker += ["--resume"] if plan.is_resumed else []
    if plan.world_size == 1 and plan.configuration.hosts is None:
        return worker
    beside = Path(sys.executable).with_name("horovodrun")
    horovodrun = str(beside) if beside.exists() else shutil.which("horovodrun")
    if horovodrun is None:
        raise LaunchError("horovodrun is not on the PATH; run 'make install', or train with --workers 1")
    hosts = [] if plan.configuration.hosts is None else ["-H", plan.configuration.hosts]
    return [*SHIELDED, horovodrun, "-np", str(plan.world_size), *hosts, *worker]


@contextlib.contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM, SIGHUP and SIGUSR1 in a list instead of dying of them."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = {
        number: signal.signal(number, note) for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _follow(
    process: subprocess.Popen[bytes],
    workers: list[psutil.Process],
    folder: RunFolder,
    offset: list[int],
    interruptions: list[int],
    on_event: Callable[[Event], None],
    on_notice: Callable[[str], None],
) -> None:
    """Pass events on until the job ends; serve the first interruption softly and the second at once."""
    is_stopping = False
    while process.poll() is None:
        for event in follow_events(folder.events, offset):
            on_event(event)
        with contextlib.suppress(psutil.NoSuchProcess):
            workers[:] = psutil.Process(process.pid).children(recursive=True)
        if interruptions and not is_stopping:
            is_stopping = True
            request_stop(folder.control, f"signal {signal.Signals(interruptions[0]).name}")
            on_notice("stopping after this step, with a checkpoint; Ctrl-C again ends it at once")
        if _is_impatient(interruptions):
            on_notice("ending the workers")
            return
        time.sleep(POLL_SECONDS)


def _end(process: subprocess.Popen[bytes], workers: list[psutil.Process]) -> None:
    """Leave no process behind: ask those that are left, then kill them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        workers = [*workers, psutil.Process(process.pid)] if process.poll() is None else workers
    alive = [worker for worker in workers if worker.is_running()]
    for worker in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.terminate()
    _, alive = psutil.wait_procs(alive, timeout=KILL_AFTER_SECONDS)
    for worker in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    process.wait()


def _is_impatient(interruptions: list[int]) -> bool:
    """Whether Ctrl-C came after another signal; closing terminals and batch systems repeat theirs without a wish."""
    return signal.SIGINT in interruptions[1:]


def _outcome(folder: RunFolder, end: JobEnd, is_impatient: bool) -> dict[str, Any]:
    outcome = folder.read_exit()
    if outcome is not None and outcome["state"] in ("completed", "stopped_early"):
        return outcome
    again = f"go on from the last checkpoint with: r2d2 train --run-dir {folder.path} --resume"
    if is_impatient:
        reason = "ended at once, as asked by a second Ctrl-C"
        folder.write_exit("cancelled", reason=reason, time=time.time())
        raise LaunchError(f"{reason}; {again}", INTERRUPTED)
    own_words = None if end.rank is None else last_failure(folder.logs / f"rank-{end.rank}.log")
    if outcome is not None and (end.rank in (None, 0) or own_words == outcome.get("reason")):  # rank 0 has said why
        raise LaunchError(outcome.get("reason") or f"the run failed; logs: {folder.logs}", outcome.get("exit_code", 1))
    cause = end.description if own_words is None or end.is_worker_lost else f"{end.description}: {own_words}"
    if outcome is not None:
        reason = f"{cause}; {outcome['reason']}"
        folder.write_exit("failed", **{**_details(outcome), "reason": reason})
        raise LaunchError(reason, outcome.get("exit_code", 1))
    reason = f"the workers ended without a result: {cause}"
    folder.write_exit("failed", reason=reason, time=time.time())
    raise LaunchError(f"{reason}; last words: {_last_line(_launcher_log(folder))}; logs: {folder.logs}; {again}")


def _details(outcome: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outcome.items() if name not in ("schema_version", "state")}


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "none")
