"""What the machine offers to this process: cores, memory, disk, GPUs.

Only the standard library is used, so that `r2d2 doctor` also works where an installation is broken.
"""

import math
import os
import platform
import resource
import shutil
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = [
    "CgroupLimits",
    "Machine",
    "examine_machine",
    "own_name_fault",
    "own_name_remedy",
    "processor_computes_in",
    "read_cgroup_limits",
    "usable_cores",
    "usable_memory",
    "whole_cores",
]

# version 1 has no word for "no limit" on memory, only a number close to 2**63
UNLIMITED_BYTES = 2**60
# as Linux names them in /proc/cpuinfo: of x86, and of ARM
PROCESSOR_FLAGS = {
    "bfloat16": frozenset({"avx512_bf16", "avx_ne_convert", "amx_bf16", "bf16"}),
    "float16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
}


@dataclass(frozen=True)
class CgroupLimits:
    """What a container or a scheduler grants: None where nothing is limited."""

    cores: float | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None


@dataclass(frozen=True)
class Machine:
    """The machine as this process may use it; None where it could not be found out."""

    system: str
    cores: int | None
    cores_usable: float | None
    memory_bytes: int | None
    memory_free_bytes: int | None
    disk_folder: str
    disk_free_bytes: int | None
    gpus: tuple[str, ...]


def examine_machine(folder: Path) -> Machine:
    """Look at this machine.

    Args:
        folder: where the free disk space is asked for.

    Returns:
        Cores after processor affinity and cgroup limits, memory within the cgroup's limit.

    Example:
        >>> machine = examine_machine(Path.cwd())
        >>> machine.cores_usable is None or 0 < machine.cores_usable <= machine.cores
        True
    """
    total, free = usable_memory()
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=os.cpu_count(),
        cores_usable=usable_cores(),
        memory_bytes=total,
        memory_free_bytes=free,
        disk_folder=str(folder),
        disk_free_bytes=free_disk(folder),
        gpus=list_gpus(),
    )


def usable_cores(root: Path = Path("/")) -> float | None:
    """The cores that affinity leaves to this process, or its cgroup's share of them where that is less.

    Args:
        root: see `read_cgroup_limits`.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    granted = read_cgroup_limits(root).cores
    if affinity is None or granted is None:
        return affinity
    return min(float(affinity), granted)


def whole_cores() -> int:
    """The cores that this process may use, rounded down, at least 1."""
    return max(1, int(usable_cores() or 1))


def usable_memory(root: Path = Path("/")) -> tuple[int | None, int | None]:
    """The bytes that this process may take, and those of them that are free; None where that is not known.

    The least of the machine's memory, its cgroup's limit and its own limit (ulimit -v).

    Args:
        root: see `read_cgroup_limits`.
    """
    total, free = read_memory(root / "proc" / "meminfo")
    group, own = read_cgroup_limits(root), resource.getrlimit(resource.RLIMIT_AS)[0]
    limits = [] if group.memory_bytes is None else [(group.memory_bytes, group.memory_used_bytes or 0)]
    limits += [] if own == resource.RLIM_INFINITY else [(own, 0)]
    for limit, used in limits:
        total = limit if total is None else min(total, limit)
        free = limit - used if free is None else min(free, limit - used)
    return total, free


def free_disk(folder: Path) -> int | None:
    """Free bytes for this user on the disk that holds `folder`."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def read_memory(meminfo: Path) -> tuple[int | None, int | None]:
    """Total and available bytes from a file in the format of /proc/meminfo; None where it has none."""
    kilobytes = {}
    for line in (read_text(meminfo) or "").splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()[0] if rest.split() else ""
        if number.isdigit():
            kilobytes[name] = int(number) * 1024
    return kilobytes.get("MemTotal"), kilobytes.get("MemAvailable")


def processor_computes_in(dtype: str, root: Path = Path("/")) -> bool | None:
    """Tell whether the processor has instructions for numbers of 16 bits; without, each is converted.

    Args:
        dtype: bfloat16 or float16.
        root: the folder that holds `proc/cpuinfo`: `/`, but for tests.

    Returns:
        None: this system does not tell.
    """
    lines = (read_text(root / "proc" / "cpuinfo") or "").splitlines()
    words = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), None)
    return None if words is None else not PROCESSOR_FLAGS[dtype].isdisjoint(words)


