"""A run that is stopped and killed, again and again, ends as one that was left alone: bit for bit.

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
from dist_training.record.events import StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from tests.distributed.jobs import (
    EPOCHS,
    ON_TWO,
    PATIENCE_S,
    Start,
    events_of,
    exit_state,
    horovodrun,
    parts_started,
    resume,
    run,
    said,
    train,
    wait_for,
    wait_for_a_checkpoint,
    wait_for_the_end,
    workers_of,
)

pytestmark = pytest.mark.distributed

Fault = Callable[[subprocess.Popen[str], list[psutil.Process]], None]
WORKERS = 2
STEPS_PER_EPOCH = 3  # 21 slices, 4 for each of 2 workers


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
        wait_for(lambda part=number + 1: parts_started(folder) == part, f"part {number + 1} of the run")
        strike = number * share + chance.randrange(1, share)
        wait_for(lambda step=strike: last_step(folder) >= step, f"step {strike}")
        time.sleep(chance.uniform(0, 0.1))
        workers = workers_of(job, WORKERS)
        FAULTS[name](job, workers)
        job.wait(PATIENCE_S)
        wait_for_the_end(workers)  # those that outlive their launcher would be writing the run folder still


def assert_same_end(alone: RunFolder, folder: RunFolder) -> None:
    one, other = (read_latest_checkpoint(run.checkpoints) for run in (alone, folder))
    assert one is not None
    assert other is not None
    # All but the minutes of training, which two runs never share.
    assert replace(one.progress, minutes=0.0) == replace(other.progress, minutes=0.0)
    for left_alone, resumed in zip((*one.model, *one.optimizer), (*other.model, *other.optimizer), strict=True):
        np.testing.assert_array_equal(left_alone, resumed)
    ours, theirs = ({path.name: path.read_bytes() for path in run.samples.iterdir()} for run in (alone, folder))
    assert ours == theirs and len(ours) > 2


def test_what_stops_and_kills_a_run_changes_nothing(
    small_dataset: PreparedDataset,
    tmp_path: Path,
    start_job: Start,
    left_alone: tuple[RunFolder, subprocess.CompletedProcess[str]],
) -> None:
    """Each part begins with true processes, goes on from the last checkpoint, and says how to go on after it."""
    folder = RunFolder(tmp_path / "run")
    ctrl_c(start_job(train(small_dataset, folder.path, *ON_TWO)), folder)
    for number, strike in enumerate((kill_rank_1, sigusr1, kill_all_at_once), start=2):
        job = start_job(resumption(folder))
        wait_for_a_checkpoint(folder, part=number)
        strike(job, folder, workers_of(job, WORKERS))
    lose_rank_0(start_job(resume(folder, "--max-restarts", "2")), folder, part=5)
    resumed = [event.resumed_at_step for event in events_of(folder, "state") if event.state == "running"]
    assert resumed[0] == 0
    assert len(resumed) == 6
    assert resumed == sorted(set(resumed))
    assert_same_end(left_alone[0], folder)


def ctrl_c(job: subprocess.Popen[str], folder: RunFolder) -> None:
    """Of ``r2d2 train``: it stops the run from inside."""
    wait_for_a_checkpoint(folder)
    job.send_signal(signal.SIGINT)
    assert job.wait(PATIENCE_S) == 130
    end = exit_state(folder)
    assert (end.state, end.stopped_by, end.reason) == ("stopped_early", "signal", "signal SIGINT")
    assert 1 <= len(events_of(folder, "epoch")) < EPOCHS
    text = said(folder.path.parent)
    assert "stopping after this step, with a checkpoint" in text
    assert "--resume" in text


def kill_rank_1(job: subprocess.Popen[str], folder: RunFolder, workers: list[psutil.Process]) -> None:
    """Under a horovodrun that was typed: the other worker says why it ends."""
    workers[1].kill()
    assert job.wait(PATIENCE_S) == 1
    wait_for_the_end(workers)
    text = said(folder.path.parent)
    assert "another worker of this job died" in text
    assert "--resume" in text
    assert exit_state(folder).state == "failed"


def sigusr1(job: subprocess.Popen[str], folder: RunFolder, workers: list[psutil.Process]) -> None:
    """Of a batch system: a horovodrun that was typed dies of it, but its workers then get SIGTERM, and five seconds."""
    job.send_signal(signal.SIGUSR1)
    assert job.wait(PATIENCE_S) == -signal.SIGUSR1
    wait_for_the_end(workers)
    end = exit_state(folder)
    assert (end.state, end.stopped_by, end.reason) == ("stopped_early", "signal", "signal SIGTERM")
    assert events_of(folder, "checkpoint")[-1].step == events_of(folder, "step")[-1].step


def kill_all_at_once(job: subprocess.Popen[str], folder: RunFolder, workers: list[psutil.Process]) -> None:
    kill_all(job, workers)
    wait_for_the_end(workers)


def lose_rank_0(job: subprocess.Popen[str], folder: RunFolder, part: int) -> None:
    """Of ``r2d2 train``, which starts all again by itself, and completes."""
    wait_for_a_checkpoint(folder, part)
    workers_of(job, WORKERS)[0].kill()
    assert job.wait(PATIENCE_S) == 0
    (restart,) = events_of(folder, "restart")
    assert (restart.number, restart.of) == (1, 2)
    assert "rank 0 was ended by SIGKILL: by someone, or by the system for lack of memory" in restart.reason
    text = said(folder.path.parent)
    assert "restart 1 of 2 from the last checkpoint" in text
    assert "going on from step" in text
    assert "Traceback" not in text
    assert exit_state(folder).state == "completed"


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
    done = run(command(small_dataset, alone, epochs), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    run_with_faults(small_dataset, folder, start_job, faults=faults, epochs=epochs, chance=random.Random(epochs))
    done = run(resumption(folder), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    assert parts_started(folder) == len(faults) + 1
    assert_same_end(alone, folder)
