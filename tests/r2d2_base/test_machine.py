"""What the machine offers: cgroup limits of both versions, memory, cores."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from r2d2_base.machine import (
    CgroupLimits,
    Machine,
    examine_machine,
    format_cores,
    processor_computes_in,
    read_cgroup_limits,
    read_memory,
    usable_cores,
    usable_memory,
    whole_cores,
)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_cgroup_version_2_takes_the_tightest_of_the_group_and_its_parents(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/slice/job",
            "sys/fs/cgroup/slice/job/cpu.max": "max 100000",
            "sys/fs/cgroup/slice/job/memory.max": "max",
            "sys/fs/cgroup/slice/cpu.max": "150000 100000",
            "sys/fs/cgroup/slice/memory.max": "1073741824",
            "sys/fs/cgroup/slice/memory.current": "1000",
        },
    )
    assert read_cgroup_limits(tmp_path) == CgroupLimits(1.5, 1073741824, 1000)


def test_cgroup_version_1_joins_its_controllers(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/box\n1:name=systemd:/",
            "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "200000",
            "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "536870912",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "7",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert read_cgroup_limits(tmp_path) == CgroupLimits(2.0, 536870912, 7)


def test_a_container_sees_its_own_group_at_the_top(tmp_path: Path) -> None:
    """The path in /proc/self/cgroup is the host's; inside, the limits lie at the top of the mount."""
    write(tmp_path, {"proc/self/cgroup": "0::/../../kubepods/pod1", "sys/fs/cgroup/cpu.max": "50000 100000"})
    assert read_cgroup_limits(tmp_path).cores == 0.5


def test_no_cgroup_limits_nothing(tmp_path: Path) -> None:
    assert read_cgroup_limits(tmp_path) == CgroupLimits(None, None, None)


def test_memory_is_read_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  2048 kB\nMemFree:  3 kB\nMemAvailable: 1024 kB\nodd line\n")
    assert read_memory(tmp_path / "meminfo") == (2048 * 1024, 1024 * 1024)
    assert read_memory(tmp_path / "absent") == (None, None)


def test_processors_tell_whether_they_compute_in_16_bits(tmp_path: Path) -> None:
    """As /proc/cpuinfo has them: AMD Zen 3, Zen 4 (bfloat16), Sapphire Rapids (both), ARM Neoverse V1 (both)."""
    told = {
        "flags\t\t: fpu avx2 fma f16c": (False, False),
        "flags\t\t: avx2 avx512f avx512_bf16": (True, False),
        "flags\t\t: avx512_bf16 avx512_fp16 amx_bf16": (True, True),
        "Features\t: fp asimd fphp asimdhp bf16": (True, True),
        "processor\t: 0": (None, None),
    }
    for line, expected in told.items():
        write(tmp_path, {"proc/cpuinfo": f"processor\t: 0\n{line}\n"})
        assert (processor_computes_in("bfloat16", tmp_path), processor_computes_in("float16", tmp_path)) == expected


@pytest.mark.parametrize(("quota", "expected"), [("max", 1), ("50000", 0.5), ("6400000", 1)])
def test_usable_cores_is_the_least_of_affinity_and_quota(tmp_path: Path, quota: str, expected: float) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": f"{quota} 100000"})
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores(tmp_path) == expected
        assert whole_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_usable_memory_is_the_least_of_the_machine_the_cgroup_and_the_process(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": "MemTotal:  4194304 kB\nMemAvailable: 3145728 kB"})
    assert usable_memory(tmp_path) == (4 * 2**30, 3 * 2**30)
    group = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": str(2**30), "sys/fs/cgroup/memory.current": "1000"}
    write(tmp_path, group)
    assert usable_memory(tmp_path) == (2**30, 2**30 - 1000)
    script = "import sys; from pathlib import Path; from r2d2_base.machine import usable_memory\n"
    script += "print(*usable_memory(Path(sys.argv[1])))"
    limited = f"ulimit -v {2**19}; exec '{sys.executable}' -c '{script}' '{tmp_path}'"
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(2**29), str(2**29)]


def test_this_machine_agrees_with_psutil(tmp_path: Path) -> None:
    machine = examine_machine(tmp_path)
    assert machine.cores == psutil.cpu_count()
    assert machine.cores_usable is not None and 0 < machine.cores_usable <= len(psutil.Process().cpu_affinity())
    assert machine.memory_bytes is not None and machine.memory_bytes <= psutil.virtual_memory().total
    assert machine.disk_free_bytes == pytest.approx(psutil.disk_usage(str(tmp_path)).free, rel=0.05)


def test_a_folder_that_does_not_exist_is_no_reason_to_stop(tmp_path: Path) -> None:
    assert examine_machine(tmp_path / "absent").disk_free_bytes is None


@pytest.mark.parametrize(
    ("cores", "usable", "expected"),
    [
        (8, 8, "8"),
        (8, 8.0, "8"),
        (8, 2.0, "2 usable of 8"),
        (8, 1.55, "1.5 usable of 8"),
        (None, None, "unknown"),
    ],
)
def test_cores_in_words(cores: int | None, usable: float | None, expected: str) -> None:
    assert format_cores(Machine("", cores, usable, None, None, "", None, ())) == expected
