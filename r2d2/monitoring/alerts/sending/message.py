"""What is sent of an alert: by the same words to programs and people."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from r2d2.monitoring.alerts.alert import Alert, Kind, Severity

__all__ = ["Message", "NotTakenError", "message_of"]


class Message(BaseModel):
    """An alert of a job, as a webhook gets it."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    id: str = Field(description="tells it from any other; a message that comes twice has the same")
    job: int = Field(description="number of the job")
    task: str = Field(description="what it does")
    kind: Kind
    subject: str
    severity: Severity
    since: float = Field(description="seconds since 1970")
    message: str
    advice: str
    link: str | None = Field(default=None, description="page of the job in the console")
    text: str = Field(description="all of it in a line, where chats look for it")


class NotTakenError(Exception):
    """A message that a server did not take.

    Args:
        message: why, without secrets.
        is_final: whether it will not take it later either.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


def message_of(job: int, task: str, alert: Alert, console: str | None) -> Message:
    """Say an alert; neither the job's name, its reason nor any path is in it, as names of patients may stand there.

    Args:
        job: its number.
        task: what it does.
        alert: that was raised.
        console: its address.
    """
    parts = [f"R2D2 job {job} ({task}), {alert.severity}: {alert.message}", alert.advice]
    return Message(
        id=f"{job}/{alert.id}",
        job=job,
        task=task,
        kind=alert.kind,
        subject=alert.subject,
        severity=alert.severity,
        since=alert.since,
        message=alert.message,
        advice=alert.advice,
        link=None if console is None else f"{console.rstrip('/')}/jobs/{job}",
        text=" ".join(part for part in parts if part),
    )
