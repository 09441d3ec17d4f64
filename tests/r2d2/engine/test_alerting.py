"""Alerts of an engine's jobs: found while they run, said at their end, none twice whoever starts anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from dist_training.record.run_folder import RunEnd
from r2d2.engine.alerting import AlertWatch
from r2d2.engine.folder import JobFolder
from r2d2.engine.models import Job, JobDetails, JobPage, JobQuery
from r2d2.monitoring.alerts.alert import Alert
from tests.r2d2.engine.conftest import Bench
from tests.r2d2.monitoring.alerts import runs

NAME = "patient_Mustermann"


class Listed:
    """Jobs as an engine lists them, whose folders are there."""

    def __init__(self, work_root: Path) -> None:
        self.work_root = work_root
        self.jobs: dict[int, Job] = {}

    def put(self, job_id: int, state: str, task: str = "train", **more: Any) -> Path:
        output = self.work_root / "jobs" / str(job_id) / f"output-{NAME}"
        output.parent.mkdir(parents=True, exist_ok=True)
        known = {"id": job_id, "task": task, "name": NAME, "submitted_at": 0.0, "output": str(output), "state": state}
        self.jobs[job_id] = Job.model_validate({**known, **more})
        return output

    def list(self, query: JobQuery | None = None, without: Any = ()) -> JobPage:
        assert query is not None
        found = [job for job in self.jobs.values() if job.state in query.states]
        if query.sort == "ended_at":
            found.sort(key=lambda job: job.ended_at or 0.0, reverse=True)
        shown = tuple(found[query.offset : query.offset + query.limit])
        return JobPage(jobs=shown, total=len(found), limit=query.limit, offset=query.offset)

    def show(self, job_id: int) -> JobDetails:
        raise NotImplementedError


class Told:
    """Who is told of alerts."""

    def __init__(self) -> None:
        self.alerts: list[tuple[int, Alert]] = []

    def __call__(self, job: Job, alert: Alert) -> None:
        self.alerts.append((job.id, alert))

    @property
    def ids(self) -> list[tuple[int, str]]:
        return [(job, alert.id) for job, alert in self.alerts]


@pytest.fixture
def listed(tmp_path: Path) -> Listed:
    return Listed(tmp_path)


def watch_of(listed: Listed, told: Told) -> AlertWatch:
    return AlertWatch(listed, listed.work_root, told)  # type: ignore[arg-type]


def test_a_training_is_followed_and_its_end_is_told(listed: Listed) -> None:
    told = Told()
    watch = watch_of(listed, told)
    folder = runs.write_run(listed.put(1, "running"))
    watch.look()
    assert told.ids == []
    runs.add_rank(folder, 0, 100)
    runs.add_rank(folder, 1, 10)
    for _ in range(3):
        watch.look()
    watch_of(listed, told).look()  # another engine
    assert told.ids == [(1, "silent-rank-1-1")]
    listed.put(1, "failed", reason=f"no such file: {NAME}.nii.gz", ended_at=4e9)
    for _ in range(2):
        watch.look()
    watch_of(listed, told).look()
    assert told.ids[1:] == [(1, "ended-1")]
    kept = json.loads(JobFolder(listed.work_root / "jobs" / "1").alerts.read_text())["alerts"]
    assert [bool(alert["resolved_at"]) for alert in kept] == [True, True]
    assert told.alerts[-1][1].severity == "critical" and "resume it" in told.alerts[-1][1].advice
    assert NAME not in repr(told.alerts)


def test_a_job_whose_alerts_cannot_be_kept_hides_no_other(listed: Listed, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    watch = watch_of(listed, told)
    for number in (1, 2):
        folder = runs.write_run(listed.put(number, "running"))
        runs.add_host(folder, 5, {"disk_free_bytes": 0})
    JobFolder(listed.work_root / "jobs" / "1").alerts.mkdir()  # in the way of the file
    for _ in range(3):
        watch.look()
    assert [one for one in told.ids if one[0] == 2] == [(2, "disk-1")]
    assert [record.getMessage() for record in caplog.records] == ["alerts of job 1 cannot be told; those of others are"]


def test_what_ends_a_run_between_two_looks_is_told_before_its_end(listed: Listed) -> None:
    told = Told()
    watch = watch_of(listed, told)
    runs.write_run(listed.put(1, "failed", ended_at=4e9), [2.0, float("nan")])
    watch.look()
    assert told.ids == [(1, "divergence-1"), (1, "ended-1")]


def test_a_resumed_job_ends_once_more_and_one_of_long_ago_is_not_told(listed: Listed) -> None:
    told = Told()
    listed.put(1, "completed", task="prepare", ended_at=1000.0)
    watch = watch_of(listed, told)
    listed.put(2, "cancelled", task="prepare", ended_at=4e9)
    watch.look()
    listed.put(2, "running", task="prepare", attempt=2)
    watch.look()
    listed.put(2, "completed", task="prepare", attempt=2, ended_at=4.1e9)
    watch.look()
    assert told.ids == [(2, "ended-1"), (2, "ended-2")]
    assert {alert.severity for _, alert in told.alerts} == {"info"}


def test_a_resumed_training_is_not_told_of_by_what_its_part_before_has_left(listed: Listed) -> None:
    told = Told()
    watch = watch_of(listed, told)
    folder = runs.write_run(listed.put(1, "running", attempt=2, started_at=runs.BEGIN), [2.0, float("nan")])
    folder.write_exit(RunEnd(state="failed", diverged=True))
    watch.look()
    assert told.ids == []
    listed.put(1, "running", attempt=2, started_at=runs.BEGIN - 2)
    watch.look()
    assert told.ids == [(1, "divergence-1")]


def test_many_that_ended_meanwhile_are_all_told_in_their_order(listed: Listed) -> None:
    told = Told()
    watch = watch_of(listed, told)
    for job_id in range(1, 131):
        listed.put(job_id, "completed", task="prepare", ended_at=4e9 + job_id)
    watch.look()
    watch.look()
    assert told.ids == [(job_id, "ended-1") for job_id in range(1, 131)]


def test_folds_are_told_apart(listed: Listed) -> None:
    told = Told()
    watch = watch_of(listed, told)
    output = listed.put(1, "running", task="cross-validate")
    for fold in range(2):
        folder = runs.write_run(output / f"fold-{fold}")
        runs.add_host(folder, 5, {"disk_free_bytes": 0 if fold else 2**40})
    watch.look()
    ((_, alert),) = told.alerts
    assert (alert.id, alert.subject) == ("disk-fold-1-1", "fold 1") and alert.message.startswith("Fold 1: Less than")


def test_a_disk_that_is_full_makes_no_alert_twice(listed: Listed) -> None:
    """What is told first and cannot be written down is told again, under the same id, by which who sends knows it."""
    told = Told()
    watch = watch_of(listed, told)
    folder = runs.write_run(listed.put(1, "running"))
    runs.add_host(folder, 5, {"disk_free_bytes": 0})
    blocked = JobFolder(listed.work_root / "jobs" / "1").alerts
    blocked.mkdir()  # in the way of the file
    watch.look()
    blocked.rmdir()
    watch.look()
    assert told.ids == [(1, "disk-1")] * 2


def test_an_engine_shows_what_is_open_and_what_was(bench: Bench) -> None:
    told = Told()
    watch = AlertWatch(bench.engine, bench.settings.work_root, told)
    job = bench.submit(word="a", seconds=60.0)
    bench.until(lambda: bench.state(job.id) == "running")
    folder = JobFolder(bench.settings.work_root / "jobs" / str(job.id))
    alert = Alert(id="disk-1", kind="disk", severity="critical", since=1.0, message="Full.", advice="Free.")
    folder.alerts.write_text(json.dumps({"schema_version": 1, "alerts": [alert.model_dump()]}))
    assert bench.engine.show(job.id).job.alerts == (alert,) == bench.engine.list().jobs[0].alerts
    bench.engine.cancel(job.id)
    bench.ended(job.id)
    watch.look()
    found = bench.engine.show(job.id)
    assert found.job.alerts == () and [one.id for one in found.alerts] == ["disk-1", "ended-1"]
    assert told.ids == [(job.id, "ended-1")] and not any(one.is_open for one in found.alerts)
