"""Jobs that lose workers are started again, those that fail are not; batch systems' signals; r2d2 control."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from dist_training.record.events import read_events
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from tests.distributed.jobs import (
    ENDLESS,
    R2D2,
    Start,
    exit_state,
    horovodrun,
    run,
    train,
    wait_for,
    wait_for_epochs,
    worker_processes,
)

pytestmark = pytest.mark.distributed


def events_of(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(folder.events) if event.event == kind]


def is_running_since(folder: RunFolder, restarts: int) -> bool:
    """Whether the run has taken an epoch since that many restarts."""
    kinds = [event.event for event in read_events(folder.events)]
    since = max((index for index, kind in enumerate(kinds) if kind == "restart"), default=0)
    return kinds.count("restart") == restarts and "epoch" in kinds[since:]


def said(folder: Path) -> str:
    return (folder / "stderr.txt").read_text() + (folder / "stdout.txt").read_text()


def workers_of(job: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    return wait_for(lambda: len(found := worker_processes(job.pid)) == count and found, 60, f"{count} workers")


def test_a_job_that_loses_a_worker_twice_is_started_again_once(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", "--max-restarts", "1", ENDLESS))
    for restarts, rank in ((0, 1), (1, 0)):
        wait_for(lambda restarts=restarts: is_running_since(folder, restarts), 180, "an epoch")
        workers_of(job, 2)[rank].kill()
    assert job.wait(90) == 1
    restarts = events_of(folder, "restart")
    assert [(event.number, event.of) for event in restarts] == [(1, 1)]
    assert "rank 1 was ended by SIGKILL" in restarts[0]["reason"]
    text = said(tmp_path)
    assert "restart 1 of 1 from the last checkpoint" in text
    assert "going on from step" in text
    assert "rank 0 was ended by SIGKILL: by someone, or by the system for lack of memory" in text
    assert "--resume" in text
    assert "Traceback" not in text
    resumed = [event.resumed_at_step for event in events_of(folder, "state") if event.state == "running"]
    assert resumed[0] == 0 < resumed[1]
    assert exit_state(folder).state == "failed"
    assert not worker_processes(os.getpid())


def test_one_process_is_started_again_and_completes(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--max-restarts", "3", "training.epochs=30"))
    wait_for_epochs(folder, 1)
    (child,) = psutil.Process(job.pid).children()
    child.kill()
    assert job.wait(180) == 0
    assert exit_state(folder).state == "completed"
    assert len(events_of(folder, "restart")) == 1
    assert {event.epoch for event in events_of(folder, "epoch")} == set(range(1, 31))


def test_a_failure_of_its_own_is_not_tried_again(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    """A learning rate that makes the loss explode would do so again."""
    folder = RunFolder(tmp_path / "run")
    settings = ["training.learning_rate=1e30", "training.optimizer=sgd", "training.warmup_epochs=0"]
    done = run(train(small_dataset, folder.path, "--max-restarts", "3", *settings), tmp_path)
    assert done.returncode == 1
    assert "the loss became" in done.stderr
    assert "restart" not in done.stderr
    assert events_of(folder, "restart") == []


@pytest.mark.parametrize(
    "launcher",
    [*(pytest.param(name, marks=pytest.mark.long) for name in ("r2d2", "r2d2 and all its processes")), "horovodrun"],
)
def test_sigusr1_of_a_batch_system_stops_with_a_checkpoint(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start, launcher: str
) -> None:
    """A horovodrun that was typed dies of it, but its workers then get SIGTERM, and five seconds."""
    folder = RunFolder(tmp_path / "run")
    command = train(small_dataset, folder.path, ENDLESS)
    job = start_job(horovodrun(2, *command) if launcher == "horovodrun" else [*command, "--workers", "2"])
    wait_for_epochs(folder, 1)
    workers = workers_of(job, 2)
    others = psutil.Process(job.pid).children(recursive=True) if "all" in launcher else []
    for process in (job, *others):
        process.send_signal(signal.SIGUSR1)
    code = job.wait(60)
    wait_for(lambda: not any(worker.is_running() for worker in workers), 30, "the workers' end")
    state = exit_state(folder)
    expected = (-signal.SIGUSR1, "signal SIGTERM") if launcher == "horovodrun" else (130, "signal SIGUSR1")
    assert (code, state.reason) == expected
    assert state.state == "stopped_early"
    assert events_of(folder, "checkpoint")[-1].step == events_of(folder, "step")[-1].step


def test_named_hosts_run_the_workers_that_control_then_stops(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--hosts", "localhost:2", ENDLESS))
    wait_for_epochs(folder, 1)
    assert json.loads(folder.environment.read_text())["world_size"] == 2
    asked = run([R2D2, "control", str(folder.path), "stop", "--reason", "seen enough"], tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert job.wait(60) == 0
    end = exit_state(folder)
    assert (end.state, end.stopped_by, end.reason) == ("stopped_early", "request", "seen enough")
    again = run([R2D2, "control", str(folder.path), "stop"], tmp_path)
    assert again.returncode == 2
    assert "is not running" in again.stderr
