"""What r2d2 train starts and how its workers are set up, with what would start and join them left out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dist_training.record.log import log_failure, log_to_file
from dist_training.record.run_folder import RunEnd, RunFolder
from imgmed import PreparationSettings, prepare_dataset, write_phantom_study
from r2d2.cli import app
from r2d2.config import commented_yaml, configure
from r2d2.errors import LaunchError
from r2d2.launching import job, rank
from r2d2.launching.job import JobEnd
from r2d2.launching.plan import RunPlan
from r2d2.launching.worker_end import WorkerEnd
from r2d2.tasks import training
from r2d2.tasks.training import TrainingResult, result_of


def test_a_single_worker_on_a_named_host_is_started_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str | None, int]] = []

    class Unable:
        def __init__(self, hosts: str | None = None) -> None:
            self.hosts = hosts

        def start(self, command: Sequence[str], workers: int, logs: Path) -> None:
            started.append((self.hosts, workers))
            raise OSError("not started")

    for name in ("LocalLauncher", "HorovodrunLauncher"):
        monkeypatch.setattr(job, name, Unable)
    write_phantom_study(tmp_path / "study", cases=4, shape=(32, 32, 8))
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings())
    words = ["train", "--dataset", str(dataset.folder), "--run-dir", str(tmp_path / "run"), "--hosts", "localhost:1"]
    CliRunner().invoke(app, words)
    assert started == [("localhost:1", 1)]
    again = ["train", "--run-dir", str(tmp_path / "run"), "--resume"]
    for more in ([], ["--hosts", "localhost:3"], ["--workers", "1", "--max-restarts", "1"], ["--max-restarts", "1"]):
        CliRunner().invoke(app, [*again, *more])
    assert started[1:] == [("localhost:1", 1), ("localhost:3", 3), (None, 1), (None, 1)]


def test_as_many_workers_are_started_on_the_hosts_as_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """horovodrun fills its hosts, whatever its -np; hosts of a file take all that they can, without a number there."""
    planned: list[tuple[int, str | None]] = []

    def run(plan: RunPlan, **_: Any) -> TrainingResult:
        planned.append((plan.world_size, plan.configuration.hosts))
        return result_of(plan, RunEnd(state="completed"))

    monkeypatch.setattr(training, "run_plan", run)
    write_phantom_study(tmp_path / "study", cases=4, shape=(32, 32, 8))
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings())
    words = ["train", "--dataset", str(dataset.folder), "--run-dir"]
    hosts = "localhost:2,127.0.0.1:2"
    for more in (["--hosts", hosts, "--workers", "3"], [f"hosts={hosts}"], [f"hosts={hosts}", "workers=2"]):
        CliRunner().invoke(app, [*words, str(tmp_path / f"run-{len(planned)}"), *more])
    CliRunner().invoke(app, ["train", "--run-dir", str(tmp_path / "run-0"), "--resume"])
    three = (3, "localhost:2,127.0.0.1:1")
    assert planned == [three, (4, hosts), (2, "localhost:2"), three]


@pytest.mark.parametrize("launched", ["1", "2"])
def test_a_number_of_workers_that_a_launcher_contradicts_is_refused(
    launched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOROVOD_SIZE", launched)
    monkeypatch.setenv("HOROVOD_RANK", "0")
    refused = CliRunner().invoke(app, ["train", "--workers", "4"])
    assert refused.exit_code == 2
    assert f"--workers 4 contradicts horovodrun's {launched}" in refused.stderr


def test_a_resumed_job_of_horovodrun_has_the_threads_that_the_run_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[int | None] = []

    def join(world_size: int, threads: int | None) -> None:
        joined.append(threads)
        raise typer.Exit

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    monkeypatch.setattr(rank, "join", join)
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.config.write_text(commented_yaml(configure({"threads": 1}), "as the run began"))
    for more in ([], ["--threads", "3"]):
        CliRunner().invoke(app, ["train", "--run-dir", "run", "--resume", *more])
    assert joined == [1, 3]


@pytest.mark.parametrize(
    ("of_rank_1", "said"),
    [("no such network", "{}"), ("no such file", "rank 1 ended with exit code 2: no such file; {}")],
)
def test_what_all_ranks_say_is_said_once(tmp_path: Path, of_rank_1: str, said: str) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    folder.write_exit(RunEnd(state="failed", reason="no such network", exit_code=2))
    with log_to_file(folder.log(1)):
        log_failure(ValueError(of_rank_1), ValueError(of_rank_1))
    with pytest.raises(LaunchError) as caught:
        job._outcome(folder, JobEnd(WorkerEnd(1, 2), ""), is_impatient=False)
    assert (str(caught.value), caught.value.exit_code) == (said.format("no such network"), 2)
