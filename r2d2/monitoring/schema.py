"""The names of all that is measured: the one place that files, pages, exporters, dashboards and docs go by.

A measurement has fields, and tags that say whose they are. In the files of a run a value stands under one key,
``measurement.tag.field`` (``worker.0.cpu_percent``), or ``measurement.field`` where the file says whose it is. Loads
nothing: the sampler uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MEASUREMENTS", "SHARES", "Field", "Measurement", "key_of", "split_key"]


@dataclass(frozen=True)
class Field:
    """A number that is measured: its name, which ends with its unit where it has one, and what it means."""

    name: str
    meaning: str


@dataclass(frozen=True)
class Measurement:
    """Numbers that are measured together.

    Attributes:
        name: of the measurement.
        tags: what tells series of it apart, besides the run, which all have, and the engine's job, where it is of one.
        own_tag: the tag that stands in the keys of a file; None: the file is that of a single series.
        fields: the numbers.
    """

    name: str
    tags: tuple[str, ...]
    own_tag: str | None
    fields: tuple[Field, ...]


SHARES = ("input", "compute", "exchange", "validation", "checkpoint")
"""What a worker's time is divided into; what is left is none of them."""

_HOST = Measurement(
    "host",
    ("host",),
    None,
    (
        Field("cpu_percent", "time that its cores were busy; 100: all of them"),
        Field("memory_used_bytes", "memory that is not available to programs"),
        Field("memory_total_bytes", "memory that it has"),
        Field(
            "memory_limit_bytes", "memory that a container or a scheduler grants the workers there, where it is less"
        ),
        Field("disk_read_bytes_per_second", "read from all its disks"),
        Field("disk_written_bytes_per_second", "written to all its disks"),
        Field("disk_free_bytes", "free where the run folder lies"),
        Field("network_received_bytes_per_second", "received from other hosts, without loopback"),
        Field("network_sent_bytes_per_second", "sent to other hosts, without loopback"),
    ),
)
_WORKER = Measurement(
    "worker",
    ("host", "rank"),
    "rank",
    (
        Field("cpu_percent", "time that the worker computed; 100: one core"),
        Field("memory_bytes", "its resident memory"),
        Field("gpu_memory_bytes", "memory that it has on GPUs, where the driver tells"),
    ),
)
_GPU = Measurement(
    "gpu",
    ("host", "device"),
    "device",
    (
        Field("load_percent", "time in which a kernel ran"),
        Field("memory_used_bytes", "memory in use, by whomever"),
        Field("memory_total_bytes", "memory that it has"),
        Field("power_watts", "power that it draws"),
        Field("temperature_celsius", "its temperature"),
        Field("energy_wh", "energy used while this run was sampled, by the GPU's own counter"),
    ),
)
_WORK = Measurement(
    "work",
    ("rank",),
    None,
    (
        Field("input", "part of the time that it waited for a batch"),
        Field("compute", "part in the network: forward, backward, the change of the weights"),
        Field("exchange", "part in which gradients were ready and their sums were not"),
        Field("validation", "part in validation"),
        Field("checkpoint", "part in copying and writing networks"),
        Field("images_per_second", "slices of its own, for each second of training"),
        Field("step", "steps of the run done"),
    ),
)
_STEP = Measurement(
    "step",
    (),
    None,
    (
        Field("step", "steps of the run done"),
        Field("loss", "mean over the global batch"),
        Field("learning_rate", "of the step"),
        Field("images_per_second", "slices a second over all workers"),
    ),
)
_EPOCH = Measurement(
    "epoch",
    (),
    None,
    (
        Field("epoch", "from 1"),
        Field("loss", "mean training loss"),
        Field("validation_dice", "mean over labels"),
        Field("seconds", "of training"),
        Field("validation_seconds", "of validation"),
    ),
)
_LABEL = Measurement("label", ("label",), "label", (Field("validation_dice", "of a label, after an epoch"),))

MEASUREMENTS = {one.name: one for one in (_HOST, _WORKER, _GPU, _WORK, _STEP, _EPOCH, _LABEL)}
"""All of them, by name. Of hosts, workers, GPUs and work ``monitoring/`` tells, of the others ``events.jsonl``."""


def key_of(measurement: str, field: str, own: str | int | None = None) -> str:
    """Name a value in a record.

    >>> key_of("worker", "cpu_percent", 0)
    'worker.0.cpu_percent'
    """
    return f"{measurement}.{field}" if own is None else f"{measurement}.{own}.{field}"


def split_key(key: str) -> tuple[str, str | None, str]:
    """Give measurement, own tag and field of a key.

    >>> split_key("worker.0.cpu_percent"), split_key("host.cpu_percent"), split_key("time")
    (('worker', '0', 'cpu_percent'), ('host', None, 'cpu_percent'), ('', None, 'time'))
    """
    *rest, field = key.split(".")
    measurement, *own = rest or [""]
    return measurement, ".".join(own) or None, field
