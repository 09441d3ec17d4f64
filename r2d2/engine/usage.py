"""What the jobs of an engine take of their machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from r2d2.engine.processes import memory_of_jobs
from r2d2_base.machine import usable_memory, whole_cores

__all__ = ["Usage", "usage_of"]


@dataclass(frozen=True)
class Usage:
    """Memory in bytes; None where it could not be found out.

    Attributes:
        cores: that may be used.
        memory_of_jobs: of all their processes together.
        memory_free, memory_total: of what may be used here.
    """

    cores: int
    memory_of_jobs: int
    memory_free: int | None
    memory_total: int | None


def usage_of(work_root: Path) -> Usage:
    """Measure it, which looks at every process of the machine.

    Args:
        work_root: the engine's folder.

    >>> usage_of(Path("nowhere")).memory_of_jobs
    0
    """
    total, free = usable_memory()
    return Usage(whole_cores(), memory_of_jobs(work_root), free, total)
