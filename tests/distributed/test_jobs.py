"""Whole jobs: started by r2d2 or by a horovodrun that the user typed, interrupted, killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dist_training.checkpoints import read_latest_checkpoint
from dist_training.record.events import StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from tests.distributed.jobs import (
    ENDLESS,
    EPOCHS,
    ON_TWO,
    R2D2,
    Start,
    epochs_done,
    exit_state,
    horovodrun,
    resume,
    run,
    train,
    wait_for,
    wait_for_epochs,
    worker_processes,
)

pytestmark = pytest.mark.distributed

BATCH = ("training.global_batch_size=3", "global_batch_size was 4, now 3")
Finished = tuple[RunFolder, subprocess.CompletedProcess[str]]


def weights(folder: RunFolder) -> list[np.ndarray]:
    checkpoint = read_latest_checkpoint(folder.checkpoints)
    assert checkpoint is not None
    return [*checkpoint.model, *checkpoint.optimizer]


def test_two_workers_leave_a_complete_run_folder(left_alone: Finished) -> None:
    folder, done = left_alone
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count(f"epoch {EPOCHS}/{EPOCHS}: loss") == 1
    assert "Traceback" not in done.stderr
    assert exit_state(folder).state == "completed"
    events = read_events(folder.events)
    assert [event.state for event in events if event.event == "state"] == ["starting", "running", "completed"]
    steps = [event for event in events if isinstance(event, StepTaken)]
    assert [event.step for event in steps] == list(range(1, 3 * EPOCHS + 1))  # 21 slices, 8 a step
    assert all(event.images_per_second > 0 for event in steps)
    assert json.loads(folder.environment.read_text())["world_size"] == 2
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        *("config.yaml", "environment.json", "events.jsonl", "exit.json", "model.keras", "model.json"),
        *("checkpoints", "tensorboard", "logs"),
    }
    assert {path.name for path in folder.logs.iterdir()} == {"rank-0.log", "rank-1.log", "launcher.log"}
    assert any(folder.tensorboard.iterdir())


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start, left_alone: Finished
) -> None:
    """Ctrl-C, then --resume: the last weights and the optimizer's state are those of a run left alone, bit for bit."""
    stopped = RunFolder(tmp_path / "stopped")
    job = start_job(train(small_dataset, stopped.path, *ON_TWO))
    wait_for_epochs(stopped, 2)
    job.send_signal(signal.SIGINT)
    assert job.wait(60) == 130
    end = exit_state(stopped)
    assert (end.state, end.stopped_by, end.reason) == ("stopped_early", "signal", "signal SIGINT")
    assert 2 <= epochs_done(stopped) < EPOCHS
    said = (tmp_path / "stderr.txt").read_text()
    assert "stopping after this step, with a checkpoint" in said
    assert "--resume" in said
    again = run(resume(stopped), tmp_path)
    assert again.returncode == 0, again.stderr
    assert "going on from step" in again.stderr
    assert exit_state(stopped).state == "completed"
    for undisturbed, resumed in zip(weights(left_alone[0]), weights(stopped), strict=True):
        np.testing.assert_array_equal(undisturbed, resumed)


