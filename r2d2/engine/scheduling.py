"""What the engine does by itself: starts what waits, follows what runs, notices what is lost, tries it again."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from r2d2.engine.executor import Executor
from r2d2.engine.folder import ACTIVE, FINAL, AttemptFolder, AttemptState, JobFolder
from r2d2.engine.indexing import job_of
from r2d2.engine.models import Job
from r2d2.engine.settings import EngineSettings
from r2d2.engine.store import JobStore, Waiting
from r2d2_base.errors import R2D2Error

__all__ = ["Scheduler", "waits_for"]

_PAGE = 200
_SUCCEEDED = ("completed", "stopped_early")
_log = logging.getLogger(__name__)


@dataclass
class _Followed:
    """An attempt that is at work, or about to be.

    Attributes:
        folder: its own.
        workers: that it counts for.
        shown: the state in the index.
        lost_at: when its supervisor was noticed to be gone, by a clock that does not jump; None: it lives.
        fault: why it could not be started; None: it could.
    """

    folder: AttemptFolder
    workers: int
    shown: str
    lost_at: float | None = None
    fault: str | None = None


class Scheduler:
    """Follows the attempts of a work folder; whoever calls holds the engine's lock.

    Args:
        settings: of the engine.
        store: the index.
        executor: where jobs run.
    """

    def __init__(self, settings: EngineSettings, store: JobStore, executor: Executor) -> None:
        self._settings, self._store, self._executor = settings, store, executor
        self._followed: dict[int, _Followed] = {}
        self._is_queue_changed = True

    def adopt(self) -> None:
        """Take up what an engine before this one has left: jobs at work, and those that it was about to try again."""
        self._followed.clear()
        for job in self._store.of_states(ACTIVE):
            attempt = self.folder(job.id).attempt(job.attempt)
            self._followed[job.id] = _Followed(attempt, job.workers, job.state)
        for job in self._store.of_states(("lost",)):
            self._try_again(job)
        self._is_queue_changed = True

    def folder(self, job_id: int) -> JobFolder:
        """Give the folder of a job."""
        return JobFolder(self._settings.work_root / "jobs" / str(job_id))

    def index(self, job_id: int) -> Job:
        """Bring the row of a job to what its folder says."""
        folder = self.folder(job_id)
        stamp = folder.stamp()
        job, followed = job_of(folder), self._followed.get(job_id)
        if job.state == "queued" and followed is not None and followed.folder.number == job.attempt:
            # Its supervisor has been started, and is on its way.
            job = job.model_copy(update={"state": "starting"})
        self._store.put([(job, stamp)])
        return job

    def queue_changed(self) -> None:
        """Have the queue looked at."""
        self._is_queue_changed = True

    def tick(self) -> None:
        """Look at everything once.

        Raises:
            R2D2Error: the index, or the disk, cannot be written; the next look may do it.
        """
        self._executor.tidy()
        for job_id, followed in list(self._followed.items()):
            self._look_at(job_id, followed)
        if self._is_queue_changed:
            self._start_waiting()
            self._is_queue_changed = False  # not where that failed

    @property
    def running(self) -> int:
        """How many jobs are at work, or about to be."""
        return len(self._followed)

    def _look_at(self, job_id: int, followed: _Followed) -> None:
        attempt = followed.folder
        state = attempt.state()
        if state.state == "queued":
            fault = followed.fault or getattr(self._executor.fault(attempt), "reason", None)
            if fault is None:
                return
            followed.fault = fault
            state = self._failed_to_start(job_id, attempt, fault)
        elif state.state in ACTIVE and self._executor.is_alive(attempt) is False:
            state = self._of_lost(followed)
        if state.state == "queued":  # what ended it is in the index alone
            del self._followed[job_id]
            self._is_queue_changed = True
        elif state.state in FINAL:
            job = self.index(job_id)
            del self._followed[job_id]
            self._is_queue_changed = True
            self._try_again(job)
        elif state.state != followed.shown:
            self.index(job_id)
            followed.shown = state.state

    def _failed_to_start(self, job_id: int, attempt: AttemptFolder, fault: str) -> AttemptState:
        """End an attempt that nobody has taken; where even that cannot be written, the index says so."""
        reason = f"the job could not be started: {fault}"
        try:
            if attempt.claim():
                attempt.end("failed", reason)
        except R2D2Error as error:
            job = self._store.get(job_id)
            if job is not None:
                update = {"state": "failed", "reason": reason, "ended_at": time.time()}
                self._store.put([(job.model_copy(update=update), "")])
            _log.warning("job %d: %s (%s)", job_id, reason, error)
        return attempt.state()

    def _of_lost(self, followed: _Followed) -> AttemptState:
        """End an attempt whose supervisor is gone, once none of its processes is left."""
        attempt = followed.folder
        state = attempt.state()
        if state.state in FINAL:  # it ended between two looks
            return state
        followed.lost_at = time.monotonic() if followed.lost_at is None else followed.lost_at
        if not self._executor.end(attempt, time.monotonic() - followed.lost_at):
            return state
        wish = attempt.read(attempt.control)
        if wish is not None and wish.get("request") == "cancel":
            attempt.end("cancelled", str(wish.get("reason") or ""))
        elif self._executor.is_of_this_start(attempt):
            attempt.end("lost", "its supervisor ended without a word", is_retryable=wish is None)
        else:
            attempt.end("lost", "its machine went away, or was started anew; resume it", is_retryable=False)
        return attempt.state()

    def _try_again(self, job: Job) -> None:
        """Queue a lost job again, up to its limit."""
        folder = self.folder(job.id)
        attempts = folder.attempts()
        if not attempts or not attempts[-1].state().is_retryable:
            return
        retries = 0
        for attempt in reversed(attempts):
            if (attempt.read(attempt.queued) or {}).get("why") != "retry":
                break
            retries += 1
        if retries < job.max_retries:
            folder.queue(attempts[-1].number + 1, "retry", "engine")
            self.index(job.id)
            self._is_queue_changed = True

    def _start_waiting(self) -> None:
        """Start jobs in their order; one that finds no room keeps it for those behind it too, or it never got any."""
        chosen: list[Waiting] = []
        workers = sum(followed.workers for followed in self._followed.values())
        offset, is_full = 0, len(self._followed) >= self._settings.max_jobs
        while not is_full:
            page = self._store.waiting(_PAGE, offset)
            states = self._store.states([one for job in page for one in job.after])
            for job in page:
                if waits_for(job.after, states) is not None:
                    continue
                limit = self._settings.max_workers
                if len(self._followed) + len(chosen) >= self._settings.max_jobs or (
                    limit is not None and workers and workers + job.workers > limit
                ):
                    is_full = True
                    break
                chosen.append(job)
                workers += job.workers
            is_full = is_full or len(page) < _PAGE
            offset += _PAGE
        for job in chosen:
            self._start(job)

    def _start(self, job: Waiting) -> None:
        if not self._store.claim(job.id, job.attempt):
            return
        attempt = self.folder(job.id).attempt(job.attempt)
        followed = self._followed[job.id] = _Followed(attempt, job.workers, "starting")
        try:
            self._executor.start(attempt)
        except (OSError, R2D2Error) as error:
            followed.fault = str(error)


def waits_for(after: Sequence[int], states: Mapping[int, str]) -> str | None:
    """Say what a job waits for besides room; None: nothing.

    Args:
        after: jobs that must have succeeded before.
        states: theirs.

    >>> waits_for((3, 4), {3: "completed", 4: "running"})
    'waits for job 4'
    """
    for before in after:
        state = states.get(before)
        if state in _SUCCEEDED:
            continue
        if state is None:
            return f"waits for job {before}, which is gone: cancel this one"
        if state in FINAL:
            return f"waits for job {before}, which is {state}: resume that one, or cancel this"
        return f"waits for job {before}"
    return None
