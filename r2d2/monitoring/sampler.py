"""The process that watches a host: one for all workers of a run there, started by the first of them.

It ends when its standard input does, which the worker that started it holds open: with that worker, however it ends.
Signals that reach a whole job are not for it. It loads psutil and little else.
"""

from __future__ import annotations

import json
import select
import signal
import sys
import time
from pathlib import Path

from r2d2.monitoring.gpu import GpuReader, find_nvml
from r2d2.monitoring.host import HostReader
from r2d2.monitoring.schema import split_key
from r2d2.monitoring.series import Record, SeriesFile, read_series
from r2d2_base.errors import R2D2Error

__all__ = ["sample"]


def sample(file: Path, workers: dict[int, int], host_interval_s: float, gpu_interval_s: float) -> None:
    """Record this host until standard input ends.

    Args:
        file: what is written, in the folder of the run's monitoring.
        workers: process number of each rank on this host.
        host_interval_s, gpu_interval_s: seconds between two looks.
    """
    series, host = SeriesFile(file), HostReader(file.parent, workers, _warn)
    nvml = find_nvml()
    gpus = None if nvml is None else GpuReader(nvml, workers, _energy_before(file))
    has_failed, last = False, time.time()
    next_host = time.monotonic() + host_interval_s
    next_gpu = time.monotonic()
    while True:
        is_over = _is_over(next_host - time.monotonic())
        now = time.time()
        record: Record = {"time": now, "seconds": max(now - last, 0.0), **host.read()}
        last = now
        if gpus is not None and (is_over or time.monotonic() >= next_gpu):
            record |= gpus.read()
            next_gpu = max(next_gpu + gpu_interval_s, time.monotonic())
        try:
            series.append(record)
        except (OSError, R2D2Error) as error:
            if not has_failed:
                _warn(f"{file} cannot be written ({error}); this record and others are lost, the training goes on")
            has_failed = True
        if is_over:
            return
        next_host = max(next_host + host_interval_s, time.monotonic())


def _is_over(seconds: float) -> bool:
    """Wait, and tell whether standard input has ended meanwhile."""
    ready, _, _ = select.select([sys.stdin], [], [], max(seconds, 0.0))
    return bool(ready)


def _energy_before(file: Path) -> dict[str, float]:
    """Read what each GPU had used in the parts of the run before."""
    used: dict[str, float] = {}
    for record in read_series(file):
        for key, value in record.items():
            measurement, device, field = split_key(key)
            if measurement == "gpu" and field == "energy_wh" and device is not None:
                used[device] = value[-1] if isinstance(value, list) else value
    return used


def _warn(text: str) -> None:
    print(f"r2d2: monitoring: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its standard error is the worker's log


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    asked = json.loads(sys.argv[1])
    workers = {int(rank): pid for rank, pid in asked["workers"].items()}
    sample(Path(asked["file"]), workers, asked["host_interval_s"], asked["gpu_interval_s"])


if __name__ == "__main__":
    _main()
