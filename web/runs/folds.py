"""The folds of a cross-validation, as the page of its job shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import url_for

from r2d2.curves.folds import FoldCourse, fold_courses, fold_curves
from r2d2.engine import Job
from r2d2.engine.folder import ACTIVE

from ..curves import folder_of_folds

__all__ = ["drawn_folds", "folds_of"]

POINTS = 400


def folds_of(work_root: Path, job: Job) -> list[FoldCourse]:
    """Say how far the folds of a cross-validation are; of other jobs none."""
    folders = folder_of_folds(work_root, job)
    return [] if folders is None else fold_courses(*folders)


def drawn_folds(work_root: Path, job: Job) -> list[dict[str, Any]]:
    """Give what the script that draws curves over each other needs to know of each fold."""
    folders = folder_of_folds(work_root, job)
    is_active = job.state in ("queued", *ACTIVE)
    return [
        {
            "called": f"fold {number}",
            "name": "",
            "page": "",
            "url": url_for("runs.curves", job_id=job.id, fold=number, most=POINTS),
            "isActive": is_active,
        }
        for number in ([] if folders is None else fold_curves(*folders))
    ]
