"""A training as a job: stopped early, resumed, its worker killed, cancelled; real workers, and none left behind."""

import os
import signal
from pathlib import Path

import pytest

from dist_training.record.events import Restarted, read_events
from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, prepare_dataset, write_phantom_study
from r2d2.engine import Submission
from r2d2.engine.processes import kill
from tests.r2d2.engine.conftest import Bench

pytestmark = pytest.mark.end_to_end


def test_from_submission_to_cancellation(tmp_path: Path) -> None:
    write_phantom_study(tmp_path / "study", cases=4, shape=(32, 32, 8))
    prepare_dataset(tmp_path / "study", tmp_path / "liver", PreparationSettings())
    bench = Bench(tmp_path).open()
    words = ("training.epochs=100000", "network.base_filters=2", "network.depth=2", "training.warmup_epochs=0")
    settings = {"dataset": str(tmp_path / "liver"), "settings": words}
    job = bench.engine.submit(Submission(task="train", settings=settings))
    run = RunFolder(Path(job.output or ""))
    try:
        bench.until(lambda: run.status().step > 0)
        assert bench.engine.stop(job.id, "good enough").state == "stopping"
        ended = bench.ended(job.id)[0]
        assert (ended.state, ended.reason) == ("stopped_early", "good enough")
        status = run.status()
        assert (status.state, status.stopped_by, len(status.checkpoints) > 0) == ("stopped_early", "request", True)
        assert bench.left() == []
        said = bench.engine.log(job.id).text
        assert "stopping after this step, with a checkpoint" in said and "Ctrl-C" not in said
        assert "epoch 1: loss" in said or status.epoch == 0

        bench.engine.resume(job.id)
        bench.until(lambda: run.status().state == "running" and run.status().step > status.step)
        (worker,) = [one for one in bench.left() if "worker" in one.cmdline()]
        os.kill(worker.pid, signal.SIGKILL)
        bench.until(lambda: any(isinstance(event, Restarted) for event in read_events(run.events)))
        assert bench.state(job.id) == "running"

        bench.engine.cancel(job.id, "no need")
        ended = bench.ended(job.id)[0]
        assert (ended.state, ended.reason, ended.attempt) == ("cancelled", "no need", 2)
        assert bench.left() == []
        assert run.status().is_resumable
    finally:
        kill(bench.left())
        bench.close()
