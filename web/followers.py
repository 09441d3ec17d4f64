"""What follows a training: jobs that predict the test cases with its network, and evaluate what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from r2d2.engine import Job, Jobs, Submission
from r2d2.engine.errors import JobStateError
from r2d2.errors import R2D2Error

__all__ = ["REFUSED", "STEPS", "SUCCEEDED", "queue_followers"]

STEPS = ("predict", "evaluate")
"""In their order; each uses what the one before has made."""
SUCCEEDED = ("completed", "stopped_early")
_CALLED = {"predict": "test cases", "evaluate": "evaluation"}
REFUSED = "what was to follow it was refused"
_LONGEST_NAME = 100


def queue_followers(jobs: Jobs, training: Job, dataset: str, steps: Sequence[str], by: str) -> list[Job]:
    """Queue the jobs that follow a training or a cross-validation, each after the one before; all or none.

    Args:
        jobs: of the engine.
        training: that has a network, or will have.
        dataset: whose test cases are predicted.
        steps: of `STEPS`.
        by: who asks for it.

    Raises:
        R2D2Error: one was refused; then none is left.
    """
    queued: list[Job] = []
    before = training
    try:
        for step in steps:
            after = () if before.state in SUCCEEDED else (before.id,)
            before = jobs.submit(_submission(step, training, before, dataset, after), by)
            queued.append(before)
    except R2D2Error:
        for job in reversed(queued):
            with suppress(JobStateError):  # it has ended already
                jobs.cancel(job.id, REFUSED, by)
        raise
    return queued


def _submission(step: str, training: Job, before: Job, dataset: str, after: tuple[int, ...]) -> Submission:
    used = {"predict": "model", "evaluate": "prediction"}[step]
    settings: dict[str, Any] = {used: before.output, "dataset": dataset, "split": "test"}
    name = f"{training.name[:_LONGEST_NAME]}: {_CALLED[step]}"
    return Submission(task=step, settings=settings, name=name, tags=training.tags, after=after)
