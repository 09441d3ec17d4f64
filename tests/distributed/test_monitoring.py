"""Real workers, watched: who is watched, by whom, and until when."""

import platform
import signal
from pathlib import Path

import psutil
import pytest

from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2.monitoring.recording import host_file, rank_file
from r2d2.monitoring.schema import MEASUREMENTS, SHARES, split_key
from r2d2.monitoring.series import read_series
from tests.companions import of_module
from tests.distributed.jobs import (
    ENDLESS,
    Start,
    events_of,
    resume,
    run,
    train,
    wait_for,
    wait_for_a_checkpoint,
    workers_of,
)

pytestmark = pytest.mark.distributed


def test_two_workers_are_watched_until_they_end_and_when_they_go_on(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    host = host_file(folder, platform.node())
    fast = "monitoring.host_interval_s=0.1"
    job = start_job(train(small_dataset, folder.path, "--workers", "2", "--threads", "1", ENDLESS, fast))
    wait_for(lambda: len(read_series(host)) >= 5, "the sampler")
    wait_for(lambda: all(len(read_series(rank_file(folder, rank))) >= 3 for rank in range(2)), "the workers' times")
    wait_for_a_checkpoint(folder)
    (sampler,) = of_module("r2d2.monitoring.sampler", psutil.Process(job.pid))
    for worker in workers_of(job, 2):
        worker.send_signal(signal.SIGKILL)
    job.wait()
    wait_for(lambda: not sampler.is_running(), "the sampler's end")
    before = read_series(host)
    for record in before:
        assert {f"worker.{rank}.memory_bytes" for rank in range(2)} <= set(record) or record is before[-1]
        for measurement, _, field in (split_key(key) for key in record if key not in ("time", "seconds")):
            assert field in {one.name for one in MEASUREMENTS[measurement].fields}
    for rank in range(2):
        times = [record for record in read_series(rank_file(folder, rank)) if record["seconds"]]
        for record in times:
            shares = [record[f"work.{share}"] for share in SHARES]
            assert min(shares) >= 0 and sum(shares) <= 1.001
        assert max(record["work.compute"] for record in times) > 0
        assert max(record["work.exchange"] for record in times) > 0
        steps = [record["work.step"] for record in times]
        assert steps == sorted(steps) and steps[-1] > 0

    begun = events_of(folder, "step")[-1].epoch
    done = run([*resume(folder), f"training.epochs={begun + 1}", fast], tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_series(host)[: len(before)] == before
    assert len(read_series(host)) > len(before)


def test_nothing_is_watched_where_nobody_wants_it(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    done = run(train(small_dataset, folder.path, "training.epochs=1", "monitoring.enabled=false"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert not folder.monitoring.exists()
