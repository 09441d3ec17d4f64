"""The folds of a cross-validation, each a run of its own: their curves, and how far each has come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dist_training.record.run_folder import RunFolder
from dist_training.record.states import State
from r2d2.curves.course import Course
from r2d2.curves.run_curves import RunCurves

__all__ = ["FoldCourse", "fold_courses", "fold_curves"]

STRETCHES = 40
_FOLDER = re.compile(r"fold-(0|[1-9][0-9]{0,2})")


@dataclass(frozen=True)
class FoldCourse:
    """A fold that has begun.

    Attributes:
        number: from 0.
        state: how its training ended; None: it has not.
        course: how it comes along; None: it does not train yet.
        best_per_label: validation Dice of each label at the epoch of the best one.
    """

    number: int
    state: State | None
    course: Course | None
    best_per_label: Mapping[str, float]


def fold_curves(folder: Path, kept: Path) -> dict[int, RunCurves]:
    """Give the curves of each fold that has begun, by its number.

    Args:
        folder: of the cross-validation; links in it are no folds.
        kept: what is made from the runs is kept below it.
    """
    runs = {int(found[1]): run for run in folder.glob("fold-*") if (found := _FOLDER.fullmatch(run.name))}
    return {
        fold: RunCurves(run, kept / run.name)
        for fold, run in sorted(runs.items())
        if run.is_dir() and not run.is_symlink()
    }


def fold_courses(folder: Path, kept: Path) -> list[FoldCourse]:
    """Say how far each fold is that has begun; arguments as of `fold_curves`."""
    return [_course(folder, number, curves) for number, curves in fold_curves(folder, kept).items()]


def _course(folder: Path, number: int, curves: RunCurves) -> FoldCourse:
    view = curves.view(most=STRETCHES)
    course, end = Course.of(view), RunFolder(folder / f"fold-{number}").read_exit()
    best = None if course is None else course.best_epoch
    labels = next((one.validation_dice_per_label for one in view.epochs if one.epoch == best), {})
    scored = {name: dice for name, dice in labels.items() if dice is not None}
    return FoldCourse(number, None if end is None else end.state, course, scored)
