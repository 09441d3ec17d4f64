"""Sample predictions of a training: which slices and epochs there are, and pictures of them, which no browser keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, request
from pydantic import BaseModel, ConfigDict, Field

from r2d2.curves import Course, CurveView
from r2d2.engine import Job
from r2d2.engine.folder import ACTIVE
from r2d2.engine.validation import validated
from r2d2.errors import R2D2Error
from r2d2.reports.palette import colours_of
from r2d2.viewing.samples import SAMPLE_LAYERS, sample_picture, samples_of, why_no_samples

from ..api.models import JobPath
from ..area import Console, part
from ..curves import curves_of_job
from ..files import is_there
from ..live import live_data
from ..permissions import Permission, needs

__all__ = ["add_samples"]


class PictureQuery(BaseModel):
    """Which epoch's prediction, over which channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = Field(default=1, ge=1, lt=10**9, description="from 1")
    channel: int = Field(default=0, ge=0, lt=10**6, description="from 0")


def add_samples(pages: Blueprint, console: Console) -> None:
    """Add the routes."""
    jobs, work_root = console.jobs, console.settings.work_root

    @pages.get("/jobs/<int:job_id>/samples")
    @needs(Permission.READ)
    @part
    def samples(job_id: int) -> Response:
        job = jobs.show(_checked(job_id)).job
        curves = curves_of_job(work_root, job)
        return live_data(_content(job, None if curves is None else curves.view(most=4)))

    @pages.get("/jobs/<int:job_id>/samples/<int:place>/<layer>.png")
    @needs(Permission.READ)
    @part
    def sample(job_id: int, place: int, layer: str) -> Response:
        job = jobs.show(_checked(job_id)).job
        asked: PictureQuery = validated(PictureQuery, request.args.to_dict(), "address")
        found = next((known for known in SAMPLE_LAYERS if known == layer), None)
        if found is None or not _has_samples(job, asked.epoch if layer == "prediction" else None):
            abort(404)
        try:
            picture = sample_picture(
                samples_of(Path(job.output or "")), place, found, epoch=asked.epoch, channel=asked.channel
            )
        except R2D2Error:
            abort(404)  # another epoch has taken its place meanwhile, or it is damaged
        return Response(picture, mimetype="image/png")


def _checked(job_id: int) -> int:
    path: JobPath = validated(JobPath, {"job_id": job_id}, "address")
    return path.job_id


def _has_samples(job: Job, epoch: int | None = None) -> bool:
    """Whether there are slices, and label maps of an epoch; no links are followed."""
    if job.task != "train" or job.output is None:
        return False
    samples = samples_of(Path(job.output))
    files = [samples.slices, *([] if epoch is None else [samples.epoch_file(epoch)])]
    return not samples.path.is_symlink() and all(map(is_there, files))


def _content(job: Job, view: CurveView | None) -> dict[str, Any]:
    epochs: tuple[int, ...] = ()
    try:
        if _has_samples(job):
            samples = samples_of(Path(job.output or ""))
            epochs, described = samples.epochs(), samples.read_description()
    except R2D2Error:
        return {"note": "They cannot be shown: their files are damaged.", "epochs": []}
    if not epochs:
        return {"note": _why_none(job, view), "epochs": []}
    course = None if view is None else Course.of(view)
    dice = {} if view is None else {epoch.epoch: epoch.validation_dice for epoch in view.epochs}
    return {
        "note": "",
        "epochs": [{"epoch": epoch, "dice": dice.get(epoch)} for epoch in epochs],
        "best": None if course is None else course.best_epoch,
        "slices": [f"Slice {one.number + 1} of {one.of} of {one.case_id}" for one in described.slices],
        "channels": [] if all(one.is_picture for one in described.slices) else list(described.channels),
        "labels": colours_of(name for name, value in described.labels.items() if value != 0),
    }


def _why_none(job: Job, view: CurveView | None) -> str:
    config = Path(job.output, "config.yaml") if job.output is not None else None
    running = None if view is None else view.running
    return why_no_samples(
        config if config is not None and is_there(config) else None,
        validation_slices=None if running is None else running.validation_slices,
        is_active=job.state in ("queued", *ACTIVE),
    )
