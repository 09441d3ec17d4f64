"""Jobs that fail are not started again; batch systems' signals; named hosts; control; another number of workers."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from dist_training.checkpoints import read_latest_checkpoint
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2_base.machine import whole_cores
from tests.distributed.jobs import (
    ENDLESS,
    PATIENCE_S,
    R2D2,
    Start,
    events_of,
    exit_state,
    resume,
    run,
    train,
    wait_for_a_checkpoint,
    wait_for_the_end,
    workers_of,
)

pytestmark = pytest.mark.distributed


def test_a_failure_of_its_own_is_not_tried_again(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    """A learning rate that makes the loss explode would do so again."""
    folder = RunFolder(tmp_path / "run")
    settings = ["training.learning_rate=1e30", "training.optimizer=sgd", "training.warmup_epochs=0"]
    done = run(train(small_dataset, folder.path, "--max-restarts", "3", *settings), tmp_path)
    assert done.returncode == 1
    assert "the loss became" in done.stderr
    assert "restart" not in done.stderr
    assert events_of(folder, "restart") == []


@pytest.mark.long
@pytest.mark.parametrize("receivers", ["r2d2", "r2d2 and all its processes"])
def test_sigusr1_of_a_batch_system_stops_with_a_checkpoint(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start, receivers: str
) -> None:
    """That of a horovodrun that was typed is in ``test_faults.py``."""
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", ENDLESS))
    wait_for_a_checkpoint(folder)
    workers = workers_of(job, 2)
    others = psutil.Process(job.pid).children(recursive=True) if "all" in receivers else []
    for process in (job, *others):
        process.send_signal(signal.SIGUSR1)
    assert job.wait(PATIENCE_S) == 130
    wait_for_the_end(workers)
    end = exit_state(folder)
    assert (end.state, end.stopped_by, end.reason) == ("stopped_early", "signal", "signal SIGUSR1")
    assert events_of(folder, "checkpoint")[-1].step == events_of(folder, "step")[-1].step


def test_named_hosts_run_the_workers_that_control_then_stops_and_one_goes_on(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    hosts = ["--hosts", "localhost:2"]
    job = start_job(train(small_dataset, folder.path, *hosts, "training.global_batch_size=8", ENDLESS))
    wait_for_a_checkpoint(folder)
    environment = json.loads(folder.environment.read_text())
    assert environment["world_size"] == 2
    assert environment["threads_per_worker"] == max(1, whole_cores() // 2)
    asked = run([R2D2, "control", str(folder.path), "stop", "--reason", "seen enough"], tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert job.wait(PATIENCE_S) == 0
    end = exit_state(folder)
    assert (end.state, end.stopped_by, end.reason) == ("stopped_early", "request", "seen enough")
    again = run([R2D2, "control", str(folder.path), "stop"], tmp_path)
    assert again.returncode == 2
    assert "is not running" in again.stderr
    epochs = read_latest_checkpoint(folder.checkpoints).progress.epoch + 2  # type: ignore[union-attr]
    alone = run(resume(folder, "--workers", "1", f"training.epochs={epochs}"), tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert json.loads(folder.environment.read_text())["world_size"] == 1
    assert exit_state(folder).state == "completed"
    assert read_latest_checkpoint(folder.checkpoints).progress.epoch == epochs  # type: ignore[union-attr]
