"""Requests to the engine and its answers: frozen models that a socket, a REST API and a page share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from dist_training.record.states import State
from r2d2.monitoring.alerts.alert import Alert

__all__ = [
    "Attempt",
    "Change",
    "CheckedSubmission",
    "Job",
    "JobDetails",
    "JobPage",
    "JobQuery",
    "LogPart",
    "Progress",
    "Rebuilt",
    "RunWish",
    "SortKey",
    "State",
    "Submission",
]

_STRICT = ConfigDict(frozen=True, extra="forbid")
LONGEST_LOG_PART = 262_144

Tag = Annotated[str, StringConstraints(pattern=r"^[\w.:-]{1,40}$")]
Id = Annotated[int, Field(ge=1, le=2**62)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)]
SortKey = Literal["id", "name", "task", "state", "priority", "submitted_at", "started_at", "ended_at"]


class Submission(BaseModel):
    """A job to be done.

    >>> Submission(task="prepare", settings={"source": "Task04_Hippocampus"}, tags=["mri"]).max_retries
    1
    """

    model_config = _STRICT

    task: str = Field(max_length=200, description="what is to be done, such as train")
    settings: dict[str, Any] = Field(default_factory=dict, description="fields of the task's settings")
    name: Name = Field(default="", description="for people; none: the task's")
    tags: tuple[Tag, ...] = Field(default=(), max_length=20, description="words to find it by")
    priority: int = Field(default=0, ge=-1000, le=1000, description="higher begins first; alike: as they came")
    after: tuple[Id, ...] = Field(default=(), max_length=100, description="jobs that must have succeeded before")
    max_retries: int = Field(
        default=1, ge=0, le=20, description="times that it is tried again, had it lost a worker or its supervisor"
    )


class CheckedSubmission(BaseModel):
    """What is known of a job before it is submitted."""

    model_config = ConfigDict(frozen=True)

    workers: int = Field(description="processes that it would have at work")
    warnings: tuple[str, ...] = Field(default=(), description="what may surprise")


class Change(BaseModel):
    """What may be changed of a job; null: stays."""

    model_config = _STRICT

    name: Name | None = Field(default=None, description="for people")
    tags: tuple[Tag, ...] | None = Field(default=None, max_length=20, description="words to find it by")
    priority: int | None = Field(default=None, ge=-1000, le=1000, description="higher begins first")


class RunWish(BaseModel):
    """What a training is to do at its next step, going on.

    >>> RunWish(request="learning-rate", learning_rate=1e-4).reason
    ''
    """

    model_config = _STRICT

    request: Literal["checkpoint", "learning-rate", "profile"] = Field(
        description="write a checkpoint, take another rate, or trace a few steps"
    )
    learning_rate: float | None = Field(default=None, ge=1e-30, le=1e6, description="of the steps to come")
    reason: str = Field(default="", max_length=500, description="for the record")

    @model_validator(mode="after")
    def _has_its_rate(self) -> RunWish:
        if (self.request == "learning-rate") != (self.learning_rate is not None):
            raise ValueError("learning_rate goes with the request learning-rate, and with no other")
        return self


class JobQuery(BaseModel):
    """Which jobs are listed, in which order.

    >>> JobQuery(states=["running"], tags=["mri"]).limit
    50
    """

    model_config = _STRICT

    states: tuple[State, ...] = Field(default=(), description="any of these; none: all")
    tasks: tuple[str, ...] = Field(default=(), description="any of these; none: all")
    tags: tuple[Tag, ...] = Field(default=(), description="all of these")
    text: str = Field(default="", max_length=120, description="part of the name")
    after: tuple[Id, ...] = Field(default=(), max_length=20, description="those after any of these; none: all")
    sort: SortKey = Field(default="id", description="what they are sorted by")
    descending: bool = Field(default=True, description="the highest, or latest, first")
    limit: int = Field(default=50, ge=1, le=1000, description="jobs on a page")
    offset: int = Field(default=0, ge=0, le=2**62, description="jobs before this page")


class Progress(BaseModel):
    """How far a job is."""

    model_config = ConfigDict(frozen=True)

    stage: str
    done: int
    total: int


class Job(BaseModel):
    """A job as a list shows it; times are seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    id: int
    task: str
    name: str
    state: State
    reason: str | None = Field(default=None, description="why it ended so, or what it waits for")
    tags: tuple[str, ...] = ()
    priority: int = 0
    after: tuple[int, ...] = ()
    workers: int = Field(default=1, description="processes that it has at work")
    by: str = Field(default="", description="who submitted it")
    submitted_at: float
    started_at: float | None = Field(default=None, description="when its last attempt began")
    ended_at: float | None = None
    attempt: int = Field(default=1, description="number of the last attempt")
    max_retries: int = 0
    output: str | None = Field(default=None, description="folder that it fills")
    uses: tuple[str, ...] = Field(
        default=(), description="folders of --data-root that it uses, itself or by what other jobs made of them"
    )
    progress: Progress | None = None
    alerts: tuple[Alert, ...] = Field(default=(), description="what is wrong with it now")


class Attempt(BaseModel):
    """One attempt at a job."""

    model_config = ConfigDict(frozen=True)

    number: int
    why: str = Field(description="submitted, resumed or retry")
    by: str
    state: State
    reason: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    supervisor: dict[str, Any] | None = Field(default=None, description="host, pid, start_ticks, boot_id")


class JobDetails(BaseModel):
    """Everything about a job."""

    model_config = ConfigDict(frozen=True)

    job: Job
    settings: dict[str, Any]
    warnings: tuple[str, ...] = ()
    result: dict[str, Any] | None = None
    attempts: tuple[Attempt, ...] = ()
    alerts: tuple[Alert, ...] = Field(default=(), description="all that were raised, the first one first")
    folder: str


class JobPage(BaseModel):
    """A part of a list of jobs, and how many there are in all."""

    model_config = ConfigDict(frozen=True)

    jobs: tuple[Job, ...]
    total: int
    limit: int
    offset: int


class LogPart(BaseModel):
    """A part of what a job said."""

    model_config = ConfigDict(frozen=True)

    text: str
    offset: int = Field(description="where the next part begins")
    attempt: int
    is_last: bool = Field(description="whether the attempt has ended, and nothing comes after this part")


class Rebuilt(BaseModel):
    """An index made anew."""

    model_config = ConfigDict(frozen=True)

    jobs: int
    left_out: tuple[str, ...] = Field(default=(), description="a sentence for each folder that could not be read")
