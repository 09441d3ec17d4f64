"""A job by itself; of a training also how it comes along, its curves and its log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, render_template, request

from r2d2.curves import Course
from r2d2.engine import Job, JobDetails
from r2d2.engine.folder import ACTIVE
from r2d2.engine.validation import validated
from r2d2.monitoring.influx.words import told
from r2d2.viewing.finding import is_prediction

from ..api.models import JobPath, LogQuery
from ..area import Console, part
from ..beside import Beside
from ..curves import asked_curves, curves_of_job, drawn_curves
from ..files import is_there
from ..live import live_data, live_part
from ..permissions import Permission, needs
from .chain import chain_of
from .files import files_of
from .folds import drawn_folds, folds_of

__all__ = ["add_job", "checked_id"]

STRETCHES = 40
LARGEST_SHOWN = 100_000
RUN_FILES = (("Configuration", "config.yaml"), ("Environment", "environment.json"))


def checked_id(job_id: int) -> int:
    """Refuse a number that no job has."""
    path: JobPath = validated(JobPath, {"job_id": job_id}, "address")
    return path.job_id


def add_job(pages: Blueprint, console: Console) -> None:
    """Add the pages."""
    jobs, work_root = console.jobs, console.settings.work_root
    told_of = Beside[Path, str | None](told, None)  # of a long run that waits, all its record is read

    def sent(job: Job) -> str | None:
        """Say what of a training was sent to InfluxDB, where it was to be."""
        return told_of.get(Path(job.output))[0] if job.task == "train" and job.output is not None else None

    def shown(job_id: int) -> dict[str, Any]:
        found = jobs.show(checked_id(job_id))
        curves = curves_of_job(work_root, found.job)
        course = None if curves is None else Course.of(curves.view(most=STRETCHES))
        is_active = found.job.state in ("queued", *ACTIVE)
        return {
            "found": found,
            "job": found.job,
            "course": course,
            "is_active": is_active,
            "files": files_of(found),
            "has_cases": _has_cases(found),
            "chain": chain_of(jobs, found.job),
            "folds": folds_of(work_root, found.job),
            "past": [alert for alert in found.alerts if alert.kind != "ended"],
        }

    @pages.get("/jobs/<int:job_id>")
    @needs(Permission.READ)
    def show(job_id: int) -> str:
        names = shown(job_id)
        texts, drawn = _texts(names["found"]), drawn_folds(work_root, names["job"])
        return render_template("runs/job.html", **names, texts=texts, drawn=drawn, influx=sent(names["job"]))

    @pages.get("/jobs/<int:job_id>/part")
    @needs(Permission.READ)
    @part
    def show_part(job_id: int) -> Response:
        return live_part("runs/job_part.html", **shown(job_id))

    @pages.get("/jobs/<int:job_id>/details")
    @needs(Permission.READ)
    @part
    def details_part(job_id: int) -> Response:
        names = shown(job_id)
        texts, influx = _texts(names["found"]), sent(names["job"])
        return live_part("runs/details_part.html", **names, texts=texts, influx=influx)

    @pages.get("/jobs/<int:job_id>/curves")
    @needs(Permission.READ)
    @part
    def curves(job_id: int) -> Response:
        job, query = jobs.show(checked_id(job_id)).job, asked_curves(request.args)
        return live_data(*drawn_curves(curves_of_job(work_root, job, query.fold), query))

    @pages.get("/jobs/<int:job_id>/folds")
    @needs(Permission.READ)
    @part
    def folds(job_id: int) -> Response:
        return live_data({"runs": drawn_folds(work_root, jobs.show(checked_id(job_id)).job)})

    @pages.get("/jobs/<int:job_id>/log")
    @needs(Permission.READ)
    @part
    def log(job_id: int) -> Response:
        asked: LogQuery = validated(LogQuery, request.args.to_dict(), "address")
        return live_data(jobs.log(checked_id(job_id), asked.attempt, asked.offset).model_dump())


def _has_cases(found: JobDetails) -> bool:
    """Whether a job made label maps, or judged some, whose cases can be looked at."""
    task, output = found.job.task, found.job.output
    folder = {"predict": output, "evaluate": found.settings.get("prediction")}.get(task)
    return folder is not None and is_prediction(Path(folder))


def _texts(found: JobDetails) -> list[tuple[str, str]]:
    """Give what was asked for, and what a run has written of its settings and its machine."""
    texts = [("Settings as submitted", json.dumps(found.settings, indent=1, ensure_ascii=False))]
    if found.job.task != "train" or found.job.output is None:
        return texts
    for title, name in RUN_FILES:
        path = Path(found.job.output, name)
        if not is_there(path):
            continue  # the run has not begun, or it is a link
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                texts.append((title, file.read(LARGEST_SHOWN)))
        except OSError:
            continue  # gone meanwhile
    return texts
