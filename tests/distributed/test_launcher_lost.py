"""Real workers of ``r2d2 train --workers``: what becomes of them without it, and of it without one of them."""

import signal
from pathlib import Path

import pytest

from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from tests.distributed.jobs import (
    ENDLESS,
    PATIENCE_S,
    Start,
    events_of,
    exit_state,
    said,
    train,
    wait_for_a_checkpoint,
    wait_for_the_end,
    workers_of,
)

pytestmark = pytest.mark.distributed


def test_workers_whose_launcher_is_killed_stop_with_a_checkpoint(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    """How soon is shown in ``tests/r2d2/launching/test_local.py``."""
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", "--threads", "1", ENDLESS))
    wait_for_a_checkpoint(folder)
    workers = workers_of(job, 2)
    job.kill()
    assert job.wait(PATIENCE_S) == -signal.SIGKILL
    wait_for_the_end(workers)
    end = exit_state(folder)
    assert (end.state, end.stopped_by, end.reason) == ("stopped_early", "signal", "signal SIGTERM")
    assert events_of(folder, "checkpoint")[-1].step == events_of(folder, "step")[-1].step
    assert folder.status().is_resumable
    # They look at times of their own: who sees it first has both stop, maybe before the other looks again.
    assert any("the process that started this worker is gone" in folder.log(rank).read_text() for rank in range(2))


def test_a_worker_that_is_killed_before_it_joins_ends_the_job(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", "--threads", "1", ENDLESS))
    workers = workers_of(job, 2)
    workers[1].kill()
    assert job.wait(PATIENCE_S) == 1
    assert not any(worker.is_running() for worker in workers)
    text = said(tmp_path)
    assert "the workers ended without a result: rank 1 was ended by SIGKILL" in text
    assert text.count("\n") == text.count("r2d2: ") + text.count("settings: ")
    assert exit_state(folder).state == "failed"
    assert "the others are ended" in folder.launcher_log.read_text()
