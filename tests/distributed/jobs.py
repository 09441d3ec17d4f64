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

from dist_training.record.events import EpochEnded, read_events
from dist_training.record.run_folder import RunEnd, RunFolder
from imgmed import PreparedDataset

BIN = Path(sys.executable).parent
R2D2 = str(BIN / "r2d2")
TINY = ["network.depth=1", "network.base_filters=4", "training.batch_size_per_worker=4"]
ENDLESS = "training.epochs=100000"
EPOCHS = 25
"""Of the run that is left alone: enough to stop others midway, a tenth of a second each."""
ON_TWO = ("--workers", "2", "--threads", "1", f"training.epochs={EPOCHS}")

Start = Callable[[list[str]], subprocess.Popen[str]]
"""What the fixture ``start_job`` gives."""


def train(dataset: PreparedDataset, run_dir: Path, *arguments: str) -> list[str]:
    """The command that trains a tiny network."""
    return [R2D2, "train", "--dataset", str(dataset.folder), "--run-dir", str(run_dir), *TINY, *arguments]


def resume(folder: RunFolder, *arguments: str) -> list[str]:
    return [R2D2, "train", "--run-dir", str(folder.path), "--resume", *arguments]


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


def epochs_done(folder: RunFolder) -> int:
    return sum(isinstance(event, EpochEnded) for event in read_events(folder.events))


def wait_for_epochs(folder: RunFolder, count: int) -> None:
    wait_for(lambda: epochs_done(folder) >= count, 180, f"{count} epochs")


def exit_state(folder: RunFolder) -> RunEnd:
    state = folder.read_exit()
    assert state is not None
    return state


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
