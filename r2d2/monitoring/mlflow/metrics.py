"""A run's figures as MLflow's metrics: of steps and epochs by the step, of machines under MLflow's own names.

MLflow's page of a run shows what begins with ``system/`` apart, as system metrics. Where its own monitor has a name for
a figure (`mlflow.system_metrics`), that is taken, with its unit: megabytes are 10**6 bytes. A metric's step is the step
of the run; of machines, whose figures belong to no step, the second of the run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dist_training.record.events import EpochEnded, Event, StepTaken
from r2d2.monitoring.schema import SHARES, split_key
from r2d2.monitoring.series import Record

__all__ = ["Figure", "figures_of_event", "figures_of_record", "label_names"]

_STEP_FIGURES = ("loss", "learning_rate", "images_per_second")
_EPOCH_FIGURES = ("loss", "validation_dice", "images_per_second", "seconds", "validation_seconds")
_MEGABYTE = 1e6
_HOST = {
    "cpu_percent": ("cpu_utilization_percentage", 1.0),
    "memory_used_bytes": ("system_memory_usage_megabytes", _MEGABYTE),
    "memory_limit_bytes": ("system_memory_limit_megabytes", _MEGABYTE),
    "disk_free_bytes": ("disk_available_megabytes", _MEGABYTE),
    "disk_read_bytes_per_second": ("disk_read_megabytes_per_second", _MEGABYTE),
    "disk_written_bytes_per_second": ("disk_write_megabytes_per_second", _MEGABYTE),
    "network_received_bytes_per_second": ("network_receive_megabytes_per_second", _MEGABYTE),
    "network_sent_bytes_per_second": ("network_transmit_megabytes_per_second", _MEGABYTE),
}
_GPU = {
    "load_percent": ("utilization_percentage", 1.0),
    "memory_used_bytes": ("memory_usage_megabytes", _MEGABYTE),
    "power_watts": ("power_usage_watts", 1.0),
    "temperature_celsius": ("temperature_celsius", 1.0),
    "energy_wh": ("energy_watt_hours", 1.0),
}
_WORKER = {
    "cpu_percent": ("cpu_utilization_percentage", 1.0),
    "memory_bytes": ("memory_usage_megabytes", _MEGABYTE),
    "gpu_memory_bytes": ("gpu_memory_usage_megabytes", _MEGABYTE),
}
_WORK = {share: (f"{share}_percentage", 0.01) for share in SHARES} | {"images_per_second": ("images_per_second", 1.0)}
_PERCENTAGES = {
    "host": ("system_memory_usage_percentage", "memory_used_bytes", "memory_total_bytes"),
    "gpu": ("memory_usage_percentage", "memory_used_bytes", "memory_total_bytes"),
}
_NAMES = {"host": _HOST, "gpu": _GPU, "worker": _WORKER, "work": _WORK}
_NOT_IN_NAMES = re.compile(r"[^\w\- ]")
_LONGEST_LABEL = 200


@dataclass(frozen=True)
class Figure:
    """A metric of MLflow.

    Attributes:
        name: of the metric.
        value: of it.
        time: in seconds since 1970.
        step: of the run; of machines, the second of the run.
    """

    name: str
    value: float
    time: float
    step: int


def figures_of_event(event: Event) -> Iterator[Figure]:
    """Give the metrics of a step or an epoch; of other events there are none, nor of values that are no numbers.

    >>> event = EpochEnded(time=1.0, epoch=1, step=50, loss=0.5, validation_dice_per_label={"liver": 0.25})
    >>> [(figure.name, figure.value, figure.step) for figure in figures_of_event(event)]
    [('epoch', 1.0, 50), ('epoch/loss', 0.5, 50), ('validation_dice/liver', 0.25, 50)]
    """
    values: dict[str, float | None] = {}
    if isinstance(event, StepTaken):
        values = {f"step/{name}": getattr(event, name) for name in _STEP_FIGURES}
    elif isinstance(event, EpochEnded):
        values = {"epoch": event.epoch} | {f"epoch/{name}": getattr(event, name) for name in _EPOCH_FIGURES}
        names = label_names(event.validation_dice_per_label)
        values |= {f"validation_dice/{names[label]}": dice for label, dice in event.validation_dice_per_label.items()}
        if event.is_best:
            values["best_validation_dice"] = event.validation_dice
    if isinstance(event, StepTaken | EpochEnded):
        yield from _figures(values, event.time, event.step)


def label_names(labels: Iterable[str]) -> dict[str, str]:
    """Name labels as MLflow takes it: what it does not take becomes ``_``; none is called like another.

    >>> label_names(["left ventricle", "b=c", "b/c"])
    {'left ventricle': 'left ventricle', 'b=c': 'b_c', 'b/c': 'b_c 2'}
    """
    names: dict[str, str] = {}
    for label in labels:
        plain = _NOT_IN_NAMES.sub("_", label)[:_LONGEST_LABEL]
        name, number = plain, 1
        while name in names.values():
            number += 1
            name = f"{plain} {number}"
        names[label] = name
    return names


def figures_of_record(record: Record, whose: str, begun: float, main_host: str) -> Iterator[Figure]:
    """Give the metrics of a record of machines.

    Args:
        record: of a series; of a value that stands for many, the mean counts.
        whose: the host or the rank whose file it is from.
        begun: when the run began, in seconds since 1970.
        main_host: the host whose figures have MLflow's own names; those of others have the host's name in them.

    >>> record = {"time": 12.5, "seconds": 1, "host.cpu_percent": 50, "gpu.0.power_watts": [90, 100, 120]}
    >>> [(figure.name, figure.value, figure.step) for figure in figures_of_record(record, "a", 10.0, "a")]
    [('system/cpu_utilization_percentage', 50.0, 2), ('system/gpu_0_power_usage_watts', 100.0, 2)]
    """
    groups: dict[tuple[str, str | None], dict[str, Any]] = {}
    for key, value in record.items():
        measurement, own, field = split_key(key)
        if measurement in _NAMES:
            groups.setdefault((measurement, own), {})[field] = value[1] if isinstance(value, list) else value
    values: dict[str, float | None] = {}
    place = "" if whose == main_host else f"{_NOT_IN_NAMES.sub('_', whose)}/"
    for (measurement, own), fields in groups.items():
        start = {
            "host": f"system/{place}",
            "gpu": f"system/{place}gpu_{own}_",
            "worker": f"system/worker_{own}/",
            "work": f"system/worker_{whose}/",
        }[measurement]
        for field, (name, unit) in _NAMES[measurement].items():
            if field in fields:
                values[start + name] = fields[field] / unit
        name, part, whole = _PERCENTAGES.get(measurement, ("", "", ""))
        if fields.get(whole):
            values[start + name] = 100 * fields[part] / fields[whole] if part in fields else None
    yield from _figures(values, record["time"], max(int(record["time"] - begun), 0))


def _figures(values: Mapping[str, float | None], time: float, step: int) -> Iterator[Figure]:
    for name, value in values.items():
        if value is not None and math.isfinite(value):
            yield Figure(name, float(value), time, step)
