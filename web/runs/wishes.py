"""What may be asked of a job: its end, another try, something of a run that goes on, what is made from its network."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, request, url_for

from r2d2.engine import Job, JobDetails, RunWish, Submission
from r2d2.engine.errors import JobStateError, RefusedError
from r2d2.engine.validation import validated

from ..api.models import Wish
from ..area import Console
from ..permissions import Permission, needs
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

    def submit(task: str, of: JobDetails, settings: dict[str, Any], after: tuple[int, ...] = ()) -> Job:
        name = f"{task} with {of.job.name}"[:120]
        job = jobs.submit(Submission(task=task, name=name, settings=settings, after=after), g.person.name)
        g.target = str(job.id)
        return job

    def predicted(of: JobDetails) -> tuple[Job, str]:
        """Queue a prediction of the cases for tests; gives the dataset too."""
        if of.job.task != "train" or of.job.output is None:
            raise JobStateError(f"job {of.job.id} is no training: it has no network")
        dataset = (of.result or {}).get("dataset") or of.settings.get("dataset")
        if not isinstance(dataset, str):
            raise RefusedError("its dataset is not known: r2d2 jobs submit predict says which one")
        return submit("predict", of, {"model": of.job.output, "dataset": dataset}), dataset

    @pages.post("/jobs/<int:job_id>/predict")
    @needs(Permission.OPERATE)
    def predict(job_id: int) -> Any:
        job, _ = predicted(jobs.show(checked_id(job_id)))
        return _back(job.id)

    @pages.post("/jobs/<int:job_id>/evaluate")
    @needs(Permission.OPERATE)
    def evaluate(job_id: int) -> Any:
        of = jobs.show(checked_id(job_id))
        job, dataset = predicted(of)
        settings = {"prediction": job.output, "dataset": dataset}
        flash(f"It begins when job {job.id} has predicted the cases for tests.")
        return _back(submit("evaluate", of, settings, (job.id,)).id)


def _reason() -> str:
    wish: Wish = validated(Wish, {"reason": request.form.get("reason", "")}, "form")
    return wish.reason


def _back(job_id: int) -> Any:
    return redirect(url_for("runs.show", job_id=job_id))
