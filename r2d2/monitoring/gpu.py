"""What NVIDIA's driver tells of this host's GPUs, and of the workers on them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from r2d2.monitoring.schema import key_of

__all__ = ["GpuReader", "find_nvml"]

_LIBRARY = "libnvidia-ml.so.1"
_MILLIJOULES_OF_A_WH = 3.6e6


def find_nvml() -> Any:
    """Give the module that asks the driver, ready to be asked; None where there is no driver, or no such module."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # its errors are its own; without it there are no figures of GPUs
        return None
    return pynvml


class GpuReader:
    """Reads all GPUs again and again; what one of them does not tell is left out.

    Args:
        nvml: the module of `find_nvml`.
        workers: process number of each rank on this host.
        energy_wh: used by each device in the parts of the run before, which is gone on from.
    """

    def __init__(self, nvml: Any, workers: Mapping[int, int], energy_wh: Mapping[str, float] | None = None) -> None:
        self._nvml, self._rank_of = nvml, {pid: rank for rank, pid in workers.items()}
        self._devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        self._energy_wh = dict(energy_wh or {})
        self._counters: dict[str, int] = {}

    def read(self) -> dict[str, float]:
        """Give what is so now, by key; see `r2d2.monitoring.schema`."""
        nvml = self._nvml
        found: dict[str, float] = {}
        for index, device in enumerate(self._devices):

            def put(name: str, value: float, index: int = index) -> None:
                found[key_of("gpu", name, index)] = value

            load = self._asked(nvml.nvmlDeviceGetUtilizationRates, device)
            memory = self._asked(nvml.nvmlDeviceGetMemoryInfo, device)
            power = self._asked(nvml.nvmlDeviceGetPowerUsage, device)
            warmth = self._asked(nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU)
            if load is not None:
                put("load_percent", load.gpu)
            if memory is not None:
                put("memory_used_bytes", memory.used)
                put("memory_total_bytes", memory.total)
            if power is not None:
                put("power_watts", power / 1000)
            if warmth is not None:
                put("temperature_celsius", warmth)
            energy = self._energy(str(index), device)
            if energy is not None:
                put("energy_wh", energy)
            for process in self._asked(nvml.nvmlDeviceGetComputeRunningProcesses, device) or ():
                rank = self._rank_of.get(process.pid)
                if rank is not None and process.usedGpuMemory is not None:
                    key = key_of("worker", "gpu_memory_bytes", rank)
                    found[key] = found.get(key, 0) + process.usedGpuMemory
        return found

    def _energy(self, index: str, device: Any) -> float | None:
        """Add up what the GPU's own counter has counted; None where it has none: power is never taken for energy."""
        counted = self._asked(self._nvml.nvmlDeviceGetTotalEnergyConsumption, device)
        if counted is None:
            return None
        before, self._counters[index] = self._counters.get(index), counted
        more = 0 if before is None else counted - before if counted >= before else counted  # begun anew: its driver was
        self._energy_wh[index] = self._energy_wh.get(index, 0.0) + more / _MILLIJOULES_OF_A_WH
        return self._energy_wh[index]

    def _asked(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None
