"""What the API takes and gives besides the engine's own models."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from r2d2.engine import JobQuery

from ..permissions import Role, Scope

__all__ = ["Asker", "ErrorAnswer", "ErrorDetails", "Fault", "JobPath", "ListQuery", "LogQuery", "Wish"]

_STRICT = ConfigDict(frozen=True, extra="forbid")


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
