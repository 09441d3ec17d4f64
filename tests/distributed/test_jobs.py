"""Whole jobs: started by r2d2 or by a horovodrun that the user typed, interrupted, killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import BIN, horovodrun, run, wait_for, worker_processes

from dist_training.checkpoints import read_latest_checkpoint
from dist_training.events import read_events
from dist_training.run_folder import RunFolder
from imgmed import PreparedDataset

pytestmark = pytest.mark.distributed

Start = Callable[[list[str]], subprocess.Popen[str]]
R2D2 = str(BIN / "r2d2")
TINY = ["network.depth=1", "network.base_filters=4", "training.batch_size_per_worker=4"]
BATCH = ("training.global_batch_size=3", "global_batch_size was 4, now 3")
ENDLESS = [*TINY, "training.epochs=100000"]


def train(dataset: PreparedDataset, run_dir: Path, *arguments: str) -> list[str]:
    return [R2D2, "train", "--dataset", str(dataset.folder), "--run-dir", str(run_dir), *arguments]


def epochs_done(folder: RunFolder) -> int:
    return sum(event["event"] == "epoch" for event in read_events(folder.events))


def exit_state(folder: RunFolder) -> dict[str, Any]:
    state = folder.read_exit()
    assert state is not None
    return state


def weights(folder: RunFolder) -> list[np.ndarray]:
    checkpoint = read_latest_checkpoint(folder.checkpoints)
    assert checkpoint is not None
    return [*checkpoint.model, *checkpoint.optimizer]


def test_two_workers_leave_a_complete_run_folder(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    done = run(train(small_dataset, folder.path, "--workers", "2", *TINY, "training.epochs=3"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("epoch 3/3: loss") == 1
    assert "Traceback" not in done.stderr
    assert exit_state(folder)["state"] == "completed"
    events = read_events(folder.events)
    assert [event["state"] for event in events if event["event"] == "state"] == ["starting", "running", "completed"]
    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 10))  # 21 slices, 8 a step: 3 steps an epoch
    assert all(event["images_per_second"] > 0 for event in steps)
    environment = json.loads(folder.environment.read_text())
    assert environment["world_size"] == 2
    assert environment["threads_per_worker"] == max(1, len(os.sched_getaffinity(0)) // 2)
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        *("config.yaml", "environment.json", "events.jsonl", "exit.json", "model.keras", "model.json"),
        *("checkpoints", "tensorboard", "logs"),
    }
    assert {path.name for path in folder.logs.iterdir()} == {"rank-0.log", "rank-1.log", "launcher.log"}
    assert any(folder.tensorboard.iterdir())


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    """Ctrl-C, then --resume: the last weights and the optimizer's state are those of a run left alone, bit for bit."""
    settings = ["--workers", "2", "--threads", "1", *TINY, "training.epochs=70"]
    alone, stopped = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "stopped")
    assert run(train(small_dataset, alone.path, *settings), tmp_path).returncode == 0
    job = start_job(train(small_dataset, stopped.path, *settings))
    wait_for(lambda: epochs_done(stopped) >= 2, 120, "two epochs")
    job.send_signal(signal.SIGINT)
    assert job.wait(60) == 130
    assert exit_state(stopped) == {**exit_state(stopped), "state": "stopped_early", "reason": "signal SIGINT"}
    assert 2 <= epochs_done(stopped) < 70
    said = (tmp_path / "stderr.txt").read_text()
    assert "stopping after this step, with a checkpoint" in said
    assert "--resume" in said
    again = run([R2D2, "train", "--run-dir", str(stopped.path), "--resume"], tmp_path)
    assert again.returncode == 0, again.stderr
    assert "going on from step" in again.stderr
    assert exit_state(stopped)["state"] == "completed"
    for left_alone, resumed in zip(weights(alone), weights(stopped), strict=True):
        np.testing.assert_array_equal(left_alone, resumed)


def test_a_run_goes_on_with_another_number_of_workers(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    """Two workers take the first steps, one process the rest: in double precision the weights agree to 1e-9."""
    settings = [*TINY, "training.epochs=2", "training.dtype=float64", "training.global_batch_size=4"]
    whole, moved = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "moved")
    assert run(train(small_dataset, whole.path, *settings), tmp_path).returncode == 0
    soon = run(train(small_dataset, moved.path, "--workers", "2", "--max-minutes", "0.000001", *settings), tmp_path)
    assert soon.returncode == 0, soon.stderr
    assert "max_minutes" in exit_state(moved)["reason"]
    rest = train(small_dataset, moved.path, "--resume", "--workers", "1", "training.max_minutes=null")
    assert run(rest, tmp_path).returncode == 0
    assert exit_state(moved)["state"] == "completed"
    for one, other in zip(weights(whole), weights(moved), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("launcher", "rank"), [("r2d2", 1), ("horovodrun", 1), ("horovodrun", 0)])
