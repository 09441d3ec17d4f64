"""Where the figures of a run are sent: a server that may be reached, and the token that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from r2d2.engine.processes import MARK
from r2d2.monitoring.secret_file import read_secret
from r2d2.monitoring.settings import MonitoringSettings
from r2d2_base.errors import ConfigurationError

__all__ = ["ENDING_S", "SERVERS", "TOKEN_FILE", "Target", "check_listed", "read_token", "target_from", "target_of"]

ENDING_S = 5.0
"""That a sender has after the end of its run: whatever is not sent until then waits in the run folder."""

SERVERS = "R2D2_INFLUX_URLS"
"""Environment variable of the engine: the servers that its jobs may send to, with spaces between them."""
TOKEN_FILE = "R2D2_INFLUX_TOKEN_FILE"
"""Environment variable: the file of the token, where the settings name none."""
_LONGEST_TOKEN = 4096


@dataclass(frozen=True)
class Target:
    """Where points go.

    Attributes:
        url: of the server.
        org, bucket: organisation and bucket there.
        token_file: file of the token; None: the server asks for none.
        job: number of the engine's job, where the run is of one.
    """

    url: str
    org: str
    bucket: str
    token_file: Path | None = None
    job: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Give a form that JSON can hold; the token is not in it."""
        return {**vars(self), "token_file": None if self.token_file is None else str(self.token_file)}


def target_from(told: Mapping[str, Any]) -> Target:
    """Read what `Target.to_json` gave."""
    return Target(**{**told, "token_file": None if told["token_file"] is None else Path(told["token_file"])})


def target_of(settings: MonitoringSettings, environment: Mapping[str, str]) -> Target | None:
    """Say where a run's figures go; None: nowhere.

    Args:
        settings: what is asked for.
        environment: of the process that asks.

    Raises:
        ConfigurationError: a job of the engine asks for what its administrator has not allowed.

    >>> target_of(MonitoringSettings(influx_url="http://localhost:8086"), {"R2D2_INFLUX_TOKEN_FILE": "/t"}).token_file
    PosixPath('/t')
    """
    if settings.influx_url is None:
        return None
    job = None
    if MARK in environment:
        check_listed(settings, environment)
        job = Path(environment[MARK]).parents[1].name
    named = settings.influx_token_file or environment.get(TOKEN_FILE)
    token_file = None if named is None else Path(named).absolute()
    return Target(settings.influx_url, settings.influx_org, settings.influx_bucket, token_file, job)


def check_listed(settings: MonitoringSettings, environment: Mapping[str, str]) -> None:
    """Refuse, for jobs of the engine, servers and tokens that its administrator has not named.

    Whoever may submit a job is not to reach all that the engine's host reaches, nor to use tokens of others.

    Raises:
        ConfigurationError: with the key that is at fault.

    >>> check_listed(MonitoringSettings(influx_url="http://127.0.0.1:22"), {})
    Traceback (most recent call last):
        ...
    r2d2_base.errors.ConfigurationError: monitoring.influx_url: http://127.0.0.1:22 is none of the servers that jobs \
may send to (R2D2_INFLUX_URLS of the engine): it names none
    """
    fault = None
    allowed = [url.rstrip("/") for url in environment.get(SERVERS, "").replace(",", " ").split()]
    if settings.influx_token_file is not None:
        key, fault = "monitoring.influx_token_file", f"jobs name no token; the engine's own counts ({TOKEN_FILE})"
    elif settings.influx_url is not None and _place(settings.influx_url) not in map(_place, allowed):
        key = "monitoring.influx_url"
        fault = (
            f"{settings.influx_url} is none of the servers that jobs may send to ({SERVERS} of the engine): "
            f"{'these are ' + ', '.join(allowed) if allowed else 'it names none'}"
        )
    if fault:
        raise ConfigurationError(f"{key}: {fault}", [(key, fault)])


def _place(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme), parts.path


def read_token(file: Path | None, server: str = "InfluxDB") -> str | None:
    """Read the token of a server, from a file that nobody else may read; None where there is no file.

    Raises:
        ConfigurationError: the file cannot be read, others may read it, or it holds no token.
    """
    if file is None:
        return None
    content = read_secret(file, f"the token of {server}", "a new token", _LONGEST_TOKEN)
    token = content.decode("utf-8", "replace").strip()
    if not token or len(content) > _LONGEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{file} must hold the token of {server} alone, in one line")
    return token
