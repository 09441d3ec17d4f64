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

from dist_training.record.events import read_events
from dist_training.record.run_folder import RunEnd, RunFolder
from imgmed import PreparedDataset
from r2d2.launching.horovodrun import HOROVODRUN
from tests.small_network import SMALL_WORDS

BIN = Path(sys.executable).parent
R2D2 = str(BIN / "r2d2")
TINY = [*SMALL_WORDS, "training.batch_size_per_worker=4"]
ENDLESS = "training.epochs=100000"
EPOCHS = 80
"""Of the run that is left alone: enough to stop others again and again, a tenth of a second each."""
PATIENCE_S = 300
"""For what must come, on a machine of any speed."""
ON_TWO = ("--workers", "2", "--threads", "1", f"training.epochs={EPOCHS}")

Start = Callable[[list[str]], subprocess.Popen[str]]
"""What the fixture ``start_job`` gives."""


def train(dataset: PreparedDataset, run_dir: Path, *arguments: str) -> list[str]:
    """The command that trains a tiny network."""
    return [R2D2, "train", "--dataset", str(dataset.folder), "--run-dir", str(run_dir), *TINY, *arguments]


def resume(folder: RunFolder, *arguments: str) -> list[str]:
    return [R2D2, "train", "--run-dir", str(folder.path), "--resume", *arguments]


def horovodrun(workers: int, *command: str) -> list[str]:
    """The command as R2D2 gives it: typed, horovodrun loads TensorFlow twice to look for MPI and for Gloo."""
    return [*HOROVODRUN, "-np", str(workers), *command]


def run(command: list[str], cwd: Path, timeout: float = 2 * PATIENCE_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition holds and give its value."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def events_of(folder: RunFolder, kind: str) -> list[Any]:
    return [event for event in read_events(folder.events) if event.event == kind]


def parts_started(folder: RunFolder) -> int:
    """How often a run was begun or gone on with."""
    return sum(event.state == "running" for event in events_of(folder, "state"))


def wait_for_a_checkpoint(folder: RunFolder, part: int = 1) -> None:
    """Wait until a checkpoint is written since the run went on for the so-manieth time."""

    def is_written() -> bool:
        words = [getattr(event, "state", event.event) for event in read_events(folder.events)]
        return words.count("running") == part and "checkpoint" in words[len(words) - words[::-1].index("running") :]

    wait_for(is_written, f"a checkpoint of part {part}")


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


def workers_of(job: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """The processes of a job that train, by rank, as soon as all are there."""
    return wait_for(lambda: len(found := worker_processes(job.pid)) == count and found, f"{count} workers")


def wait_for_the_end(processes: list[psutil.Process]) -> None:
    wait_for(lambda: not any(process.is_running() for process in processes), "the workers' end")


def said(folder: Path) -> str:
    """What the job that was started last in a folder has said; see ``start``."""
    return (folder / "stderr.txt").read_text() + (folder / "stdout.txt").read_text()


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
