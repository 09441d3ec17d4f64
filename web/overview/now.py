"""What an engine does at this moment, as the overview shows it."""

from __future__ import annotations

import threading
import time
from typing import Any

from r2d2.curves import Course
from r2d2.engine import Job, JobPage, JobQuery, Jobs
from r2d2.engine.alerting import OUTBOX_NAME
from r2d2.engine.folder import ACTIVE, FINAL
from r2d2.engine.usage import Usage, usage_of
from r2d2.monitoring.alerts.sending.outbox import deliveries

from ..curves import curves_of_job
from ..serve_settings import ServeSettings

__all__ = ["Now"]

RUNNING_SHOWN, WAITING_SHOWN, ENDED_SHOWN = 50, 20, 10
MEASURED_EVERY_S = 5.0
STRETCHES = 40
OUTCOMES_KEPT = 100


class Now:
    """Looks at an engine for all who ask; memory is measured every few seconds at most.

    Args:
        jobs: of the engine.
        settings: of the server.
    """

    def __init__(self, jobs: Jobs, settings: ServeSettings) -> None:
        self._jobs, self._settings = jobs, settings
        self._lock = threading.Lock()
        self._outcomes: dict[tuple[int, float | None], Course | None] = {}
        self._measured_at, self._usage = time.monotonic(), usage_of(settings.work_root)

    def seen(self) -> dict[str, Any]:
        """Give the names that the page shows."""
        running = self._listed(ACTIVE, limit=RUNNING_SHOWN)
        queued = self._listed(("queued",), descending=False, limit=WAITING_SHOWN)
        ended = self._listed(FINAL, sort="ended_at", limit=ENDED_SHOWN)
        return {
            "running": running,
            "queued": queued,
            "ended": ended,
            "is_empty": running.total + queued.total + ended.total == 0,
            "courses": {job.id: self._course(job) for job in running.jobs},
            "outcomes": {job.id: self._outcome(job) for job in ended.jobs},
            "workers": sum(job.workers for job in running.jobs),
            "alert_count": sum(len(job.alerts) for job in running.jobs),
            "deliveries": deliveries(self._settings.work_root / OUTBOX_NAME),
            "max_jobs": self._settings.max_jobs,
            "usage": self._measured(),
        }

    def _listed(self, states: tuple[str, ...], **more: Any) -> JobPage:
        return self._jobs.list(JobQuery.model_validate({"states": states, **more}))

    def _course(self, job: Job) -> Course | None:
        curves = curves_of_job(self._settings.work_root, job)
        return None if curves is None else Course.of(curves.view(most=STRETCHES))

    def _outcome(self, job: Job) -> Course | None:
        """Give the course of a training that has ended, which does not change any more."""
        key = job.id, job.ended_at
        if key in self._outcomes:
            return self._outcomes[key]
        curves = curves_of_job(self._settings.work_root, job)
        view = None if curves is None else curves.view(most=STRETCHES)
        course = None if view is None else Course.of(view)
        if view is None or not view.is_behind:
            with self._lock:
                if len(self._outcomes) >= OUTCOMES_KEPT:
                    self._outcomes.pop(next(iter(self._outcomes)))
                self._outcomes[key] = course
        return course

    def _measured(self) -> Usage:
        with self._lock:
            if time.monotonic() - self._measured_at >= MEASURED_EVERY_S:
                self._measured_at, self._usage = time.monotonic(), usage_of(self._settings.work_root)
            return self._usage
