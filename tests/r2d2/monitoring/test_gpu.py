"""GPUs by answers as NVML gives them: none of our machines has one."""

from types import SimpleNamespace
from typing import Any

import pytest

from r2d2.monitoring.gpu import GpuReader


class FakeError(Exception):
    pass


class FakeNvml:
    """Answers as `pynvml` does for a GPU that tells everything (0) and one that tells little (1)."""

    NVMLError = FakeError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        self.millijoules = 5_000_000_000
        self.loads = 87

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self.loads, memory=41)

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:  # noqa: N802
        return SimpleNamespace(total=150_754_820_096, free=110_754_820_096, used=40_000_000_000)

    def nvmlDeviceGetPowerUsage(self, device: int) -> int:  # noqa: N802
        if device:
            raise FakeError("Not Supported")
        return 342_519

    def nvmlDeviceGetTemperature(self, device: int, sensor: int) -> int:  # noqa: N802
        return 61

    def nvmlDeviceGetTotalEnergyConsumption(self, device: int) -> int:  # noqa: N802
        if device:
            raise FakeError("Not Supported")
        return self.millijoules

    def nvmlDeviceGetComputeRunningProcesses(self, device: int) -> list[Any]:  # noqa: N802
        return [
            SimpleNamespace(pid=100 + device, usedGpuMemory=30_000_000_000),
            SimpleNamespace(pid=999, usedGpuMemory=1),
            SimpleNamespace(pid=101, usedGpuMemory=None),
        ]


def test_all_that_is_told_is_recorded_and_nothing_else() -> None:
    assert GpuReader(FakeNvml(), {0: 100, 1: 101}).read() == {
        "gpu.0.load_percent": 87,
        "gpu.0.memory_used_bytes": 40_000_000_000,
        "gpu.0.memory_total_bytes": 150_754_820_096,
        "gpu.0.power_watts": pytest.approx(342.519),
        "gpu.0.temperature_celsius": 61,
        "gpu.0.energy_wh": 0.0,
        "gpu.1.load_percent": 87,
        "gpu.1.memory_used_bytes": 40_000_000_000,
        "gpu.1.memory_total_bytes": 150_754_820_096,
        "gpu.1.temperature_celsius": 61,
        "worker.0.gpu_memory_bytes": 30_000_000_000,
        "worker.1.gpu_memory_bytes": 30_000_000_000,
    }


def test_energy_is_what_the_counter_has_counted_since_the_run_began() -> None:
    nvml = FakeNvml()
    reader = GpuReader(nvml, {})
    reader.read()
    nvml.millijoules += 3_600_000
    assert reader.read()["gpu.0.energy_wh"] == pytest.approx(1.0)
    nvml.millijoules = 1_800_000  # the driver was loaded anew
    assert reader.read()["gpu.0.energy_wh"] == pytest.approx(1.5)


def test_energy_goes_on_where_the_part_of_the_run_before_ended() -> None:
    nvml = FakeNvml()
    reader = GpuReader(nvml, {}, {"0": 12.0})
    assert reader.read()["gpu.0.energy_wh"] == pytest.approx(12.0)
    nvml.millijoules += 7_200_000
    assert reader.read()["gpu.0.energy_wh"] == pytest.approx(14.0)
