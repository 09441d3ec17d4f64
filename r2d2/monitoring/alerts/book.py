"""The alerts of a job, written down in its folder: each is raised once while it lasts, however often one looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from r2d2.monitoring.alerts.alert import Alert, Finding
from r2d2_base.files import read_json, write_json

__all__ = ["SETTLED_S", "AlertBook", "read_alerts"]

SETTLED_S = 60.0
"""An alert is over when it was not found for so long: what comes and goes within a minute is one and the same."""
MOST_KEPT = 200


class _Written(BaseModel):
    schema_version: int = 1
    alerts: list[Alert] = Field(default_factory=list)


def read_alerts(path: Path) -> tuple[Alert, ...]:
    """Read the alerts of a job, the first one first; none where there is no file, or where it is damaged.

    Args:
        path: of the file.
    """
    try:
        return tuple(_Written.model_validate(read_json(path)).alerts)
    except (OSError, ValueError, ValidationError):
        return ()


class AlertBook:
    """The alerts of one job.

    Args:
        path: the file, in the job's folder; it may be missing.
        now: seconds since 1970.
    """

    def __init__(self, path: Path, now: float) -> None:
        self._path = path
        self.alerts = list(read_alerts(path))
        self._found_at = {_key(alert): now for alert in self.alerts if alert.is_open}

    def raised_by(self, findings: Sequence[Finding], now: float) -> list[Alert]:
        """Give the alerts that findings raise: those that are not open already. Nothing is changed by it.

        Args:
            findings: of one look.
            now: seconds since 1970.
        """
        open_ones = {_key(alert) for alert in self.alerts if alert.is_open}
        return [
            Alert(
                id="-".join([one.kind, *one.subject.split(), str(self._last_number(one) + 1)]),
                kind=one.kind,
                subject=one.subject,
                severity=one.severity,
                since=now,
                message=one.message,
                advice=one.advice,
            )
            for one in findings
            if _key(one) not in open_ones
        ]

    def note(self, findings: Sequence[Finding], raised: Sequence[Alert], now: float) -> None:
        """Write down what was found, what was raised, and what is over because it was not found for long.

        Args:
            findings: of one look.
            raised: what `raised_by` gave for them.
            now: seconds since 1970.

        Raises:
            R2D2Error: it cannot be written; then nothing is noted.
        """
        found_at = {**self._found_at, **{_key(one): now for one in findings}}
        alerts = [
            alert.model_copy(update={"resolved_at": now})
            if alert.is_open and now - found_at.get(_key(alert), 0.0) >= SETTLED_S
            else alert
            for alert in self.alerts
        ]
        self._write([*alerts, *raised])
        self._found_at = found_at

    def close(self, now: float) -> None:
        """Write down that all is over: what it was about has ended.

        Raises:
            R2D2Error: it cannot be written.
        """
        self._write([one.model_copy(update={"resolved_at": now}) if one.is_open else one for one in self.alerts])

    def _last_number(self, finding: Finding) -> int:
        numbers = (int(alert.id.rpartition("-")[2]) for alert in self.alerts if _key(alert) == _key(finding))
        return max(numbers, default=0)

    def _write(self, alerts: list[Alert]) -> None:
        if alerts != self.alerts:
            over = [alert for alert in alerts if not alert.is_open]
            dropped = {alert.id for alert in over[: max(len(alerts) - MOST_KEPT, 0)]}
            kept = [alert for alert in alerts if alert.id not in dropped]
            write_json(self._path, _Written(alerts=kept).model_dump(mode="json"), is_durable=True)
            self.alerts = kept


def _key(one: Alert | Finding) -> tuple[str, str]:
    return one.kind, one.subject
