"""What is recorded of a run's machines, how often, and where it is sent."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from r2d2.monitoring.addresses import address_fault, is_overheard

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
    influx_url: str | None = Field(
        default=None,
        description="InfluxDB 2 server that gets all of it, such as https://influx.example:8086; null: none",
    )
    influx_org: str = Field(default="r2d2", min_length=1, description="organisation there")
    influx_bucket: str = Field(default="r2d2", min_length=1, description="bucket there")
    influx_token_file: Path | None = Field(
        default=None,
        description="file with the token that may write there, which nobody else may read (mode 0600); null: that of "
        "the variable R2D2_INFLUX_TOKEN_FILE, else no token",
    )
    influx_insecure: bool = Field(
        default=False, description="send to another host without TLS too: the token can be overheard"
    )
    influx_interval_s: float = Field(default=5.0, ge=0.1, le=3600, description="seconds between two sendings")

    alert_silent_s: float = Field(
        default=60.0, ge=1, le=86400, description="seconds without a word from a worker after which there is an alert"
    )
    alert_memory_percent: float = Field(
        default=90.0, gt=0, le=100, description="alert where a host's memory, or that of its cgroup, is as full as that"
    )
    alert_disk_free_gib: float = Field(
        default=2.0, ge=0, description="alert where less is free on the disk of the run folder, in GiB"
    )
    alert_plateau_epochs: int = Field(
        default=20, ge=1, description="alert after so many epochs without a better validation Dice"
    )

    @field_validator("influx_url")
    @classmethod
    def _url_is_of_a_server(cls, value: str | None) -> str | None:
        if value is None:
            return None
        secret = "put a token into influx_token_file"
        fault = address_fault(value, "influx_url", "https://influx.example:8086", secret)
        if fault is not None:
            raise ValueError(fault)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _token_travels_unheard(self) -> MonitoringSettings:
        if self.influx_url is not None and not self.influx_insecure and is_overheard(self.influx_url):
            raise ValueError(
                f"influx_url {self.influx_url} sends the token to another host in clear text; use https://, or "
                "influx_insecure true where the network is trusted"
            )
        return self

    @model_validator(mode="after")
    def _what_is_sent_is_recorded(self) -> MonitoringSettings:
        if self.influx_url is not None and not self.enabled:
            raise ValueError("influx_url sends what is recorded, and enabled=false records nothing; leave one of them")
        return self
