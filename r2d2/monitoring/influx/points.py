"""Points as InfluxDB takes them, made of a run's records by the one schema: numbers are fields, names are tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from influxdb_client import Point, WritePrecision

from dist_training.record.events import EpochEnded, Event, StepTaken
from r2d2.monitoring.schema import MEASUREMENTS, Measurement, split_key
from r2d2.monitoring.series import Record

__all__ = ["PRECISION", "lines_of_event", "lines_of_record"]

PRECISION: WritePrecision = WritePrecision.US  # type: ignore[assignment]  # a class of words, not an enumeration
_FIELDS = {name: frozenset(field.name for field in one.fields) for name, one in MEASUREMENTS.items()}


def lines_of_record(record: Record, tags: Mapping[str, str]) -> Iterator[str]:
    """Give the points of a record: of the host, of each worker there, of each GPU, or of a worker's times.

    Args:
        record: of a series; of a value that stands for many, the mean counts.
        tags: of the job, the run, and whose the file is.

    Yields:
        A line of line protocol for each.

    >>> record = {"time": 10.5, "seconds": 1, "worker.0.cpu_percent": [80, 90.5, 99], "worker.1.cpu_percent": 7}
    >>> for line in lines_of_record(record, {"run": "liver", "host": "node 1"}):
    ...     print(line)
    worker,host=node\\ 1,rank=0,run=liver cpu_percent=90.5 10500000
    worker,host=node\\ 1,rank=1,run=liver cpu_percent=7 10500000
    """
    groups: dict[tuple[str, str | None], dict[str, Any]] = {}
    for key, value in record.items():
        measurement, own, field = split_key(key)
        if field in _FIELDS.get(measurement, ()):
            groups.setdefault((measurement, own), {})[field] = value[1] if isinstance(value, list) else value
    for (name, own), fields in groups.items():
        yield from _line(MEASUREMENTS[name], tags, own, fields, record["time"])


def lines_of_event(event: Event, tags: Mapping[str, str]) -> Iterator[str]:
    """Give the points of an event; there are some of steps and epochs alone.

    Args:
        event: of a run.
        tags: of the job and the run.
    """
    if isinstance(event, StepTaken | EpochEnded):
        yield from _line(MEASUREMENTS[event.event], tags, None, event.model_dump(), event.time)
    if isinstance(event, EpochEnded):
        for label, dice in event.validation_dice_per_label.items():
            yield from _line(MEASUREMENTS["label"], tags, label, {"validation_dice": dice}, event.time)


def _line(
    measurement: Measurement, tags: Mapping[str, str], own: str | None, values: Mapping[str, Any], time: float
) -> Iterator[str]:
    """Give the point of a measurement; none where it has no number."""
    point = Point(measurement.name).time(round(time * 1e6), PRECISION)
    for tag in ("job", "run", *measurement.tags):
        point.tag(tag, own if tag == measurement.own_tag else tags.get(tag))
    for field in measurement.fields:
        value = values.get(field.name)
        if value is not None:
            point.field(field.name, float(value))
    if line := point.to_line_protocol():
        yield line
