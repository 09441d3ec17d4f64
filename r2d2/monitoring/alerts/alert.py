"""An alert: one thing that is wrong, raised once while it lasts. Made of numbers, ranks and hosts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["KINDS", "Alert", "Finding", "Kind", "Severity"]

Kind = Literal["divergence", "silent", "lagging", "memory", "disk", "gpu_idle", "plateau", "ended"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Severity = Literal["info", "warning", "critical"]
"""``critical``: the run is lost, or soon will be; ``warning``: time or machines are wasted; ``info``: to be known."""


@dataclass(frozen=True)
class Finding:
    """What a rule finds at a moment.

    Attributes:
        kind: of the rule.
        severity: how bad it is.
        message: what is so, in a sentence.
        advice: what to do.
        subject: what it is about: a rank, a host, a GPU, a fold; empty: the run.
    """

    kind: Kind
    severity: Severity
    message: str
    advice: str
    subject: str = ""


class Alert(BaseModel):
    """A finding that was raised; times are seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="tells it from any other of the job")
    kind: Kind = Field(description="what is wrong")
    subject: str = Field(default="", description="a worker, host, GPU or fold; empty: the job")
    severity: Severity = Field(description="how bad it is")
    since: float = Field(description="when it was found first")
    message: str = Field(description="what is so")
    advice: str = Field(default="", description="what to do")
    resolved_at: float | None = Field(default=None, description="when it was over; null: it lasts")

    @property
    def is_open(self) -> bool:
        """Whether it lasts."""
        return self.resolved_at is None
