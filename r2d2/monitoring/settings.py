"""What is recorded of a run's machines, and how often."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["MonitoringSettings"]


class MonitoringSettings(BaseModel):
    """How closely a run is watched; nothing of it changes what is learned.

    >>> MonitoringSettings().host_interval_s
    1.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="record hosts, workers and GPUs in monitoring/ of the run folder")
    host_interval_s: float = Field(
        default=1.0, ge=0.1, le=3600, description="seconds between two looks at host and workers"
    )
    gpu_interval_s: float = Field(default=5.0, ge=0.1, le=3600, description="seconds between two looks at GPUs")
