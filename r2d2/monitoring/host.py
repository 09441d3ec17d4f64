"""What the system tells of this host and of the workers on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from r2d2.monitoring.schema import key_of
from r2d2_base.machine import read_cgroup_limits

__all__ = ["HostReader"]

_LOOPBACK = "lo"
_UNREADABLE = (OSError, RuntimeError, ValueError, AttributeError, psutil.Error)
"""What psutil raises where a file of /proc is missing, unreadable or not as it knows it."""


class HostReader:
    """Reads host and workers again and again; what cannot be read is left out, and said once.

    Args:
        folder: of the run, of whose disk the free space is read.
        workers: process number of each rank on this host.
        warn: called with a line, once for each kind of figure that is missing.
    """

    def __init__(self, folder: Path, workers: Mapping[int, int], warn: Callable[[str], None]) -> None:
        self._folder, self._warn = folder, warn
        self._processes: dict[int, psutil.Process] = {}
        for rank, pid in workers.items():
            try:
                self._processes[rank] = psutil.Process(pid)
            except _UNREADABLE:
                warn(f"rank {rank} (process {pid}) is not seen from here")
        self._warned: set[str] = set()
        self._counters: dict[str, int] = {}
        self._processor_seconds: dict[int, float] = {}
        self._memory_limit = read_cgroup_limits(Path("/")).memory_bytes
        self._at = time.monotonic()
        self.read()

    def read(self) -> dict[str, float]:
        """Give what is so now, and rates since the last call, by key; see `r2d2.monitoring.schema`."""
        now = time.monotonic()
        seconds, self._at = max(now - self._at, 1e-3), now
        found: dict[str, float] = {}
        for what, read in (
            ("CPU", self._cpu),
            ("memory", self._memory),
            ("disks", self._disks),
            ("free space", self._free),
            ("network", self._network),
        ):
            try:
                values = read()
            except _UNREADABLE as error:
                self._warn_once(what, error)
                continue
            for name, value in values.items():
                if name.endswith("_per_second"):
                    before, self._counters[name] = self._counters.get(name), int(value)
                    if before is not None and value >= before:  # a device that is gone takes its count with it
                        found[key_of("host", name)] = (value - before) / seconds
                else:
                    found[key_of("host", name)] = value
        for rank, process in self._processes.items():
            found |= self._worker(rank, process, seconds)
        return found

    def _worker(self, rank: int, process: psutil.Process, seconds: float) -> dict[str, float]:
        try:
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info().rss
        except psutil.NoSuchProcess:
            return {}  # it has ended
        except _UNREADABLE as error:
            self._warn_once(f"rank {rank}", error)
            return {}
        found: dict[str, float] = {key_of("worker", "memory_bytes", rank): memory}
        used = times.user + times.system
        before, self._processor_seconds[rank] = self._processor_seconds.get(rank), used
        if before is not None:
            found[key_of("worker", "cpu_percent", rank)] = 100 * max(used - before, 0.0) / seconds
        return found

    @staticmethod
    def _cpu() -> dict[str, float]:
        return {"cpu_percent": psutil.cpu_percent(None)}

    def _memory(self) -> dict[str, float]:
        memory = psutil.virtual_memory()
        found = {"memory_used_bytes": memory.total - memory.available, "memory_total_bytes": memory.total}
        if self._memory_limit is not None and self._memory_limit < memory.total:
            found["memory_limit_bytes"] = self._memory_limit
        return found

    @staticmethod
    def _disks() -> dict[str, float]:
        counted: Any = psutil.disk_io_counters(nowrap=False)
        if counted is None:
            return {}
        return {
            "disk_read_bytes_per_second": counted.read_bytes,
            "disk_written_bytes_per_second": counted.write_bytes,
        }

    def _free(self) -> dict[str, float]:
        return {"disk_free_bytes": psutil.disk_usage(str(self._folder)).free}

    @staticmethod
    def _network() -> dict[str, float]:
        cards = psutil.net_io_counters(pernic=True, nowrap=False)
        others = [counted for name, counted in cards.items() if name != _LOOPBACK]
        if not others:
            return {}
        return {
            "network_received_bytes_per_second": sum(counted.bytes_recv for counted in others),
            "network_sent_bytes_per_second": sum(counted.bytes_sent for counted in others),
        }

    def _warn_once(self, what: str, error: Exception) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._warn(f"{what} cannot be read ({error})")
