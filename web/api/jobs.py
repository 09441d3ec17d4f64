"""The engine's calls as routes; each takes and gives the engine's own models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Response, g, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel
from werkzeug.exceptions import NotFound

from r2d2.engine import Change, Job, JobDetails, JobPage, Jobs, LogPart, Submission

from ..curves import curves_of_job, drawn_curves
from ..permissions import Permission, needs
from .models import Asker, ErrorAnswer, JobPath, ListQuery, LogQuery, Metrics, MetricsQuery, Wish

__all__ = ["make_api"]

_TAG = Tag(name="jobs", description="what an engine does")
_OF_BODIES = (413, 415)


def make_api(jobs: Jobs, work_root: Path) -> APIBlueprint:
    """Make the routes.

    Args:
        jobs: of the engine.
        work_root: its folder.
    """
    api = APIBlueprint("api", __name__, url_prefix="/api/v1", abp_security=[{"token": []}], abp_tags=[_TAG])
    _add_reading(api, jobs)
    _add_metrics(api, jobs, work_root)
    _add_changing(api, jobs)
    return api


def _add_reading(api: APIBlueprint, jobs: Jobs) -> None:
    @api.get("/me", summary="Say whose token this is", responses=_answers(Asker))
    @needs(Permission.READ)
    def me() -> Response:
        person = g.person
        return _given(Asker(name=person.name, role=person.user.role, scope=person.scope))

    @api.get("/jobs", summary="List jobs: filtered, sorted, a page of them", responses=_answers(JobPage))
    @needs(Permission.READ)
    def list_jobs(query: ListQuery) -> Response:
        return _given(jobs.list(query))

    @api.get("/jobs/<int:job_id>", summary="Give everything about a job", responses=_answers(JobDetails, 404))
    @needs(Permission.READ)
    def show_job(path: JobPath) -> Response:
        return _given(jobs.show(path.job_id))

    @api.get("/jobs/<int:job_id>/log", summary="Give what an attempt said", responses=_answers(LogPart, 404))
    @needs(Permission.READ)
    def read_log(path: JobPath, query: LogQuery) -> Response:
        return _given(jobs.log(path.job_id, query.attempt, query.offset))


def _add_metrics(api: APIBlueprint, jobs: Jobs, work_root: Path) -> None:
    @api.get(
        "/jobs/<int:job_id>/metrics",
        summary="Give the curves of a training: loss, learning rate and images/s by steps, validation Dice by epochs",
        responses=_answers(Metrics, 404),
    )
    @needs(Permission.READ)
    def read_metrics(path: JobPath, query: MetricsQuery) -> Response:
        job = jobs.show(path.job_id).job
        curves = curves_of_job(work_root, job, query.fold)
        if curves is None:
            raise NotFound(
                f"job {job.id} ({job.task}) has no such metrics: trainings have, and of a cross-validation each fold "
                "that has begun (fold=0 is the first)"
            )
        return Response(drawn_curves(curves, query)[0], mimetype="application/json")


def _add_changing(api: APIBlueprint, jobs: Jobs) -> None:
    @api.post("/jobs", summary="Check and queue a job", responses=_answers(Job, *_OF_BODIES, done=201))
    @needs(Permission.OPERATE)
    def submit_job(body: Submission) -> Response:
        job = jobs.submit(body, g.person.name)
        g.target = str(job.id)
        response = _given(job, 201)
        response.headers["Location"] = url_for("api.show_job", job_id=job.id)
        return response

    @api.patch(
        "/jobs/<int:job_id>",
        summary="Give a job another name, other tags, or another priority",
        responses=_answers(Job, 404, *_OF_BODIES),
    )
    @needs(Permission.OPERATE)
    def change_job(path: JobPath, body: Change) -> Response:
        return _given(jobs.change(path.job_id, body))

    @api.post(
        "/jobs/<int:job_id>/stop",
        summary="Have a training end after its step, with its best network",
        responses=_answers(Job, 404, 409, *_OF_BODIES),
    )
    @needs(Permission.OPERATE)
    def stop_job(path: JobPath, body: Wish) -> Response:
        return _given(jobs.stop(path.job_id, body.reason, g.person.name))

    @api.post(
        "/jobs/<int:job_id>/cancel",
        summary="End a job, with all its processes",
        responses=_answers(Job, 404, 409, *_OF_BODIES),
    )
    @needs(Permission.OPERATE)
    def cancel_job(path: JobPath, body: Wish) -> Response:
        return _given(jobs.cancel(path.job_id, body.reason, g.person.name))

    @api.post(
        "/jobs/<int:job_id>/resume",
        summary="Queue a job again; it goes on where it was",
        responses=_answers(Job, 404, 409),
    )
    @needs(Permission.OPERATE)
    def resume_job(path: JobPath) -> Response:
        return _given(jobs.resume(path.job_id, g.person.name))


def _answers(model: type[BaseModel], *statuses: int, done: int = 200) -> dict[Any, Any]:
    """Say what a route may answer."""
    faults = dict.fromkeys(sorted({400, 401, 403, 422, 503, *statuses}), ErrorAnswer)
    return {done: model, **faults}


def _given(model: BaseModel, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status, mimetype="application/json")
