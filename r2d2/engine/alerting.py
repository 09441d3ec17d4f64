"""Alerts of an engine's jobs: found in their run folders, written down in their own, and sent where that is wanted.

A thread looks every few seconds; nothing that it does, or fails to do, reaches the jobs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from r2d2.engine.folder import ACTIVE, FINAL, JobFolder
from r2d2.engine.jobs import Jobs
from r2d2.engine.models import Job, JobQuery
from r2d2.monitoring.alerts.alert import Alert, Finding
from r2d2.monitoring.alerts.book import AlertBook
from r2d2_base.errors import R2D2Error
from r2d2_base.files import read_json, write_json

if TYPE_CHECKING:
    from r2d2.monitoring.alerts.sending.outbox import Outbox

__all__ = ["OUTBOX_NAME", "AlertWatch", "alerting"]

OUTBOX_NAME = "alerts.json"
"""In the engine's folder: what of alerts is to be sent, and what was."""
_BEGUN_NAME = "alerts-since.json"
LOOK_S = 5.0
_PAGE = 50
_ENDED_BADLY = ("failed", "lost")
_log = logging.getLogger(__name__)

Raise = Callable[[Job, Alert], None]


@contextmanager
def alerting(jobs: Jobs, work_root: Path, environment: Mapping[str, str], look_s: float = LOOK_S) -> Iterator[None]:
    """Watch an engine's jobs while the block lasts.

    Args:
        jobs: of the engine.
        work_root: its folder.
        environment: of the engine, which may name the file that says where alerts are sent.
        look_s: seconds between two looks.

    Raises:
        ConfigurationError: that file cannot be used.
    """
    from r2d2.monitoring.alerts.sending.message import message_of
    from r2d2.monitoring.alerts.sending.outbox import Outbox, senders_of
    from r2d2.monitoring.alerts.sending.settings import read_sending

    settings = read_sending(environment)
    with ExitStack() as stack:
        outbox: Outbox | None = None
        if settings is not None:
            outbox = Outbox(work_root / OUTBOX_NAME, senders_of(settings))
            stack.enter_context(outbox.sending())

        def send(job: Job, alert: Alert) -> None:
            if settings is not None and outbox is not None and alert.kind in settings.kinds:
                outbox.add(message_of(job.id, job.task, alert, settings.console))

        watch, is_over = AlertWatch(jobs, work_root, send), threading.Event()
        thread = threading.Thread(target=_look_again, args=(watch, is_over, look_s), name="r2d2-alerts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join(look_s)


def _look_again(watch: AlertWatch, is_over: threading.Event, look_s: float) -> None:
    while not is_over.wait(look_s):
        try:
            watch.look()
        except R2D2Error as error:
            _log.warning("alerts: %s", error)
        except Exception:
            _log.exception("a look for alerts failed; the next one follows")


class AlertWatch:
    """Looks at the jobs of an engine, at the trainings among them closely.

    Args:
        jobs: of the engine.
        work_root: its folder.
        send: called with each alert that is raised, before it is written down: it knows which ones it has sent.
    """

    def __init__(self, jobs: Jobs, work_root: Path, send: Raise) -> None:
        self._jobs, self._work_root, self._send = jobs, work_root, send
        self._books: dict[int, AlertBook] = {}
        self._told: set[tuple[int, int]] = set()
        self._unclear: set[int] = set()
        self._begun = self._first_begun()

    def look(self) -> None:
        """Look once at all jobs at work, and at those that have ended since the last look.

        Raises:
            R2D2Error: the engine's index fails; the next look makes up for it.
        """
        active = self._jobs.list(JobQuery.model_validate({"states": ACTIVE, "limit": 1000})).jobs
        for job in active:
            self._apart(self._look_at, job)
        for job in self._ended():
            self._apart(self._note_end, job)
        for job_id in set(self._books) - {job.id for job in active}:  # it waits to be tried again
            self._books.pop(job_id).close(time.time())

    def _apart(self, look: Callable[[Job], None], job: Job) -> None:
        """Look at one job; a folder that cannot be made out hides no other job, and is told once."""
        try:
            look(job)
        except Exception:
            if job.id not in self._unclear:
                self._unclear.add(job.id)
                _log.exception("alerts of job %d cannot be told; those of others are", job.id)

    def _look_at(self, job: Job) -> None:
        found, now = self._findings(job), time.time()
        if found is None:
            return
        book = self._book(job.id, now)
        raised = book.raised_by(found, now)
        for alert in raised:
            self._send(job, alert)
        book.note(found, raised, now)

    def _note_end(self, job: Job) -> None:
        """Say that a job has ended, and first that it diverges, where that ended it between two looks."""
        now = time.time()
        book = self._book(job.id, now)
        ended = _end_of(job, now)
        if all(alert.id != ended.id for alert in book.alerts):
            diverges = [one for one in self._findings(job) or () if one.kind == "divergence"]
            raised = [*book.raised_by(diverges, now), ended]
            for alert in raised:
                self._send(job, alert)
            book.note(diverges, raised, now)
            book.close(now)
        self._books.pop(job.id, None)
        self._told.add((job.id, job.attempt))

    def _book(self, job_id: int, now: float) -> AlertBook:
        if job_id not in self._books:
            self._books[job_id] = AlertBook(self._folder(job_id).alerts, now)
        return self._books[job_id]

    def _ended(self) -> list[Job]:
        """Give the jobs that have ended since the first look ever, and of which that was not said."""
        found: list[Job] = []
        while True:
            query = {"states": FINAL, "sort": "ended_at", "limit": _PAGE, "offset": len(found)}
            jobs = self._jobs.list(JobQuery.model_validate(query)).jobs
            new = [
                one for one in jobs if (one.ended_at or 0.0) > self._begun and (one.id, one.attempt) not in self._told
            ]
            found += new
            if len(new) < _PAGE:
                return found[::-1]

    def _findings(self, job: Job) -> list[Finding] | None:
        """Give what is found in a job's runs, of a cross-validation in those that go on; None: it trains nothing."""
        if job.output is None or job.task not in ("train", "cross-validate"):
            return None
        from r2d2.monitoring.alerts.runs_of_job import findings_of  # loads NumPy, which nothing needs before

        return findings_of(job.task, Path(job.output), self._folder(job.id).curves, job.started_at or 0.0)

    def _folder(self, job_id: int) -> JobFolder:
        return JobFolder(self._work_root / "jobs" / str(job_id))

    def _first_begun(self) -> float:
        """Say since when ends of jobs are told: those before alerts were there are not."""
        path = self._work_root / _BEGUN_NAME
        try:
            return float(read_json(path)["time"])
        except (OSError, ValueError, KeyError, TypeError):
            now = time.time()
            write_json(path, {"schema_version": 1, "time": now})
            return now


def _end_of(job: Job, now: float) -> Alert:
    """Say that a job has ended; why, its page says: names of files may stand in that."""
    is_bad = job.state in _ENDED_BADLY
    advice = {
        "failed": f"Its page, or r2d2 jobs show {job.id}, says why. Mend that and resume it.",
        "lost": "Look whether its machine is sound, and resume it: a training goes on from its last checkpoint.",
    }
    return Alert(
        id=f"ended-{job.attempt}",
        kind="ended",
        severity="critical" if is_bad else "info",
        since=job.ended_at or now,
        message=f"The job has ended: {job.state.replace('_', ' ')}.",
        advice=advice.get(job.state, ""),
        resolved_at=now,
    )
