"""What is read of this very host, against what its /proc says."""

import os
import time
from pathlib import Path

import psutil
import pytest

from r2d2.monitoring.host import HostReader
from r2d2.monitoring.schema import MEASUREMENTS, split_key

TICK = os.sysconf("SC_CLK_TCK")


def memory_bytes(name: str) -> int:
    (line,) = (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def processor_ticks() -> int:
    return sum(int(field) for field in Path("/proc/self/stat").read_text().rpartition(")")[2].split()[11:13])


def test_figures_are_those_of_proc(tmp_path: Path) -> None:
    warnings: list[str] = []
    reader = HostReader(tmp_path, {3: os.getpid()}, warnings.append)
    ticks, began = processor_ticks(), time.monotonic()
    while time.monotonic() < began + 0.5:
        sum(range(1000))
    found = reader.read()
    used = 100 * (processor_ticks() - ticks) / TICK / (time.monotonic() - began)
    assert found["worker.3.cpu_percent"] == pytest.approx(used, rel=0.1, abs=5)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert found["worker.3.memory_bytes"] == pytest.approx(resident, rel=0.05)
    assert found["host.memory_total_bytes"] == memory_bytes("MemTotal")
    taken = memory_bytes("MemTotal") - memory_bytes("MemAvailable")
    assert found["host.memory_used_bytes"] == pytest.approx(taken, rel=0.2, abs=2**28)
    assert 0 < found["host.cpu_percent"] <= 100
    assert found["host.disk_free_bytes"] == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize)
    assert warnings == []


def test_every_key_is_in_the_schema(tmp_path: Path) -> None:
    reader = HostReader(tmp_path, {0: os.getpid()}, lambda _: None)
    for key in reader.read():
        measurement, own, field = split_key(key)
        known = MEASUREMENTS[measurement]
        assert field in {one.name for one in known.fields}
        assert (own is not None) == (known.own_tag is not None)


def test_what_cannot_be_read_is_left_out_and_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> None:
        raise PermissionError(13, "Permission denied", "meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", unreadable)
    warnings: list[str] = []
    reader = HostReader(tmp_path, {}, warnings.append)
    found = [reader.read() for _ in range(3)]
    assert all("host.memory_used_bytes" not in one and "host.cpu_percent" in one for one in found)
    assert [text.split()[0] for text in warnings] == ["memory"]


def test_a_worker_that_has_ended_is_no_fault(tmp_path: Path) -> None:
    ended = psutil.Popen(["true"])
    reader = HostReader(tmp_path, {0: ended.pid}, lambda text: None)
    ended.wait()
    assert "worker.0.memory_bytes" not in reader.read()