def test_a_run_goes_on_with_another_number_of_workers(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    """Two workers take the first steps, one process the rest: in double precision the weights agree to 1e-9."""
    settings = ["training.epochs=2", "training.dtype=float64", "training.global_batch_size=4"]
    whole, moved = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "moved")
    assert run(train(small_dataset, whole.path, *settings), tmp_path).returncode == 0
    soon = run(train(small_dataset, moved.path, "--workers", "2", "--max-minutes", "0.000001", *settings), tmp_path)
    assert soon.returncode == 0, soon.stderr
    assert "max_minutes" in exit_state(moved).reason
    threads = json.loads(moved.environment.read_text())["threads_per_worker"]
    assert threads == max(1, len(os.sched_getaffinity(0)) // 2)
    rest = resume(moved, "--dataset", str(small_dataset.folder), "--workers", "1", "training.max_minutes=null")
    assert run(rest, tmp_path).returncode == 0
    assert exit_state(moved).state == "completed"
    for one, other in zip(weights(whole), weights(moved), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("launcher", "rank"), [("r2d2", 1), ("horovodrun", 0), pytest.param("horovodrun", 1, marks=pytest.mark.long)]
)
def test_a_killed_worker_ends_the_job_within_seconds(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start, launcher: str, rank: int
) -> None:
    """It then goes on where it was; under horovodrun, test_faults.py shows that."""
    folder = RunFolder(tmp_path / "run")
    command = train(small_dataset, folder.path, ENDLESS)
    job = start_job([*command, "--workers", "2"] if launcher == "r2d2" else horovodrun(2, *command))
    wait_for_epochs(folder, 2)
    workers = worker_processes(job.pid)
    assert len(workers) == 2
    killed = time.monotonic()
    workers[rank].kill()
    code = job.wait(60)
    assert time.monotonic() - killed < 30
    assert code == 1
    said = (tmp_path / "stderr.txt").read_text() + (tmp_path / "stdout.txt").read_text()
    assert "another worker of this job died" in said
    assert "--resume" in said
    assert exit_state(folder).state == "failed"
    wait_for(lambda: not any(worker.is_running() for worker in workers), 10, "the workers' end")
    epochs = read_latest_checkpoint(folder.checkpoints).progress.epoch  # type: ignore[union-attr]
    assert epochs >= 1
    if launcher == "r2d2":
        assert "Traceback" not in said
        again = run(resume(folder, f"training.epochs={epochs + 3}", "--workers", "1"), tmp_path)
        assert again.returncode == 0, again.stderr
        assert exit_state(folder).state == "completed"
        assert read_latest_checkpoint(folder.checkpoints).progress.epoch == epochs + 3  # type: ignore[union-attr]


def test_a_second_ctrl_c_ends_the_job_at_once(small_dataset: PreparedDataset, tmp_path: Path, start_job: Start) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", ENDLESS))
    workers = wait_for(lambda: len(found := worker_processes(job.pid)) == 2 and found, 60, "two workers")
    job.send_signal(signal.SIGINT)
    time.sleep(0.5)
    job.send_signal(signal.SIGINT)
    assert job.wait(30) == 130
    assert exit_state(folder).state == "cancelled"
    assert not any(worker.is_running() for worker in workers)


def test_one_process_is_not_resumed_beside_itself_and_stops_with_a_checkpoint_on_sigterm(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, ENDLESS))
    wait_for_epochs(folder, 1)
    beside = run(resume(folder), tmp_path)
    assert beside.returncode == 2
    assert "being written by another process" in beside.stderr
    assert job.poll() is None
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 130
    assert exit_state(folder).reason == "signal SIGTERM"
    assert weights(folder)


@pytest.mark.long
def test_ctrl_c_while_the_workers_start_is_not_lost(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", ENDLESS))
    wait_for(lambda: (folder.logs / "launcher.log").exists(), 60, "the launcher")
    time.sleep(1)
    job.send_signal(signal.SIGINT)
    assert job.wait(120) == 130
    assert exit_state(folder).state == "stopped_early"


def test_under_a_typed_horovodrun_one_rank_speaks(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    done = run(horovodrun(2, *train(small_dataset, tmp_path / "run", "training.epoch=3")), tmp_path)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert said.count("r2d2: 1 fault in the configuration") == 1
    assert "did you mean epochs?" in said
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_architecture_is_refused(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert run(train(small_dataset, folder.path, "training.epochs=1"), tmp_path).returncode == 0
    before, configuration = weights(folder), folder.config.read_text()
    for word, difference in (("training.optimizer=sgd", "optimizer was 'adam', now 'sgd'"), BATCH):
        done = run(resume(folder, word), tmp_path)
        assert done.returncode == 2
        assert difference in done.stderr
    done = run(resume(folder, "network.depth=2", "training.epochs=2"), tmp_path)
    assert done.returncode == 2
    assert folder.config.read_text() == configuration
    assert "checkpoint of another architecture, dataset or setting: depth was 1, now 2" in done.stderr
    for one, other in zip(before, weights(folder), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_without_any_configuration_it_trains_on_the_phantom_and_says_so_once(
    tmp_path: Path, start_job: Start, workers: int
) -> None:
    command = [R2D2, "train"]
    job = start_job(command if workers == 1 else horovodrun(workers, *command))
    folder = RunFolder(tmp_path / "runs" / "phantom-1")
    try:
        wait_for(lambda: any(isinstance(event, StepTaken) for event in read_events(folder.events)), 150, "a step")
    finally:
        job.send_signal(signal.SIGINT)
        job.wait(60)
    said = (tmp_path / "stdout.txt").read_text() + (tmp_path / "stderr.txt").read_text()
    assert said.count("training on the generated phantom study") == 1
    assert (tmp_path / "r2d2-phantom" / "dataset" / "dataset.json").is_file()


def test_one_worker_needs_no_horovod(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    """Training in one process never imports it: an import would fail here."""
    (tmp_path / "blocked" / "horovod").mkdir(parents=True)
    (tmp_path / "blocked" / "horovod" / "__init__.py").write_text("raise ImportError('blocked by the test')")
    script = "import sys; sys.path.insert(0, sys.argv.pop(1)); from r2d2.cli import main; main()"
    command = [sys.executable, "-c", script, str(tmp_path / "blocked")]
    done = run([*command, *train(small_dataset, tmp_path / "run", "training.epochs=1")[1:]], tmp_path)
    assert done.returncode == 0, done.stderr
    assert exit_state(RunFolder(tmp_path / "run")).state == "completed"
