"""How real jobs of several processes are started, watched and ended."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

BIN = Path(sys.executable).parent


def horovodrun(workers: int, *command: str) -> list[str]:
    return [str(BIN / "horovodrun"), "-np", str(workers), *command]


def run(command: list[str], cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until a condition holds and give its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def worker_processes(parent: int) -> list[psutil.Process]:
    """The Python processes of a job that train, by rank."""
    found = {}
    for process in psutil.Process(parent).children(recursive=True):
        try:
            command, rank = process.cmdline(), process.environ().get("HOROVOD_RANK")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if rank is not None and command and "python" in Path(command[0]).name and "r2d2" in " ".join(command):
            found[int(rank)] = process
    return [found[rank] for rank in sorted(found)]


def start(command: list[str], cwd: Path) -> subprocess.Popen[str]:
    """Start a command whose output goes to files, so that no pipe can fill up; see the fixture ``start_job``."""
    with (cwd / "stdout.txt").open("w") as out, (cwd / "stderr.txt").open("w") as err:
        return subprocess.Popen(command, cwd=cwd, stdout=out, stderr=err, text=True, env={**os.environ})


def end(job: subprocess.Popen[str], descendants: list[psutil.Process]) -> None:
    """Leave nothing of a job behind, whatever became of its test."""
    if job.poll() is None:
        descendants = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
    for process in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    job.wait()
