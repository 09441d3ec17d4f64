"""What a job comes after, and what comes after it: jobs of which each uses what the one before has made."""

from __future__ import annotations

from dataclasses import dataclass

from werkzeug.exceptions import Forbidden

from r2d2.engine import Job, JobQuery, Jobs
from r2d2.engine.errors import UnknownJobError
from r2d2.engine.folder import FINAL

from ..followers import SUCCEEDED

__all__ = ["Chain", "chain_of"]

MOST = 20


@dataclass(frozen=True)
class Chain:
    """A job among those before and behind it.

    Attributes:
        before: jobs that it comes after, and those that these come after.
        job: the job itself.
        behind: jobs that come after it, and so on.
    """

    before: tuple[Job, ...]
    job: Job
    behind: tuple[Job, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All of them, in the order of their numbers; empty: the job stands alone."""
        all_of_them = sorted((*self.before, self.job, *self.behind), key=lambda job: job.id)
        return tuple(all_of_them) if len(all_of_them) > 1 else ()

    @property
    def waiting(self) -> tuple[Job, ...]:
        """What comes after the job and has not begun."""
        return tuple(job for job in self.behind if job.state == "queued")

    @property
    def broken(self) -> Job | None:
        """The first that has ended without success while others wait for it; None: there is none."""
        is_waited_for = self.job.state == "queued" or bool(self.waiting)
        ended = [job for job in (*self.before, self.job) if job.state in FINAL and job.state not in SUCCEEDED]
        return min(ended, key=lambda job: job.id) if ended and is_waited_for else None


def chain_of(jobs: Jobs, job: Job) -> Chain:
    """Find what stands before and behind a job, as far as it is shown to whoever asks; of very long chains a part."""
    return Chain(_before(jobs, job), job, _behind(jobs, job))


def _before(jobs: Jobs, job: Job) -> tuple[Job, ...]:
    found, wanted = dict[int, Job](), list(job.after)
    while wanted and len(found) < MOST:
        job_id = wanted.pop()
        if job_id in found:
            continue
        try:
            found[job_id] = jobs.show(job_id).job
        except (UnknownJobError, Forbidden):
            continue
        wanted += found[job_id].after
    return tuple(found.values())


def _behind(jobs: Jobs, job: Job) -> tuple[Job, ...]:
    found, wanted = dict[int, Job](), [job.id]
    while wanted and len(found) < MOST:
        listed = jobs.list(JobQuery(after=tuple(wanted), descending=False, limit=MOST)).jobs
        new = {one.id: one for one in listed if one.id not in found}
        found |= new
        wanted = list(new)
    return tuple(found.values())