def read_cgroup_limits(root: Path) -> CgroupLimits:
    """The tightest limits of this process's control group and its parents.

    Args:
        root: the folder that holds `proc/self/cgroup` and `sys/fs/cgroup`: `/`, but for tests.

    Returns:
        Limits from cgroup version 2 and version 1, whichever is mounted.

    Source:
        Linux kernel, Documentation/admin-guide/cgroup-v2.rst (cpu.max, memory.max) and
        cgroup-v1/memory.rst, scheduler/sched-bwc.rst (cpu.cfs_quota_us).
    """
    mounted = root / "sys" / "fs" / "cgroup"
    cores: list[float] = []
    memory: list[tuple[int, int | None]] = []
    for line in (read_text(root / "proc" / "self" / "cgroup") or "").splitlines():
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        for name in fields[1].split(","):
            own = PurePosixPath(fields[2].lstrip("/"))
            for parent in (own, *own.parents):
                folder = mounted / name / parent
                cores += filter(None, [cores_v2(folder), cores_v1(folder)])
                memory += filter(None, [memory_v2(folder), memory_v1(folder)])
    limit, used = min(memory, key=lambda pair: pair[0]) if memory else (None, None)
    return CgroupLimits(min(cores, default=None), limit, used)


def cores_v2(folder: Path) -> float | None:
    """Cores from `cpu.max`: a quota and a period in microseconds, or "max"."""
    fields = (read_text(folder / "cpu.max") or "").split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    return int(fields[0]) / int(fields[1])


def cores_v1(folder: Path) -> float | None:
    """Cores from `cpu.cfs_quota_us` and `cpu.cfs_period_us`; a quota of -1 is no limit."""
    quota, period = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def memory_v2(folder: Path) -> tuple[int, int | None] | None:
    """Limit and use in bytes from `memory.max` and `memory.current`."""
    limit = read_int(folder / "memory.max")
    return None if limit is None else (limit, read_int(folder / "memory.current"))


def memory_v1(folder: Path) -> tuple[int, int | None] | None:
    """Limit and use in bytes from `memory.limit_in_bytes` and `memory.usage_in_bytes`."""
    limit = read_int(folder / "memory.limit_in_bytes")
    if limit is None or limit >= UNLIMITED_BYTES:
        return None
    return limit, read_int(folder / "memory.usage_in_bytes")


def read_int(path: Path) -> int | None:
    """The integer that a file holds, or None."""
    text = (read_text(path) or "").strip()
    return int(text) if text.lstrip("-").isdigit() else None


def read_text(path: Path) -> str | None:
    """The text of a file, or None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def own_name_fault(name: str | None = None) -> str | None:
    """Why workers on this host would not find it by its own name: Gloo, which connects them, crashes then.

    Args:
        name: the host's name; None asks the system.

    Returns:
        A clause without an end; None where the name leads to an address of this host.

    Example:
        >>> own_name_fault("localhost") is None
        True
        >>> own_name_fault("nowhere.invalid")
        "this host's own name, nowhere.invalid, does not resolve"
    """
    name = socket.gethostname() if name is None else name
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return f"this host's own name, {name}, does not resolve"
    for family, kind, _, _, address in found:
        with suppress(OSError), socket.socket(family, kind) as test:
            test.bind(address)
            return None
    return f"this host's own name, {name}, leads to {found[0][4][0]}, which is no address of this host"


def own_name_remedy() -> str:
    """The command that makes this host's own name resolve, for root."""
    return f'echo "127.0.1.1 {socket.gethostname()}" >> /etc/hosts'


def list_gpus() -> tuple[str, ...]:
    """NVIDIA GPUs, one line each (name, memory, driver), as `nvidia-smi` lists them."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def format_bytes(count: int | None) -> str:
    """Bytes in GiB for people.

    Example:
        >>> format_bytes(3 * 2**30)
        '3.0 GiB'
    """
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"


def format_cores(machine: Machine) -> str:
    """Cores for people, with what is taken away from the machine's own number."""
    usable = machine.cores_usable
    if usable is None:
        return "unknown"
    text = f"{math.floor(usable * 10) / 10:g}"
    return text if usable == machine.cores else f"{text} usable of {machine.cores}"