def test_a_killed_worker_ends_the_job_within_seconds_and_it_resumes(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start, launcher: str, rank: int
) -> None:
    folder = RunFolder(tmp_path / "run")
    command = train(small_dataset, folder.path, *ENDLESS)
    job = start_job([*command, "--workers", "2"] if launcher == "r2d2" else horovodrun(2, *command))
    wait_for(lambda: epochs_done(folder) >= 2, 120, "two epochs")
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
    if launcher == "r2d2":
        assert "Traceback" not in said
    assert exit_state(folder)["state"] == "failed"
    wait_for(lambda: not any(worker.is_running() for worker in workers), 10, "the workers' end")
    epochs = read_latest_checkpoint(folder.checkpoints).progress.epoch  # type: ignore[union-attr]
    resume = [R2D2, "train", "--run-dir", str(folder.path), "--resume", f"training.epochs={epochs + 3}"]
    again = run([*resume, "--workers", "1"], tmp_path)
    assert again.returncode == 0, again.stderr
    assert exit_state(folder)["state"] == "completed"
    assert read_latest_checkpoint(folder.checkpoints).progress.epoch == epochs + 3  # type: ignore[union-attr]


def test_a_second_ctrl_c_ends_the_job_at_once(small_dataset: PreparedDataset, tmp_path: Path, start_job: Start) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", *ENDLESS))
    workers = wait_for(lambda: len(found := worker_processes(job.pid)) == 2 and found, 60, "two workers")
    job.send_signal(signal.SIGINT)
    time.sleep(0.5)
    job.send_signal(signal.SIGINT)
    assert job.wait(30) == 130
    assert exit_state(folder)["state"] == "cancelled"
    assert not any(worker.is_running() for worker in workers)


def test_one_process_stops_with_a_checkpoint_on_sigterm(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, *ENDLESS))
    wait_for(lambda: epochs_done(folder) >= 1, 120, "an epoch")
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 130
    assert exit_state(folder)["reason"] == "signal SIGTERM"
    assert weights(folder)


def test_a_request_in_control_json_stops_all_workers(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    from dist_training.control import request_stop

    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", *ENDLESS))
    wait_for(lambda: epochs_done(folder) >= 1, 120, "an epoch")
    request_stop(folder.control, "enough seen")
    assert job.wait(60) == 0
    assert exit_state(folder) == {**exit_state(folder), "state": "stopped_early", "reason": "enough seen"}


def test_ctrl_c_while_the_workers_start_is_not_lost(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", *ENDLESS))
    wait_for(lambda: (folder.logs / "launcher.log").exists(), 60, "the launcher")
    time.sleep(1)
    job.send_signal(signal.SIGINT)
    assert job.wait(120) == 130
    assert exit_state(folder)["state"] == "stopped_early"


def test_a_run_in_progress_is_not_resumed_beside_itself(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    start_job(train(small_dataset, folder.path, *ENDLESS))
    wait_for(lambda: epochs_done(folder) >= 1, 120, "an epoch")
    done = run([R2D2, "train", "--run-dir", str(folder.path), "--resume"], tmp_path)
    assert done.returncode == 2
    assert "being written by another process" in done.stderr


def test_under_a_typed_horovodrun_one_rank_speaks(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    done = run(horovodrun(2, *train(small_dataset, tmp_path / "run", "training.epoch=3")), tmp_path)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert said.count("r2d2: 1 fault in the configuration") == 1
    assert "did you mean epochs?" in said
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_architecture_is_refused(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert run(train(small_dataset, folder.path, *TINY, "training.epochs=1"), tmp_path).returncode == 0
    before, configuration = weights(folder), folder.config.read_text()
    resume = [R2D2, "train", "--run-dir", str(folder.path), "--resume"]
    for word, difference in (("training.optimizer=sgd", "optimizer was 'adam', now 'sgd'"), BATCH):
        done = run([*resume, word], tmp_path)
        assert done.returncode == 2
        assert difference in done.stderr
    done = run([*resume, "network.depth=2", "training.epochs=2"], tmp_path)
    assert done.returncode == 2
    assert folder.config.read_text() == configuration
    assert "checkpoint of another architecture, dataset or setting: depth was 1, now 2" in done.stderr
    for one, other in zip(before, weights(folder), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_any_configuration_it_trains_on_the_phantom_and_says_so(tmp_path: Path, start_job: Start) -> None:
    job = start_job(horovodrun(2, R2D2, "train"))
    folder = RunFolder(tmp_path / "runs" / "phantom-1")
    try:
        wait_for(lambda: any(event["event"] == "step" for event in read_events(folder.events)), 150, "a step")
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
    arguments = [*TINY, "training.epochs=1"]
    script = "import sys; sys.path.insert(0, sys.argv.pop(1)); from r2d2.cli import main; main()"
    command = [sys.executable, "-c", script, str(tmp_path / "blocked")]
    done = run([*command, *train(small_dataset, tmp_path / "run", *arguments)[1:]], tmp_path)
    assert done.returncode == 0, done.stderr
    assert exit_state(RunFolder(tmp_path / "run"))["state"] == "completed"
