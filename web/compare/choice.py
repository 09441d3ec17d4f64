"""Which jobs are to be compared, and what of each there is to compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import Forbidden

from r2d2.engine import Job, Jobs
from r2d2.engine.errors import JobStateError, UnknownJobError

__all__ = ["COMPARED", "MOST", "Asked", "Chosen", "chosen"]

MOST = 12
PREDICTION = "prediction.json"
COMPARED = ("train", "cross-validate", "evaluate")
"""Tasks that leave something to compare."""


class Asked(BaseModel):
    """What the address of the page says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job: tuple[Annotated[int, Field(ge=1, le=2**62)], ...] = Field(default=(), max_length=MOST)
    metric: tuple[str, ...] = Field(default=(), max_length=20)
    unmatched: Literal["error", "leave_out"] = "error"
    add: bool = Field(default=False, description="whether what may be added is listed")
    text: str = Field(default="", max_length=120, description="part of the name of a job to be added")


@dataclass(frozen=True)
class Chosen:
    """A job that is compared.

    Attributes:
        id: its number.
        job: None: it cannot be shown.
        run: folder of its run; None: it has none.
        evaluation: folder of its evaluation; None: it has none.
        best_dice: of its run, on the validation cases.
        model: network that made what it evaluates, as the predictions say.
        fault: why nothing of it can be compared.
    """

    id: int
    job: Job | None = None
    run: Path | None = None
    evaluation: Path | None = None
    best_dice: float | None = None
    model: str | None = None
    fault: str | None = None


def chosen(jobs: Jobs, ids: Sequence[int]) -> list[Chosen]:
    """Look at jobs; one that cannot be compared says why.

    Args:
        jobs: of the engine.
        ids: their numbers; each is taken once.
    """
    return [_chosen(jobs, job_id) for job_id in dict.fromkeys(ids)]


def _chosen(jobs: Jobs, job_id: int) -> Chosen:
    try:
        found = jobs.show(job_id)
    except (UnknownJobError, JobStateError) as error:
        return Chosen(job_id, fault=str(error))
    except Forbidden as error:
        return Chosen(job_id, fault=error.description)
    job = found.job
    if job.task not in COMPARED or job.output is None:
        return Chosen(job_id, job, fault=f"the task {job.task} leaves neither curves nor scores to compare")
    output = Path(job.output)
    if job.task == "train":
        best = (found.result or {}).get("best_dice")
        if not (output / "config.yaml").exists():
            return Chosen(job_id, job, fault=_not_yet(job, "it has written no settings and no curves"))
        return Chosen(job_id, job, run=output, best_dice=best if isinstance(best, int | float) else None)
    folder = output / "evaluation" if job.task == "cross-validate" else output
    if not (folder / "summary.json").exists():
        return Chosen(job_id, job, fault=_not_yet(job, "it has written no scores"))
    return Chosen(job_id, job, evaluation=folder, model=_model(found.settings.get("prediction"), Path(found.folder)))


def _not_yet(job: Job, what: str) -> str:
    return f"{what}: it is {job.state.replace('_', ' ')}"


def _model(prediction: object, job_folder: Path) -> str | None:
    """Read which network made predictions, by its name or its job; None: they do not say."""
    if not isinstance(prediction, str):
        return None
    folder = Path(prediction)
    try:
        content = json.loads(((folder if folder.is_dir() else folder.parent) / PREDICTION).read_bytes())
    except (OSError, ValueError):
        return None
    model = content.get("zoo_name") or content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, str):
        return None
    jobs = str(job_folder.parent)
    return f"job {Path(model).relative_to(jobs).parts[0]}" if Path(model).is_relative_to(jobs) else model
