"""What may be asked of an engine, wherever one stands: in its process, at its socket, behind a REST API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from r2d2.engine.models import (
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

__all__ = ["Jobs"]


class Jobs(Protocol):
    """The jobs of an engine. Everything raises `R2D2Error`, which `error_to_json` writes."""

    def check(self, submission: Submission, by: str = "", without: Sequence[str] = ()) -> CheckedSubmission:
        """Check a job as `submit` does, and refuse what it would; nothing is queued, and nothing written."""

    def submit(self, submission: Submission, by: str = "", without: Sequence[str] = ()) -> Job:
        """Check and queue a job; what it reads is not changed, and it begins when its turn comes.

        Args:
            submission: what is wanted.
            by: who wants it.
            without: declared folders that this one may not use.
        """

    def list(self, query: JobQuery | None = None, without: Sequence[str] = ()) -> JobPage:
        """Give a page of jobs.

        Args:
            query: which.
            without: only jobs that use none of these declared folders.
        """

    def show(self, job_id: int) -> JobDetails:
        """Give everything about a job."""

    def log(self, job_id: int, attempt: int | None = None, offset: int = 0) -> LogPart:
        """Give what an attempt said, from a byte on; None: the last attempt."""

    def stop(self, job_id: int, reason: str = "", by: str = "") -> Job:
        """Have a training end after its step, with a checkpoint and its best network; one that waits is cancelled."""

    def cancel(self, job_id: int, reason: str = "", by: str = "") -> Job:
        """End a job: by a request, after a while by SIGTERM, then by SIGKILL. No process of it stays."""

    def resume(self, job_id: int, by: str = "") -> Job:
        """Queue a job again that was stopped, cancelled or lost, or has failed; it goes on where it was."""

    def ask_run(self, job_id: int, wish: RunWish, by: str = "") -> Job:
        """Have a training that runs write a checkpoint, go on with another learning rate, or trace steps."""

    def change(self, job_id: int, change: Change) -> Job:
        """Give a job another name, other tags, or another priority."""

    def rebuild(self) -> Rebuilt:
        """Make the index anew from the jobs' folders."""
