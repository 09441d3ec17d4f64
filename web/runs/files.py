"""What a job has made, to be taken away or looked at."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, stream_with_context

from r2d2.curves import RunCurves
from r2d2.curves.run_curves import VALUES
from r2d2.engine import JobDetails

from ..area import Console, part
from ..curves import curves_of_job
from ..files import is_there, send_download, send_report
from ..permissions import Permission, needs
from ..places import Places

__all__ = ["add_files", "files_of"]

_OF_TASKS: dict[str, tuple[str, ...]] = {
    "train": ("model.keras", "model.json", "config.yaml", "environment.json"),
    "evaluate": ("summary.json", "cases.csv"),
    "compare": ("comparison.json", "comparison.csv"),
    "choose": ("choice.json",),
}
"""Names in a task's own folder that may be downloaded."""

ROWS_AT_ONCE = 2000


def files_of(found: JobDetails) -> dict[str, Path]:
    """Give what there is to download, by name; the report is not among it."""
    if found.job.output is None:
        return {}
    folder = Path(found.job.output)
    names = _OF_TASKS.get(found.job.task, ())
    return {name: folder / name for name in names if is_there(folder / name)}


def add_files(pages: Blueprint, console: Console) -> None:
    """Add the routes."""
    jobs, work_root, places = console.jobs, console.settings.work_root, Places(console)

    @pages.get("/jobs/<int:job_id>/files/<name>")
    @needs(Permission.READ)
    @part
    def download(job_id: int, name: str) -> Response:
        path = files_of(jobs.show(job_id)).get(name)
        if path is None:
            abort(404)
        return send_download(path, f"job-{job_id}-{name}")

    @pages.get("/jobs/<int:job_id>/report")
    @needs(Permission.READ)
    @part
    def report(job_id: int) -> Response:
        found = (jobs.show(job_id).result or {}).get("report")
        if not isinstance(found, str):
            abort(404)
        places.check([Path(found)])
        return send_report(Path(found))

    @pages.get("/jobs/<int:job_id>/steps.csv")
    @needs(Permission.READ)
    @part
    def steps(job_id: int) -> Response:
        curves = _curves(job_id)
        return _table(job_id, "steps", _steps(curves))

    @pages.get("/jobs/<int:job_id>/epochs.csv")
    @needs(Permission.READ)
    @part
    def epochs(job_id: int) -> Response:
        return _table(job_id, "epochs", _epochs(_curves(job_id)))

    def _curves(job_id: int) -> RunCurves:
        found = curves_of_job(work_root, jobs.show(job_id).job)
        if found is None:
            abort(404)
        return found


def _steps(curves: RunCurves) -> Iterator[Iterable[Any]]:
    while curves.view(most=4).is_behind:
        continue
    yield ("step", *VALUES)
    for step, *values in curves.steps():
        yield (int(step), *values)


def _epochs(curves: RunCurves) -> Iterator[Iterable[Any]]:
    while (view := curves.view(most=4)).is_behind:
        continue
    labels = list(dict.fromkeys(label for epoch in view.epochs for label in epoch.validation_dice_per_label))
    figures = ("learning_rate", "images_per_second", "seconds", "validation_seconds")
    yield ("epoch", "step", "loss", "validation_dice", *(f"validation_dice {label}" for label in labels), *figures)
    for one in view.epochs:
        dice = (one.validation_dice_per_label.get(label) for label in labels)
        rest = (getattr(one, name) for name in figures)
        yield (one.epoch, one.step, one.loss, one.validation_dice, *dice, *rest)


def _table(job_id: int, name: str, rows: Iterator[Iterable[Any]]) -> Response:
    """Send rows as CSV, as they are read."""

    def written() -> Iterator[str]:
        text = io.StringIO()
        writer = csv.writer(text)
        for number, row in enumerate(rows, 1):
            writer.writerow("" if value is None else value for value in row)
            if number % ROWS_AT_ONCE == 0:
                yield text.getvalue()
                text.seek(0)
                text.truncate()
        yield text.getvalue()

    response = Response(stream_with_context(written()), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="job-{job_id}-{name}.csv"'
    return response
