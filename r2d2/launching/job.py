"""Starting workers and staying in charge: the terminal, the interruptions, the restarts, the clear end."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from shlex import quote
from types import FrameType

from dist_training.errors import RunFolderError
from dist_training.record.events import Event, EventLog, EventTail, Restarted
from dist_training.record.log import last_failure
from dist_training.record.run_folder import RunEnd, RunFolder
from dist_training.record.states import Stop
from dist_training.stopping.control import request_stop
from r2d2.errors import LaunchError
from r2d2.launching.horovodrun import HorovodrunLauncher
from r2d2.launching.launcher import Launcher, end_workers
from r2d2.launching.local import LocalLauncher
from r2d2.launching.plan import RunPlan
from r2d2.launching.worker_end import WorkerEnd
from r2d2_base.progress import StopRequest

__all__ = ["INTERRUPTED", "launch"]

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
INTERRUPTED = 130
POLL_SECONDS = 0.2
RELEASE_SECONDS = 10.0
"""For the last worker of another host to let go of the run's record."""


def launch(
    plan: RunPlan,
    on_event: Callable[[Event], None] = lambda event: None,
    on_notice: Callable[[str], None] = lambda text: None,
    *,
    max_restarts: int = 0,
    stop: StopRequest | None = None,
) -> RunEnd:
    """Run the plan's workers, on hosts that it names or on this one, and follow them to their end.

    The workers are in sessions of their own, so that Ctrl-C reaches only this process, which stops the run from
    inside (control.json): after the step in progress, with a checkpoint. So do SIGTERM, SIGHUP and SIGUSR1. A further
    Ctrl-C ends it at once. Off the main thread, where no signal arrives, only ``stop`` does so.

    Args:
        plan: an opened run.
        on_event: called with every event that rank 0 writes.
        on_notice: called with a line for the user.
        max_restarts: how often a job that lost a worker is started again, from its last checkpoint.
        stop: asks for the same as a first Ctrl-C, with a reason of its own.

    Returns:
        How the run ended.

    Raises:
        LaunchError: the job ended without completing or stopping as asked.
    """
    folder = plan.folder
    tail = EventTail(folder.events, from_end=True)
    with _interruptions() as interruptions:
        wishes = _Wishes(interruptions, stop)
        for restarts in range(max_restarts + 1):
            end = _run_once(plan, tail, wishes, on_event, on_notice)
            outcome = folder.read_exit()
            is_lost = end.first.is_worker_lost and (outcome is None or outcome.state == "failed")
            if restarts == max_restarts or wishes.stop is not None or not is_lost:
                break
            on_notice(f"{end.first.description}; restart {restarts + 1} of {max_restarts} from the last checkpoint")
            _record_restart(folder, Restarted(number=restarts + 1, of=max_restarts, reason=end.first.description))
            plan = replace(plan, is_resumed=True)
    for event in tail.new():
        on_event(event)
    return _outcome(folder, end, wishes.is_impatient)


@dataclass(frozen=True)
class _Wishes:
    """What this process was asked for so far.

    Attributes:
        interruptions: numbers of the signals, as they came.
        request: of the caller.
    """

    interruptions: list[int]
    request: StopRequest | None

    @property
    def stop(self) -> Stop | None:
        """Who wants the run to stop, and why; None where nobody does."""
        if self.interruptions:
            return Stop("signal", f"signal {signal.Signals(self.interruptions[0]).name}")
        if self.request is not None and self.request.is_made:
            return Stop("request", self.request.reason or "asked to stop")
        return None

    @property
    def is_impatient(self) -> bool:
        """Whether Ctrl-C came after another signal; terminals and batch systems repeat theirs without a wish."""
        return signal.SIGINT in self.interruptions[1:]


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        first: how the first worker ended that did not end well, or rank 0 where all did.
        last_words: the last line that it wrote; empty where it wrote none.
    """

    first: WorkerEnd
    last_words: str


def _run_once(
    plan: RunPlan,
    tail: EventTail,
    wishes: _Wishes,
    on_event: Callable[[Event], None],
    on_notice: Callable[[str], None],
) -> JobEnd:
    """Start the workers, follow them to their end, leave none behind."""
    folder, hosts = plan.folder, plan.configuration.hosts
    folder.exit.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "r2d2", "worker", str(folder.path)]
    launcher: Launcher = LocalLauncher() if hosts is None else HorovodrunLauncher(hosts)
    launcher.start([*command, *(["--resume"] if plan.is_resumed else [])], plan.world_size, folder.logs)
    try:
        _follow(launcher, folder, tail, wishes, on_event, on_notice)
    finally:
        end = end_workers(launcher)
    words = {worker.rank: worker.last_words for worker in launcher.describe()}
    return JobEnd(end, words.get(end.rank or 0, ""))


def _record_restart(folder: RunFolder, restart: Restarted) -> None:
    """Write the restart into the run's record, once the last worker of another host has let go of it."""
    give_up = time.monotonic() + RELEASE_SECONDS
    while True:
        try:
            log = EventLog(folder.events)
        except RunFolderError:
            if time.monotonic() > give_up:
                raise
            time.sleep(POLL_SECONDS)
            continue
        log.record(restart)
        log.close()
        return


@contextlib.contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM, SIGHUP and SIGUSR1 in a list instead of dying of them; the main thread alone can."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

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
    launcher: Launcher,
    folder: RunFolder,
    tail: EventTail,
    wishes: _Wishes,
    on_event: Callable[[Event], None],
    on_notice: Callable[[str], None],
) -> None:
    """Pass events on until the job ends; serve the first interruption softly, and leave at the second."""
    is_stopping = False
    while launcher.wait(POLL_SECONDS) is None:
        for event in tail.new():
            on_event(event)
        if not is_stopping and (stop := wishes.stop) is not None:
            is_stopping = True
            request_stop(folder.control, stop.reason, by=stop.by)
            at_once = "; Ctrl-C again ends it at once" if signal.SIGINT in wishes.interruptions else ""
            on_notice(f"stopping after this step, with a checkpoint{at_once}")
        if wishes.is_impatient:
            on_notice("ending the workers")
            return


def _outcome(folder: RunFolder, job_end: JobEnd, is_impatient: bool) -> RunEnd:
    outcome, end = folder.read_exit(), job_end.first
    if outcome is not None and outcome.state in ("completed", "stopped_early"):
        return outcome
    again = f"go on from the last checkpoint with: r2d2 train --run-dir {quote(str(folder.path))} --resume"
    if is_impatient:
        reason = "ended at once, as asked by a second Ctrl-C"
        folder.write_exit(RunEnd(state="cancelled", reason=reason, stopped_by="signal"))
        raise LaunchError(f"{reason}; {again}", INTERRUPTED)
    own_words = None if end.rank is None else last_failure(folder.log(end.rank))
    if outcome is not None and (end.rank in (None, 0) or own_words == outcome.reason):  # rank 0 has said why
        raise LaunchError(outcome.reason or f"the run failed; logs: {folder.logs}", outcome.exit_code or 1)
    cause = end.description if own_words is None or end.is_worker_lost else f"{end.description}: {own_words}"
    if outcome is not None:
        reason = f"{cause}; {outcome.reason}"
        folder.write_exit(outcome.model_copy(update={"reason": reason}))
        raise LaunchError(reason, outcome.exit_code or 1)
    reason = f"the workers ended without a result: {cause}"
    folder.write_exit(RunEnd(state="failed", reason=reason, exit_code=1))
    raise LaunchError(f"{reason}; last words: {job_end.last_words or 'none'}; logs: {folder.logs}; {again}")
