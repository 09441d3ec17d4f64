"""The jobs of an engine as whoever asks may have them: none that uses a folder which is hidden from them."""

from __future__ import annotations

from collections.abc import Sequence

from werkzeug.exceptions import Forbidden

from r2d2.engine import (
    Change,
    CheckedSubmission,
    Job,
    JobDetails,
    JobPage,
    JobQuery,
    Jobs,
    LogPart,
    Rebuilt,
    RunWish,
    Submission,
)

from .roots import Roots, asking
from .uploads import Uploads

__all__ = ["GuardedJobs"]


class GuardedJobs:
    """The same calls as an engine has, each in the name of who sent the request that is being served.

    Args:
        jobs: of the engine.
        roots: and who may see which.
        uploads: scans that users have brought along, which nobody else's job reads.
    """

    def __init__(self, jobs: Jobs, roots: Roots, uploads: Uploads) -> None:
        self._jobs, self._roots, self._uploads = jobs, roots, uploads

    def check(self, submission: Submission, by: str = "", without: Sequence[str] = ()) -> CheckedSubmission:
        """Check a job, which uses nothing that is hidden."""
        return self._jobs.check(submission, by, self._closed(without))

    def submit(self, submission: Submission, by: str = "", without: Sequence[str] = ()) -> Job:
        """Check and queue a job, which uses nothing that is hidden."""
        return self._jobs.submit(submission, by, self._closed(without))

    def list(self, query: JobQuery | None = None, without: Sequence[str] = ()) -> JobPage:
        """Give a page of the jobs that use nothing hidden."""
        return self._jobs.list(query, self._hidden(without))

    def show(self, job_id: int) -> JobDetails:
        """Give everything about a job."""
        found = self._jobs.show(job_id)
        if set(found.job.uses) & set(self._hidden()):
            raise Forbidden(f"job {job_id} uses a folder that is not shown to you: ask an administrator to show it")
        return found

    def log(self, job_id: int, attempt: int | None = None, offset: int = 0) -> LogPart:
        """Give what an attempt said, from a byte on."""
        self._check(job_id)
        return self._jobs.log(job_id, attempt, offset)

    def stop(self, job_id: int, reason: str = "", by: str = "") -> Job:
        """Have a training end after its step."""
        self._check(job_id)
        return self._jobs.stop(job_id, reason, by)

    def cancel(self, job_id: int, reason: str = "", by: str = "") -> Job:
        """End a job."""
        self._check(job_id)
        return self._jobs.cancel(job_id, reason, by)

    def resume(self, job_id: int, by: str = "") -> Job:
        """Queue a job again."""
        self._check(job_id)
        return self._jobs.resume(job_id, by)

    def ask_run(self, job_id: int, wish: RunWish, by: str = "") -> Job:
        """Have a training write a checkpoint, go on with another learning rate, or trace steps."""
        self._check(job_id)
        return self._jobs.ask_run(job_id, wish, by)

    def change(self, job_id: int, change: Change) -> Job:
        """Give a job another name, other tags, or another priority."""
        self._check(job_id)
        return self._jobs.change(job_id, change)

    def rebuild(self) -> Rebuilt:
        """Make the index anew."""
        return self._jobs.rebuild()

    def _check(self, job_id: int) -> None:
        """Refuse a job that uses something hidden; where nothing is, the engine is not asked."""
        if self._hidden():
            self.show(job_id)

    def _closed(self, more: Sequence[str]) -> tuple[str, ...]:
        """Give what a job of whoever asks may not use."""
        person = asking()
        return (*self._hidden(more), *self._uploads.hidden_from("" if person is None else person.name))

    def _hidden(self, more: Sequence[str] = ()) -> tuple[str, ...]:
        return (*more, *self._roots.hidden_from(asking()))
