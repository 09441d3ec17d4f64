"""What may be asked of a job: its end, another try, something of a run that goes on, what is made from its network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask import Blueprint, flash, g, redirect, request, url_for

from r2d2.engine import Job, JobDetails, RunWish
from r2d2.engine.errors import JobStateError, RefusedError
from r2d2.engine.validation import validated

from ..api.models import Wish
from ..area import Console
from ..followers import STEPS, queue_followers
from ..permissions import Permission, needs
from ..places import TRAININGS
from .chain import chain_of
from .job import checked_id

__all__ = ["add_wishes"]


def add_wishes(pages: Blueprint, console: Console) -> None:
    """Add the routes."""
    _add_ends(pages, console)
    _add_of_runs(pages, console)
    _add_followers(pages, console)


def _add_ends(pages: Blueprint, console: Console) -> None:
    jobs = console.jobs

    @pages.post("/jobs/<int:job_id>/stop")
    @needs(Permission.OPERATE)
    def stop(job_id: int) -> Any:
        jobs.stop(checked_id(job_id), _reason(), g.person.name)
        return _back(job_id)

    @pages.post("/jobs/<int:job_id>/cancel")
    @needs(Permission.OPERATE)
    def cancel(job_id: int) -> Any:
        jobs.cancel(checked_id(job_id), _reason(), g.person.name)
        return _back(job_id)

    @pages.post("/jobs/<int:job_id>/cancel-followers")
    @needs(Permission.OPERATE)
    def cancel_followers(job_id: int) -> Any:
        waiting = chain_of(jobs, jobs.show(checked_id(job_id)).job).waiting
        for job in reversed(waiting):
            with suppress(JobStateError):  # it has begun, or ended, meanwhile
                jobs.cancel(job.id, _reason() or f"job {job_id} did not succeed", g.person.name)
        flash(f"{len(waiting)} that waited for it {'was' if len(waiting) == 1 else 'were'} cancelled.")
        return _back(job_id)

    @pages.post("/jobs/<int:job_id>/resume")
    @needs(Permission.OPERATE)
    def resume(job_id: int) -> Any:
        jobs.resume(checked_id(job_id), g.person.name)
        return _back(job_id)


def _add_of_runs(pages: Blueprint, console: Console) -> None:
    @pages.post("/jobs/<int:job_id>/checkpoint")
    @needs(Permission.OPERATE)
    def checkpoint(job_id: int) -> Any:
        console.jobs.ask_run(checked_id(job_id), RunWish(request="checkpoint"), g.person.name)
        flash("Asked for a checkpoint: it is written after this step.")
        return _back(job_id)

    @pages.post("/jobs/<int:job_id>/profile")
    @needs(Permission.OPERATE)
    def profile(job_id: int) -> Any:
        console.jobs.ask_run(checked_id(job_id), RunWish(request="profile"), g.person.name)
        flash("Asked for a trace of the next 5 steps: it is for TensorBoard.")
        return _back(job_id)

    @pages.post("/jobs/<int:job_id>/learning-rate")
    @needs(Permission.OPERATE)
    def learning_rate(job_id: int) -> Any:
        text = request.form.get("learning_rate", "").strip().replace(",", ".")
        asked = {"request": "learning-rate", "learning_rate": text}
        wish: RunWish = validated(RunWish, asked, "form")
        console.jobs.ask_run(checked_id(job_id), wish, g.person.name)
        flash(f"Asked for the learning rate {wish.learning_rate:g}: it holds from the next step on.")
        return _back(job_id)


def _add_followers(pages: Blueprint, console: Console) -> None:
    """What is made from a trained network: by jobs of their own."""
    jobs = console.jobs

    def followed(of: JobDetails, steps: Sequence[str]) -> list[Job]:
        """Queue what follows a training; the last of it is what was asked for."""
        if of.job.task not in TRAININGS or of.job.output is None:
            raise JobStateError(f"job {of.job.id} is no training: it has no network")
        dataset = (of.result or {}).get("dataset") or of.settings.get("dataset")
        if not isinstance(dataset, str):
            raise RefusedError("its dataset is not known: r2d2 jobs submit predict says which one")
        queued = queue_followers(jobs, of.job, dataset, steps, g.person.name)
        g.target = str(queued[-1].id)
        return queued

    @pages.post("/jobs/<int:job_id>/predict")
    @needs(Permission.OPERATE)
    def predict(job_id: int) -> Any:
        return _back(followed(jobs.show(checked_id(job_id)), STEPS[:1])[-1].id)

    @pages.post("/jobs/<int:job_id>/evaluate")
    @needs(Permission.OPERATE)
    def evaluate(job_id: int) -> Any:
        prediction, evaluation = followed(jobs.show(checked_id(job_id)), STEPS)
        flash(f"It begins when job {prediction.id} has predicted the test cases.")
        return _back(evaluation.id)


def _reason() -> str:
    wish: Wish = validated(Wish, {"reason": request.form.get("reason", "")}, "form")
    return wish.reason


def _back(job_id: int) -> Any:
    return redirect(url_for("runs.show", job_id=job_id))
