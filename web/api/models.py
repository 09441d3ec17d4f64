"""What the API takes and gives besides the engine's own models."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from r2d2.engine import JobQuery

from ..curves import CurveQuery
from ..permissions import Role, Scope

__all__ = [
    "Asker",
    "ErrorAnswer",
    "ErrorDetails",
    "Fault",
    "JobPath",
    "ListQuery",
    "LogQuery",
    "Metrics",
    "MetricsQuery",
    "Wish",
]

_STRICT = ConfigDict(frozen=True, extra="forbid")
_Numbers = list[float | None]


@cache
def _schema_of(make: Callable[..., dict[str, Any]], told: tuple[Any, ...], more: tuple[Any, ...]) -> dict[str, Any]:
    return make(*told, **dict(more))


class _SchemaOnce(BaseModel):
    """A model whose schema is made once: flask-openapi3 asks for it at each route, and at each request with a query."""

    @classmethod
    def model_json_schema(cls, *told: Any, **more: Any) -> dict[str, Any]:
        """Give the schema."""
        return _schema_of(super().model_json_schema, told, tuple(more.items()))


class ListQuery(JobQuery, _SchemaOnce):
    """Which jobs are listed, in which order."""


class JobPath(BaseModel):
    """Which job."""

    model_config = ConfigDict(frozen=True)

    job_id: int = Field(ge=1, le=2**62, description="number of the job")


class LogQuery(_SchemaOnce):
    """Which part of a log."""

    model_config = _STRICT

    attempt: int | None = Field(default=None, ge=1, le=2**31, description="which attempt; none: the last one")
    offset: int = Field(default=0, ge=0, le=2**62, description="byte at which the part begins")


class MetricsQuery(CurveQuery, _SchemaOnce):
    """Which steps of which training."""


class Stretches(BaseModel):
    """A value over stretches of steps; null where there is no finite number."""

    model_config = _STRICT

    least: _Numbers
    largest: _Numbers
    mean: _Numbers


class StepMetrics(BaseModel):
    """Columns of the same length: a row for each step, or for each stretch of steps where they are more than `most`."""

    model_config = _STRICT

    step: _Numbers = Field(description="the last step of each stretch")
    loss: Stretches
    learning_rate: Stretches
    images_per_second: Stretches = Field(description="of rank 0")


class EpochMetrics(BaseModel):
    """Columns of the same length: a row for each epoch, of very many some."""

    model_config = _STRICT

    epoch: list[int] = Field(description="from 1")
    step: list[int] = Field(description="its last one")
    loss: _Numbers
    dice: _Numbers = Field(description="of the validation cases, mean of the labels")
    dice_per_label: dict[str, _Numbers]


class MetricsMark(BaseModel):
    """Something that happened at a step."""

    model_config = _STRICT

    step: int
    kind: str = Field(description="checkpoint, request, stopping, restart or ended")
    text: str


class Metrics(_SchemaOnce):
    """The course of a training."""

    model_config = _STRICT

    is_behind: bool = Field(description="whether there is more, which was not read yet: ask again")
    last_step: int = Field(description="steps done")
    total_steps: int | None = Field(description="steps that it will have; null: it has not begun")
    steps_per_epoch: int | None
    steps: StepMetrics
    epochs: EpochMetrics
    marks: list[MetricsMark]


class Wish(BaseModel):
    """Why a job is to end."""

    model_config = _STRICT

    reason: str = Field(default="", max_length=500, description="for the record")


class Fault(BaseModel):
    """One thing that is wrong with what was sent."""

    key: str = Field(description="where, such as settings.training.epochs; empty: in the whole")
    message: str


class ErrorDetails(BaseModel):
    """What is wrong."""

    kind: str = Field(description="a word for programs, such as refused, state or unknown_job")
    message: str = Field(description="for people")
    faults: list[Fault] = Field(description="every fault at its key, where settings have such")
    exit_code: int = Field(description="what the command line would exit with")


class ErrorAnswer(_SchemaOnce):
    """The one shape of all errors."""

    error: ErrorDetails


class Asker(BaseModel):
    """Whose token was sent."""

    name: str
    role: Role
    scope: Scope
