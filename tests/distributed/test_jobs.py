"""Whole jobs: what they leave, how they end, and what they refuse; see ``test_faults.py`` for what interrupts them."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from dist_training.checkpoints import read_latest_checkpoint
from dist_training.record.events import StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from tests.distributed.jobs import (
    BIN,
    ENDLESS,
    EPOCHS,
    PATIENCE_S,
    R2D2,
    Start,
    events_of,
    exit_state,
    horovodrun,
    resume,
    run,
    said,
    train,
    wait_for,
    wait_for_a_checkpoint,
    workers_of,
)

pytestmark = pytest.mark.distributed

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
        *("config.yaml", "environment.json", "events.jsonl", "exit.json", "job.json", "model.keras", "model.json"),
        *("checkpoints", "tensorboard", "logs", "samples", "monitoring"),
    }
    assert {path.name for path in folder.logs.iterdir()} == {"rank-0.log", "rank-1.log", "launcher.log"}
    assert any(folder.tensorboard.iterdir())


def test_a_second_ctrl_c_ends_the_job_at_once(small_dataset: PreparedDataset, tmp_path: Path, start_job: Start) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", ENDLESS))
    workers = workers_of(job, 2)
    job.send_signal(signal.SIGINT)
    wait_for(lambda: "Ctrl-C again ends it at once" in said(tmp_path), "the answer to the first")
    job.send_signal(signal.SIGINT)
    assert job.wait(PATIENCE_S) == 130
    assert exit_state(folder).state == "cancelled"
    assert not any(worker.is_running() for worker in workers)


def test_one_process_is_started_again_once_and_not_resumed_beside_itself(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    """Killed once more than it may restart, it fails, and says how to go on."""
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "beside").mkdir()
    job = start_job(train(small_dataset, folder.path, "--max-restarts", "1", ENDLESS))
    for part in (1, 2):
        wait_for_a_checkpoint(folder, part)
        if part == 1:
            beside = run(resume(folder), tmp_path / "beside")
            assert beside.returncode == 2
            assert "being written by another process" in beside.stderr
            assert job.poll() is None
        (child,) = psutil.Process(job.pid).children()
        child.kill()
    assert job.wait(PATIENCE_S) == 1
    assert [(event.number, event.of) for event in events_of(folder, "restart")] == [(1, 1)]
    text = said(tmp_path)
    assert "restart 1 of 1 from the last checkpoint" in text
    assert "was ended by SIGKILL: by someone, or by the system for lack of memory" in text
    assert "--resume" in text
    assert "Traceback" not in text
    assert exit_state(folder).state == "failed"
    assert weights(folder)


@pytest.mark.long
def test_ctrl_c_while_the_workers_start_is_not_lost(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", ENDLESS))
    wait_for(lambda: (folder.logs / "launcher.log").exists(), "the launcher")
    job.send_signal(signal.SIGINT)
    assert job.wait(PATIENCE_S) == 130
    assert exit_state(folder).state == "stopped_early"


def test_under_a_typed_horovodrun_one_rank_speaks(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    typed = [str(BIN / "horovodrun"), "-np", "2"]  # as the README has it
    done = run([*typed, *train(small_dataset, tmp_path / "run", "training.epoch=3")], tmp_path)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert said.count("r2d2: 1 fault in the configuration") == 1
    assert "did you mean epochs?" in said
    assert not (tmp_path / "run").exists()


def test_one_worker_needs_no_horovod_and_is_not_resumed_with_what_its_checkpoint_does_not_fit(
    small_dataset: PreparedDataset, tmp_path: Path
) -> None:
    """Training in one process never imports Horovod: an import would fail here."""
    (tmp_path / "blocked" / "horovod").mkdir(parents=True)
    (tmp_path / "blocked" / "horovod" / "__init__.py").write_text("raise ImportError('blocked by the test')")
    script = "import sys; sys.path.insert(0, sys.argv.pop(1)); from r2d2.cli import main; main()"
    command = [sys.executable, "-c", script, str(tmp_path / "blocked")]
    folder = RunFolder(tmp_path / "run")
    done = run([*command, *train(small_dataset, folder.path, "training.epochs=1")[1:]], tmp_path)
    assert done.returncode == 0, done.stderr
    assert exit_state(folder).state == "completed"
    before, configuration = weights(folder), folder.config.read_text()
    for words, difference in (
        (["training.optimizer=sgd"], "optimizer was 'adam', now 'sgd'"),
        (["training.global_batch_size=3"], "global_batch_size was 4, now 3"),
        (["network.options.filters=6", "training.epochs=2"], "dataset or setting: options was {}, now {'filters': 6}"),
    ):
        done = run(resume(folder, *words), tmp_path)
        assert done.returncode == 2
        assert difference in done.stderr
    assert folder.config.read_text() == configuration
    for one, other in zip(before, weights(folder), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_without_any_configuration_it_trains_on_the_phantom_says_so_once_and_stops_on_sigterm(
    tmp_path: Path, start_job: Start, workers: int
) -> None:
    command = [R2D2, "train"]
    job = start_job(command if workers == 1 else horovodrun(workers, *command))
    folder = RunFolder(tmp_path / "runs" / "phantom-1")
    wait_for(lambda: any(event.event == "step" for event in read_events(folder.events)), "a step")
    job.send_signal(signal.SIGTERM)
    job.wait(PATIENCE_S)
    end = exit_state(folder)
    assert (end.state, end.stopped_by, end.reason) == ("stopped_early", "signal", "signal SIGTERM")
    assert weights(folder)
    assert said(tmp_path).count("training on the generated phantom study") == 1
    assert (tmp_path / "r2d2-phantom" / "dataset" / "dataset.json").is_file()
