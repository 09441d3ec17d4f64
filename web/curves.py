"""The curves of a training as JSON, for as many points as its page can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from r2d2.curves import CurveView, RunCurves
from r2d2.curves.folds import fold_curves
from r2d2.curves.run_curves import VALUES
from r2d2.engine import Job
from r2d2.engine.folder import ACTIVE, JobFolder
from r2d2.engine.validation import validated

__all__ = ["CurveQuery", "asked_curves", "curves_of_job", "drawn_curves", "folder_of_folds"]

FRESH_S = 2.0
"""Of a training that runs, curves are read again after so long."""


class CurveQuery(BaseModel):
    """Which steps are looked at, and how closely."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: float = Field(default=0, ge=0, description="first step")
    last: float = Field(default=2.0**62, ge=0, description="last step")
    most: int = Field(default=800, ge=4, le=2000, description="points at most")
    fold: int | None = Field(default=None, ge=0, le=999, description="of a cross-validation, whose curves")


def curves_of_job(work_root: Path, job: Job, fold: int | None = None) -> RunCurves | None:
    """Give the curves of a training, or of a fold of a cross-validation; None: there are none."""
    if fold is not None:
        folds = folder_of_folds(work_root, job)
        return None if folds is None else fold_curves(*folds).get(fold)
    if job.task != "train" or job.output is None:
        return None
    fresh_s = FRESH_S if job.state in ACTIVE else 0.0
    return RunCurves(Path(job.output), JobFolder(work_root / "jobs" / str(job.id)).curves, fresh_s=fresh_s)


def folder_of_folds(work_root: Path, job: Job) -> tuple[Path, Path] | None:
    """Give where the folds of a cross-validation lie, and where their curves are kept; None: the job is none."""
    if job.task != "cross-validate" or job.output is None:
        return None
    return Path(job.output), JobFolder(work_root / "jobs" / str(job.id)).curves


def asked_curves(asked: Mapping[str, str]) -> CurveQuery:
    """Read what an address asks for.

    Raises:
        RefusedError: fields that cannot be.
    """
    query: CurveQuery = validated(CurveQuery, dict(asked), "address")
    return query


def drawn_curves(curves: RunCurves | None, query: CurveQuery) -> tuple[str, str]:
    """Give what a page draws, as JSON, and a word that changes with it.

    Args:
        curves: of a training; None: there are none.
        query: which part of them.
    """
    if curves is None:
        return '{"steps":null}', "none"
    view = curves.view(query.first, query.last, query.most)
    return _text(view, query.most), view.version


_JSON = TypeAdapter[Any](Any)


@lru_cache(maxsize=64)
def _text(view: CurveView, most: int) -> str:
    return _JSON.dump_json(_content(view, most)).decode()  # six times as fast as the standard library's


def _content(view: CurveView, most: int) -> dict[str, Any]:
    """Write what a page draws: for each series columns of the same length, nothing where there is no number."""
    steps: dict[str, Any] = {"step": _numbers(view.steps.last)}
    for at, name in enumerate(VALUES):
        steps[name] = {
            kind: _numbers(values[:, at])
            for kind, values in (
                ("least", view.steps.least),
                ("largest", view.steps.largest),
                ("mean", view.steps.mean),
            )
        }
    chosen = view.chosen_epochs(most)
    labels = list(dict.fromkeys(label for epoch in chosen for label in epoch.validation_dice_per_label))
    epochs = {
        "epoch": [epoch.epoch for epoch in chosen],
        "step": [epoch.step for epoch in chosen],
        "loss": _numbers(epoch.loss for epoch in chosen),
        "dice": _numbers(epoch.validation_dice for epoch in chosen),
        "dice_per_label": {
            label: _numbers(epoch.validation_dice_per_label.get(label) for epoch in chosen) for label in labels
        },
    }
    return {
        "is_behind": view.is_behind,
        "last_step": view.last_step,
        "total_steps": None if view.running is None else view.running.epochs * view.running.steps_per_epoch,
        "steps_per_epoch": None if view.running is None else view.running.steps_per_epoch,
        "steps": steps,
        "epochs": epochs,
        "marks": [{"step": mark.step, "kind": mark.kind, "text": mark.text} for mark in view.marks],
    }


def _numbers(values: Iterable[float | None]) -> list[float | None]:
    """Give numbers as JSON has them, to seven digits; no number for none, and for what is not finite.

    >>> _numbers([0.123456789, None, float("inf"), -1234567.89, 0.0])
    [0.1234568, None, None, -1234568.0, 0.0]
    """
    numbers = np.asarray(values if isinstance(values, np.ndarray) else list(values), float)
    is_number = np.isfinite(numbers) & (numbers != 0)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    exponent = np.floor(np.log10(np.abs(numbers, where=is_number, out=np.ones_like(numbers))))
    scale = 10.0 ** (6 - exponent.clip(-290, 290))
    rounded: list[float | None] = np.divide(np.round(numbers * scale), scale).tolist()
    return rounded if not np.isnan(numbers).any() else [None if number != number else number for number in rounded]
