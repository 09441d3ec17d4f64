"""From a job's folder to its row in the index, and from all folders to the whole of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r2d2.engine.folder import AttemptFolder, JobFolder, job_folders
from r2d2.engine.models import Attempt, Job, JobDetails, Progress
from r2d2.engine.store import JobStore
from r2d2.monitoring.alerts.book import read_alerts

__all__ = ["details_of", "job_of", "progress_of", "rebuild", "synchronise"]


def job_of(folder: JobFolder) -> Job:
    """Read a job as its folder has it.

    Raises:
        OSError: as the system does.
        ValueError: the folder is damaged.
    """
    asked = folder.read()
    attempts = folder.attempts()
    if not attempts:
        raise ValueError(f"{folder.path} has no attempt")
    last = attempts[-1]
    state = last.state()
    return Job(
        id=folder.id,
        state=state.state,
        reason=state.reason or _outcome(last).get("reason"),
        started_at=state.started_at,
        ended_at=state.ended_at,
        attempt=last.number,
        uses=tuple(asked.get("uses", asked["roots"])),  # a job of before this was noted may use all
        **{name: asked[name] for name in _ASKED},
    )


_ASKED = ("task", "name", "tags", "priority", "after", "workers", "by", "submitted_at", "max_retries", "output")


def _outcome(attempt: AttemptFolder) -> dict[str, Any]:
    return (attempt.read(attempt.exit) or {}) and (attempt.read(attempt.outcome) or {})


def progress_of(folder: JobFolder, attempt: int) -> Progress | None:
    """Read how far an attempt is; None: it has not said."""
    last = folder.attempt(attempt)
    told = last.read(last.progress)
    try:
        return None if told is None else Progress.model_validate(told)
    except ValueError:
        return None


def details_of(folder: JobFolder, job: Job) -> JobDetails:
    """Read everything about a job."""
    asked, attempts = folder.read(), folder.attempts()
    return JobDetails(
        job=job,
        settings=asked["settings"],
        warnings=asked.get("warnings", ()),
        result=_outcome(attempts[-1]).get("result"),
        attempts=tuple(_attempt(attempt) for attempt in attempts),
        alerts=read_alerts(folder.alerts),
        folder=str(folder.path),
    )


def _attempt(folder: AttemptFolder) -> Attempt:
    queued, holder, state = folder.read(folder.queued) or {}, folder.holder(), folder.state()
    return Attempt(
        number=folder.number,
        why=queued.get("why", ""),
        by=queued.get("by", ""),
        state=state.state,
        reason=state.reason,
        started_at=state.started_at,
        ended_at=state.ended_at,
        supervisor=None if holder is None else holder.to_json(),
    )


def synchronise(store: JobStore, work_root: Path) -> list[str]:
    """Bring the index to what the folders say, where these have changed since their rows were made.

    Returns:
        A sentence for each folder that could not be read.
    """
    known, left_out = store.stamps(), list[str]()
    there = {folder.id: folder for folder in job_folders(work_root)}
    changed = [folder for folder in there.values() if known.get(folder.id) != folder.stamp()]
    store.put(_rows(changed, left_out))
    gone = [job_id for job_id in known if job_id not in there]
    if gone:
        store.remove(gone)
    return left_out


def rebuild(store: JobStore, work_root: Path) -> tuple[int, list[str]]:
    """Make the index anew from the folders alone; what was made from runs for their curves is removed, and made anew.

    Returns:
        How many jobs are in it, and a sentence for each folder that could not be read.
    """
    left_out: list[str] = []
    for folder in job_folders(work_root):
        shutil.rmtree(folder.curves, ignore_errors=True)
    return store.replace_all(_rows(job_folders(work_root), left_out)), left_out


def _rows(folders: Any, left_out: list[str]) -> Iterator[tuple[Job, str]]:
    for folder in folders:
        stamp = folder.stamp()
        try:
            yield job_of(folder), stamp
        except (OSError, ValueError, KeyError) as error:
            left_out.append(f"{folder.path} is left out: {error}")
