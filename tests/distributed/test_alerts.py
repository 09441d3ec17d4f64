"""Alerts of real trainings: each is caused, found, and over when its cause is."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2.engine import Engine, EngineSettings, Submission, open_engine
from r2d2.engine.alerting import alerting
from r2d2.engine.folder import FINAL
from r2d2.monitoring.alerts import rules
from r2d2.monitoring.alerts.current import current_findings
from r2d2.monitoring.alerts.sending.settings import ALERTS_FILE
from r2d2.monitoring.recording import rank_file
from r2d2.monitoring.series import read_series
from r2d2_base.progress import StopRequest
from tests.distributed.jobs import ENDLESS, Start, train, wait_for, workers_of
from tests.influx_servers import OK, misbehaving, status

pytestmark = pytest.mark.distributed

ABSURD = ["network.base_filters=2", "network.depth=2", "training.learning_rate=1e12", "training.optimizer=sgd"]
WATCHED = ["monitoring.host_interval_s=0.2", "monitoring.alert_silent_s=4"]


def found(folder: RunFolder, kind: str) -> list[str]:
    return [one.subject for one in current_findings(folder.path) if one.kind == kind]


def test_a_worker_that_is_stopped_is_silent_and_one_that_is_held_up_lags(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "LAG_WINDOW_S", 6.0)  # of a minute
    folder = RunFolder(tmp_path / "run")
    job = start_job(train(small_dataset, folder.path, "--workers", "2", "--threads", "1", ENDLESS, *WATCHED))
    wait_for(lambda: all(len(read_series(rank_file(folder, rank))) >= 5 for rank in range(2)), "both workers at work")
    worker = workers_of(job, 2)[1]
    assert found(folder, "silent") == []

    worker.send_signal(signal.SIGSTOP)
    wait_for(lambda: found(folder, "silent") == ["rank 1"], "the alert of rank 1")
    begun = time.monotonic()
    while time.monotonic() - begun < 3:  # rank 0, which waits for it, is not silent
        assert found(folder, "silent") == ["rank 1"]
    worker.send_signal(signal.SIGCONT)
    wait_for(lambda: found(folder, "silent") == [], "its end")

    is_over = threading.Event()
    holding = threading.Thread(target=_hold_up, args=(worker, is_over), daemon=True)
    holding.start()
    try:
        wait_for(lambda: found(folder, "lagging") == ["rank 1"], "the alert of the slow one")
    finally:
        is_over.set()
        holding.join()
    wait_for(lambda: found(folder, "lagging") == [], "its end")


def _hold_up(worker: psutil.Process, is_over: threading.Event) -> None:
    while not is_over.is_set():
        worker.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        worker.send_signal(signal.SIGCONT)
        time.sleep(0.05)


def test_memory_disk_and_a_plateau_are_found_in_a_training_that_passes_their_limits(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MEMORY_WINDOW_S", 3.0)  # of half a minute
    folder = RunFolder(tmp_path / "run")
    limits = ["memory_percent=1", "disk_free_gib=1e6", "plateau_epochs=2"]
    words = [*WATCHED, *(f"monitoring.alert_{one}" for one in limits), "training.learning_rate=1e-12", ENDLESS]
    start_job(train(small_dataset, folder.path, "--workers", "1", "--threads", "1", *words))
    wait_for(folder.holds_run, "the run")
    for kind in ("memory", "disk", "plateau"):
        wait_for(lambda kind=kind: len(found(folder, kind)) == 1, f"the alert of {kind}")
    assert {one.kind for one in current_findings(folder.path)} == {"memory", "disk", "plateau"}


def test_who_listens_hears_of_a_training_that_diverges_and_of_its_end_once(
    small_dataset: PreparedDataset, tmp_path: Path
) -> None:
    with misbehaving(status(503), OK) as server:
        file = tmp_path / "alerts.yaml"
        file.write_text(f"private: true\nwebhooks: [{{url: '{server.url}/'}}]\n")
        file.chmod(0o600)
        work_root = tmp_path / "patient_Mustermann"
        output = _done_under_an_engine(small_dataset, work_root, {ALERTS_FILE: str(file)})
        said = [json.loads("\n".join(one.lines)) for one in server.asked]
    assert [one["id"] for one in said] == ["1/divergence-1", "1/divergence-1", "1/ended-1"]  # the first was refused
    assert "exploded" in said[0]["message"] and said[2]["message"] == "The job has ended: failed."
    assert "Mustermann" not in json.dumps(said)
    assert [one.kind for one in current_findings(output)] == ["divergence"]


def _done_under_an_engine(dataset: PreparedDataset, work_root: Path, environment: dict[str, str]) -> Path:
    """Train with an absurd learning rate under two engines, one after the other; gives the run's folder."""
    words = [*ABSURD, "training.batch_size_per_worker=4"]
    settings = {"dataset": str(dataset.folder), "workers": 2, "threads": 1, "settings": words}
    with _working(work_root, environment) as engine:
        job = engine.submit(Submission(task="train", settings=settings, name="Mustermann"))
        wait_for(lambda: engine.show(job.id).job.state in FINAL, "its end")
        wait_for(lambda: len(_sent(work_root)) == 2, "what is sent")
    with _working(work_root, environment) as engine:
        time.sleep(1)  # several looks, which find nothing to say
        assert engine.show(job.id).job.state == "failed"
    return Path(str(job.output))


@contextmanager
def _working(work_root: Path, environment: dict[str, str]) -> Iterator[Engine]:
    end = StopRequest()
    with (
        open_engine(EngineSettings(work_root=work_root)) as engine,
        alerting(engine, work_root, environment, look_s=0.2),
    ):
        work = threading.Thread(target=engine.work, args=(end,), daemon=True)
        work.start()
        try:
            yield engine
        finally:
            end.make("the test is over")
            engine.wake()
            work.join()


def _sent(work_root: Path) -> list[str]:
    path = work_root / "alerts.json"
    servers = json.loads(path.read_text())["servers"] if path.exists() else {}
    return [one for server in servers.values() for one in server["ids"]]
