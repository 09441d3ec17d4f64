"""The engine: jobs queued, started, followed, stopped and tried again, on a folder of its own.

It may be killed at any moment and started again: jobs go on under their supervisors, and are taken up again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from dist_training.errors import ControlError
from r2d2.engine.changes import Changes
from r2d2.engine.database import open_database
from r2d2.engine.errors import JobStateError, RefusedError, UnknownJobError
from r2d2.engine.executor import Executor
from r2d2.engine.folder import ACTIVE, FINAL, AttemptFolder, job_folders
from r2d2.engine.indexing import details_of, job_of, progress_of, rebuild, synchronise
from r2d2.engine.local import LocalExecutor
from r2d2.engine.lock import engine_lock
from r2d2.engine.models import (
    LONGEST_LOG_PART,
    Change,
    CheckedSubmission,
    Job,
    JobDetails,
    JobPage,
    JobQuery,
    LogPart,
    Rebuilt,
    RunWish,
    Submission,
)
from r2d2.engine.scheduling import Scheduler, waits_for
from r2d2.engine.settings import EngineSettings
from r2d2.engine.store import JobStore
from r2d2.monitoring.alerts.book import read_alerts
from r2d2_base.errors import ConfigurationError, R2D2Error
from r2d2_base.files import is_leftover, remove
from r2d2_base.folders import staged_folder
from r2d2_base.progress import StopRequest

__all__ = ["Engine", "open_engine"]

LOOK_S = 0.25
AGAIN_S = 2.0  # after a disk that is full, or a database that does not answer
_log = logging.getLogger(__name__)


@contextmanager
def open_engine(settings: EngineSettings, executor: Executor | None = None) -> Iterator[Engine]:
    """Be the engine of a folder for as long as the block lasts; what runs then goes on without it.

    Args:
        settings: where, and how much at a time.
        executor: where jobs run; None: on this host.

    Raises:
        EngineBusyError: another engine has the folder.
        DatabaseError: its index cannot be used.
    """
    settings = settings.model_copy(
        update={
            "work_root": settings.work_root.resolve(),  # one spelling, by which processes are known again
            "data_roots": tuple(root.absolute() for root in settings.data_roots),
            "code_roots": tuple(root.absolute() for root in settings.code_roots),
        }
    )
    with engine_lock(settings.work_root):
        for left in (settings.work_root / "jobs").iterdir():
            if is_leftover(left.name):
                remove(left)
        with closing(Changes(settings.work_root)) as changes:
            store = JobStore(open_database(settings.work_root, settings.database), changes.add)
            with closing(store):
                yield Engine(settings, store, executor or LocalExecutor(settings.work_root, settings.code_roots))


class Engine:
    """The jobs of a folder; safe to call from several threads. Made by `open_engine`.

    Args:
        settings: with absolute folders.
        store: the index, brought up to date here.
        executor: where jobs run.
    """

    def __init__(self, settings: EngineSettings, store: JobStore, executor: Executor) -> None:
        self.settings = settings
        self._store = store
        self._scheduler = Scheduler(settings, store, executor)
        self._lock = threading.RLock()
        self._wake = threading.Event()
        for sentence in synchronise(store, settings.work_root):
            _log.warning("%s", sentence)
        self._last_id = max((folder.id for folder in job_folders(settings.work_root)), default=0)
        self._scheduler.adopt()

    def work(self, end: StopRequest) -> None:
        """Start, follow and reap jobs until ``end`` is made; a full disk or a lost database is waited out."""
        while not end.is_made:
            pause = LOOK_S
            self._wake.clear()
            try:
                self.look()
            except R2D2Error as error:
                _log.warning("%s", error)
                self._scheduler.queue_changed()
                pause = AGAIN_S
            except Exception:
                _log.exception("a look at the jobs failed; the next one follows")
                self._scheduler.queue_changed()
                pause = AGAIN_S
            self._wake.wait(pause)

    def wake(self) -> None:
        """Have `work` look at once."""
        self._wake.set()

    def look(self) -> None:
        """Look once at all jobs: what `work` does again and again."""
        with self._lock:
            self._scheduler.tick()

    def check(self, submission: Submission, by: str = "", without: Sequence[str] = ()) -> CheckedSubmission:
        """Check a job as `submit` does; nothing is queued, and nothing written.

        Raises:
            R2D2Error: what `submit` would raise.
        """
        from r2d2.engine.submission import accepted

        self._check_after(submission)
        folder = self._scheduler.folder(self._last_id + 1).path
        content = accepted(submission, self.settings, folder, by, without, self._store.used_by_makers)
        return CheckedSubmission(workers=content["workers"], warnings=tuple(content["warnings"]))

    def submit(self, submission: Submission, by: str = "", without: Sequence[str] = ()) -> Job:
        """Check and queue a job.

        Args:
            submission: what is wanted.
            by: who wants it.
            without: declared folders that this one may not use.

        Raises:
            RefusedError: settings with faults, all of them at their keys; folders outside of those allowed, or missing.
            R2D2Error: what the task itself would refuse, as far as that can be told now.
        """
        with self._lock:
            self._check_after(submission)
            self._last_id += 1
            job_id = self._last_id
        try:
            job = self._queue(job_id, submission, by, without)
        except BaseException:
            with self._lock:  # the number is free again, unless others have come since, or something is left there
                is_free = self._last_id == job_id and not self._scheduler.folder(job_id).path.exists()
                self._last_id -= is_free
            raise
        self.wake()
        return job

    def _queue(self, job_id: int, submission: Submission, by: str, without: Sequence[str]) -> Job:
        from r2d2.engine.submission import accepted  # loads all settings there are, which nothing needs before

        folder = self._scheduler.folder(job_id)
        content = accepted(submission, self.settings, folder.path, by, without, self._store.used_by_makers)
        with staged_folder(folder.path) as staged:
            made = type(folder)(staged)
            made.write(content)
            made.queue(1, "submitted", by)
        with self._lock:
            try:
                job = self._scheduler.index(job_id)
            except R2D2Error:
                remove(folder.path)  # else it would be done although its submission was refused
                raise
            self._scheduler.queue_changed()
        return job

    def list(self, query: JobQuery | None = None, without: Sequence[str] = ()) -> JobPage:
        """Give a page of jobs, those at work with how far they are.

        Args:
            query: which.
            without: only jobs that use none of these declared folders.
        """
        asked = query or JobQuery()
        jobs, total = self._store.page(asked, without)
        states = self._store.states([one for job in jobs if job.state == "queued" for one in job.after])
        shown = tuple(self._with_progress(job, states) for job in jobs)
        return JobPage(jobs=shown, total=total, limit=asked.limit, offset=asked.offset)

    def show(self, job_id: int) -> JobDetails:
        """Give everything about a job.

        Raises:
            UnknownJobError: there is none of that number.
        """
        folder = self._scheduler.folder(job_id)
        found = details_of(folder, self._job(job_id))
        if found.job.state not in FINAL and found.attempts[-1].state in FINAL:
            found = details_of(folder, self._job_now(job_id))
        job = self._with_progress(found.job, self._store.states(found.job.after))
        return found.model_copy(update={"job": job})

    def log(self, job_id: int, attempt: int | None = None, offset: int = 0) -> LogPart:
        """Give what an attempt said, from a byte on.

        Raises:
            UnknownJobError: there is no such job, or no such attempt.
        """
        job = self._job_now(job_id)
        number = job.attempt if attempt is None else attempt
        folder = self._scheduler.folder(job_id).attempt(number)
        if number < 1 or not folder.queued.exists():
            raise UnknownJobError(f"job {job_id} has no attempt {number}; it has {job.attempt}")
        is_of_index = number == job.attempt and job.state in FINAL
        has_ended = is_of_index or folder.state().state in FINAL
        text, at, is_all = _read_part(folder, max(offset, 0), has_ended)
        if has_ended and number == job.attempt and not is_of_index:
            self._job_now(job_id)  # whoever has read the end finds the job at its end
        return LogPart(text=text, offset=at, attempt=number, is_last=has_ended and is_all)

    def stop(self, job_id: int, reason: str = "", by: str = "") -> Job:
        """Have a training end after its step, with a checkpoint and its best network; one that waits is cancelled.

        Raises:
            UnknownJobError: there is none of that number.
            JobStateError: it has ended, or leaves nothing of use when it ends early.
        """
        from r2d2.engine.submission import task_of

        job = self._job(job_id)
        if job.state in ACTIVE and not task_of(job.task, self.settings).can_stop_early:
            raise JobStateError(
                f"job {job_id} ({job.task}) leaves nothing of use when it ends early: cancel it; resumed, it goes on"
            )
        return self._ask(job_id, "stop", reason or "asked to stop", by)

    def cancel(self, job_id: int, reason: str = "", by: str = "") -> Job:
        """End a job: by a request, after a while by SIGTERM, then by SIGKILL; asked again, by SIGTERM at once.

        Raises:
            UnknownJobError: there is none of that number.
            JobStateError: it has ended.
        """
        return self._ask(job_id, "cancel", reason or "cancelled", by)

    def resume(self, job_id: int, by: str = "") -> Job:
        """Queue a job again that was stopped, cancelled or lost, or has failed; it goes on where it was.

        Raises:
            UnknownJobError: there is none of that number.
            JobStateError: it is completed, or has not ended.
        """
        with self._lock:
            job = self._job(job_id)
            if job.state not in FINAL or job.state == "completed":
                raise JobStateError(f"job {job_id} is {job.state}: only what was stopped, lost or failed can go on")
            folder = self._scheduler.folder(job_id)
            folder.queue(folder.attempts()[-1].number + 1, "resumed", by)
            job = self._scheduler.index(job_id)
            self._scheduler.queue_changed()
        self.wake()
        return job

    def ask_run(self, job_id: int, wish: RunWish, by: str = "") -> Job:
        """Have a training that runs write a checkpoint, take another learning rate, or trace steps, after its step.

        Raises:
            UnknownJobError: there is none of that number.
            JobStateError: it is no training that runs, or was asked for something just now.
        """
        job = self._job_now(job_id)
        if job.task != "train" or job.output is None or job.state != "running":
            raise JobStateError(f"job {job_id} ({job.task}) is {job.state}: only a training that runs can do so")
        from r2d2.tasks.control import ask_run  # loads NumPy

        reason = wish.reason or (f"{by} asked" if by else "asked")
        try:
            ask_run(Path(job.output), wish.request, reason, wish.learning_rate)
        except ConfigurationError as error:
            raise JobStateError(f"job {job_id} does not train yet, or not any more") from error
        except ControlError as error:
            raise JobStateError(f"job {job_id} has still to do what was asked for before: {error}") from error
        return job

    def change(self, job_id: int, change: Change) -> Job:
        """Give a job another name, other tags, or another priority.

        Raises:
            UnknownJobError: there is none of that number.
        """
        with self._lock:
            self._job(job_id)
            folder = self._scheduler.folder(job_id)
            folder.write({**folder.read(), **change.model_dump(mode="json", exclude_none=True)})
            job = self._scheduler.index(job_id)
            self._scheduler.queue_changed()
        self.wake()
        return job

    def rebuild(self) -> Rebuilt:
        """Make the index anew from the jobs' folders."""
        with self._lock:
            count, left_out = rebuild(self._store, self.settings.work_root)
            self._scheduler.adopt()
        self.wake()
        return Rebuilt(jobs=count, left_out=tuple(left_out))

    def _check_after(self, submission: Submission) -> None:
        gone = sorted(set(submission.after) - set(self._store.states(submission.after)))
        if gone:
            raise RefusedError(f"after: there is no job {', '.join(map(str, gone))}", [("after", "no such job")])

    def _job(self, job_id: int) -> Job:
        job = self._store.get(job_id)
        if job is None:
            raise UnknownJobError(f"there is no job {job_id}")
        return job

    def _job_now(self, job_id: int) -> Job:
        """Give a job as its folder has it: its attempt may have ended since the last look."""
        job = self._job(job_id)
        folder = self._scheduler.folder(job_id)
        if job.state in FINAL or folder.attempt(job.attempt).state().state not in FINAL:
            return job
        try:
            self.look()
        except R2D2Error:  # the index, or the disk, cannot be written now; `work` tries again
            return job_of(folder)
        return self._job(job_id)

    def _with_progress(self, job: Job, states: Mapping[int, str]) -> Job:
        """Say how far a job is; or what it waits for, by the states of those that it comes after."""
        if job.state == "queued":
            return job.model_copy(update={"reason": waits_for(job.after, states)})
        if job.state not in ACTIVE:
            return job
        folder = self._scheduler.folder(job.id)
        alerts = tuple(alert for alert in read_alerts(folder.alerts) if alert.is_open)
        return job.model_copy(update={"progress": progress_of(folder, job.attempt), "alerts": alerts})

    def _ask(self, job_id: int, request: str, reason: str, by: str) -> Job:
        """Ask the supervisor for something; a job that nobody has taken yet ends here."""
        with self._lock:
            job = self._job(job_id)
            attempt = self._scheduler.folder(job_id).attempt(job.attempt)
            state = attempt.state().state
            if state in FINAL or (state == "queued" and job.state in FINAL):
                raise JobStateError(f"job {job_id} has ended: it is {job.state}")
            if job.state == "queued" and attempt.claim():
                attempt.end("cancelled", reason, by=by)
            else:
                self._write_wish(attempt, request, reason, by)
            job = self._scheduler.index(job_id)
            self._scheduler.queue_changed()
        self.wake()
        return job

    def _write_wish(self, attempt: AttemptFolder, request: str, reason: str, by: str) -> None:
        before = attempt.read(attempt.control) or {}
        if before.get("request") == "cancel" and request == "stop":
            raise JobStateError(f"job {attempt.job.id} is being cancelled already")
        is_urgent = before.get("request") == request == "cancel"
        wish = {
            "request": request,
            "reason": reason,
            "by": by,
            "grace_s": 0.0 if is_urgent else self.settings.grace_s,
            "kill_after_s": self.settings.kill_after_s,
        }
        attempt.write(attempt.control, wish)


def _read_part(folder: AttemptFolder, offset: int, has_ended: bool) -> tuple[str, int, bool]:
    """Read whole lines of a log; of one that is being written, the last line once it is whole."""
    try:
        with folder.log.open("rb") as stream:
            stream.seek(offset)
            part = stream.read(LONGEST_LOG_PART)
            is_all = not stream.read(1)
    except FileNotFoundError:
        return "", offset, True
    if not (is_all and has_ended) and (end := part.rfind(b"\n") + 1):
        part = part[:end]
    elif not (is_all and has_ended) and len(part) < LONGEST_LOG_PART:
        part = b""
    return part.decode("utf-8", errors="replace"), offset + len(part), is_all
