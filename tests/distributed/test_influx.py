"""Real trainings of two workers that are sent to InfluxDB: what they learn and how long they take is their own."""

import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from dist_training.record.events import StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2.monitoring.influx.ledger import read_ledger
from r2d2.monitoring.influx.target import ENDING_S
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
from tests.influx_servers import Series, hang, misbehaving, needs_victoria, victoria

pytestmark = pytest.mark.distributed
TOKEN = "s3cret-token"
ON_TWO = ("--workers", "2", "--threads", "1", "monitoring.host_interval_s=0.1", "monitoring.influx_interval_s=0.2")


def token_file(folder: Path) -> Path:
    file = folder / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


def losses(folder: RunFolder) -> list[float]:
    return [event.loss for event in read_events(folder.events) if isinstance(event, StepTaken)]


def command_lines() -> bytes:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    return b"\n".join(lines)


def times_of(series: Series, name: str) -> dict[str | None, list[int]]:
    """Milliseconds of a name's points, by rank."""
    return {dict(labels).get("rank"): sorted(values) for (one, labels), values in series.items() if one == name}


@needs_victoria
def test_a_server_that_restarts_has_the_whole_run_and_a_resumed_run_goes_on(
    small_dataset: PreparedDataset, tmp_path: Path, start_job: Start
) -> None:
    folder = RunFolder(tmp_path / "run")
    with victoria(tmp_path / "victoria") as server:
        words = [f"monitoring.influx_url={server.url}", f"monitoring.influx_token_file={token_file(tmp_path)}"]
        job = start_job(train(small_dataset, folder.path, *ON_TWO, *words, ENDLESS))
        wait_for(lambda: (ledger := read_ledger(folder)) and ledger.sent > 50, "points")
        (sender,) = of_module("r2d2.monitoring.influx.sender", psutil.Process(job.pid))
        assert TOKEN.encode() not in command_lines()
        for process in [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]:
            assert TOKEN not in process.environ().values()
        server.stop()
        wait_for(lambda: (ledger := read_ledger(folder)) and ledger.fault, "its absence to be noticed")
        steps = len(losses(folder))
        wait_for(lambda: len(losses(folder)) > steps + 20, "steps without a server")
        server.start()
        wait_for(lambda: (ledger := read_ledger(folder)) and not ledger.fault, "its return to be noticed")
        wait_for_a_checkpoint(folder)
        for worker in workers_of(job, 2):
            worker.send_signal(signal.SIGKILL)
        job.wait()
        wait_for(lambda: not sender.is_running(), "the sender's end")
        last = events_of(folder, "step")[-1].epoch
        done = run([*resume(folder), f"training.epochs={last + 1}"], tmp_path)
        assert done.returncode == 0, done.stderr
        found = server.series("run-.*")
    ledger = read_ledger(folder)
    assert ledger is not None and ledger.fault is None and ledger.refused == ledger.united == 0
    steps = {int(1e6 * event.time + 0.5) // 1000 for event in events_of(folder, "step")}
    (sent,) = times_of(found, "step_loss").values()
    assert sent == sorted(steps)
    expected = {
        str(rank): [int(1000 * one["time"] + 0.5) for one in read_series(folder.monitoring / f"rank-{rank}.jsonl")]
        for rank in range(2)
    }
    assert times_of(found, "work_step") == expected
    assert {dict(labels)["run"] for _, labels in found} == {ledger.run}
    for path in folder.path.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_a_server_that_hangs_changes_nothing_and_costs_seconds_at_the_end(
    small_dataset: PreparedDataset, tmp_path: Path
) -> None:
    alone, sent = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "sent")
    begin = time.monotonic()
    done = run(train(small_dataset, alone.path, *ON_TWO, "training.epochs=5"), tmp_path)
    seconds_alone = time.monotonic() - begin
    assert done.returncode == 0, done.stderr
    with misbehaving(hang) as server:
        begin = time.monotonic()
        words = (*ON_TWO, "training.epochs=5", f"monitoring.influx_url={server.url}")
        done = run(train(small_dataset, sent.path, *words), tmp_path)
        seconds = time.monotonic() - begin
        assert done.returncode == 0, done.stderr
        assert server.asked
    assert losses(sent) == losses(alone)
    assert seconds < 2 * seconds_alone + ENDING_S + 10, "it is not waited for; machines are not alike from run to run"
    log = (sent.logs / "rank-0.log").read_text() + done.stderr
    fault = "it does not answer|it did not answer before the run ended"  # the first once a request's time is over
    assert re.search(rf"records wait \(({fault})\); 'r2d2 monitor replay' sends them", log), log


def test_a_token_that_others_may_read_is_refused_before_anything_starts(
    small_dataset: PreparedDataset, tmp_path: Path
) -> None:
    file = token_file(tmp_path)
    file.chmod(0o644)
    words = ["monitoring.influx_url=http://localhost:1", f"monitoring.influx_token_file={file}"]
    done = run(train(small_dataset, tmp_path / "run", *ON_TWO, *words), tmp_path)
    assert done.returncode == 2 and f"chmod 600 {file}" in done.stderr and done.stderr.count("\n") <= 2
    assert not (tmp_path / "run").exists() and TOKEN not in done.stderr
