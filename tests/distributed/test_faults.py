"""A run that is killed and stopped at random moments, again and again, ends as one that was left alone: bit for bit.

The short version runs with the others; the long one is for people (see CONTRIBUTING):

    make test PYTEST_ARGS="--long tests/distributed/test_faults.py"
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from dist_training.checkpoints import read_latest_checkpoint
from dist_training.record.events import Running, StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from tests.distributed.jobs import EPOCHS, Start, horovodrun, resume, run, train, wait_for, worker_processes

pytestmark = pytest.mark.distributed

Fault = Callable[[subprocess.Popen[str], list[psutil.Process]], None]
WORKERS = 2
STEPS_PER_EPOCH = 3  # 21 slices, 4 for each of 2 workers
END_SECONDS = 240


def kill_rank(rank: int) -> Fault:
    return lambda job, workers: workers[rank].kill()


def kill_all(job: subprocess.Popen[str], workers: list[psutil.Process]) -> None:
    """As when the power goes: the launcher and every worker at once."""
    for process in (psutil.Process(job.pid), *workers):
        process.kill()


def signal_launcher(number: signal.Signals) -> Fault:
    return lambda job, workers: job.send_signal(number)


def signal_workers(number: signal.Signals) -> Fault:
    """As a batch system does, which tells every process of a job that its time is ending."""

    def tell(job: subprocess.Popen[str], workers: list[psutil.Process]) -> None:
        for worker in workers:
            worker.send_signal(number)

    return tell


FAULTS: dict[str, Fault] = {
    "SIGKILL of worker 0": kill_rank(0),
    "SIGKILL of worker 1": kill_rank(1),
    "SIGKILL of all": kill_all,
    "SIGKILL of the launcher": signal_launcher(signal.SIGKILL),
    "SIGTERM of the launcher": signal_launcher(signal.SIGTERM),
    "SIGINT of the launcher": signal_launcher(signal.SIGINT),
    "SIGUSR1 of the workers": signal_workers(signal.SIGUSR1),
    "SIGTERM of the workers": signal_workers(signal.SIGTERM),
}


def command(dataset: PreparedDataset, folder: RunFolder, epochs: int) -> list[str]:
    return horovodrun(WORKERS, *train(dataset, folder.path, "--threads", "1", f"training.epochs={epochs}"))


def resumption(folder: RunFolder) -> list[str]:
    return horovodrun(WORKERS, *resume(folder))


def last_step(folder: RunFolder) -> int:
    return max((event.step for event in read_events(folder.events) if isinstance(event, StepTaken)), default=0)


def parts_started(folder: RunFolder) -> int:
    return sum(isinstance(event, Running) for event in read_events(folder.events))


def run_with_faults(
    dataset: PreparedDataset,
    folder: RunFolder,
    start_job: Start,
    *,
    faults: list[str],
    epochs: int,
    chance: random.Random,
) -> None:
    """Let each fault strike at a random step of a random moment within its share of the run, then resume."""
    share = epochs * STEPS_PER_EPOCH // (len(faults) + 1)
    for number, name in enumerate(faults):
        job = start_job(resumption(folder) if folder.config.exists() else command(dataset, folder, epochs))
        wait_for(lambda part=number + 1: parts_started(folder) == part, END_SECONDS, f"part {number + 1} of the run")
        strike = number * share + chance.randrange(1, share)
        wait_for(lambda step=strike: last_step(folder) >= step, END_SECONDS, f"step {strike}")
        time.sleep(chance.uniform(0, 0.1))
        workers = worker_processes(job.pid)
        assert len(workers) == WORKERS, f"the run was over before {name}"
        FAULTS[name](job, workers)
        job.wait(END_SECONDS)
        # Those that outlive their launcher would be writing the run folder still.
        wait_for(lambda left=workers: not any(worker.is_running() for worker in left), END_SECONDS, f"end after {name}")


def assert_same_end(alone: RunFolder, folder: RunFolder) -> None:
    one, other = (read_latest_checkpoint(run.checkpoints) for run in (alone, folder))
    assert one is not None
    assert other is not None
    # All but the minutes of training, which two runs never share.
    assert replace(one.progress, minutes=0.0) == replace(other.progress, minutes=0.0)
    for left_alone, resumed in zip((*one.model, *one.optimizer), (*other.model, *other.optimizer), strict=True):
        np.testing.assert_array_equal(left_alone, resumed)


def check_faults(
    dataset: PreparedDataset, alone: RunFolder, folder: RunFolder, start_job: Start, faults: list[str], epochs: int
) -> None:
    run_with_faults(dataset, folder, start_job, faults=faults, epochs=epochs, chance=random.Random(epochs))
    done = run(resumption(folder), folder.path.parent, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:]
    assert parts_started(folder) == len(faults) + 1
    assert_same_end(alone, folder)


def test_three_kills_change_nothing(
    small_dataset: PreparedDataset,
    tmp_path: Path,
    start_job: Start,
    left_alone: tuple[RunFolder, subprocess.CompletedProcess[str]],
) -> None:
    alone, done = left_alone
    assert done.returncode == 0, done.stderr[-3000:]
    faults = ["SIGKILL of worker 1", "SIGUSR1 of the workers", "SIGKILL of all"]
    check_faults(small_dataset, alone, RunFolder(tmp_path / "faults"), start_job, faults, EPOCHS)


@pytest.mark.long
def test_many_faults_of_every_kind_change_nothing(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    """R2D2_FAULTS (24 unless given) of them, each kind equally often."""
    count = int(os.environ.get("R2D2_FAULTS", "24"))
    faults = (list(FAULTS) * (count // len(FAULTS) + 1))[:count]
    random.Random(count).shuffle(faults)
    epochs = 25 * (count + 1)
    alone, folder = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "faults")
    done = run(command(small_dataset, alone, epochs), tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:]
    check_faults(small_dataset, alone, folder, start_job, faults, epochs)
