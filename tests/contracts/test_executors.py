"""Every place where jobs may run goes through the same: a supervisor that has its attempt to the end, and no other."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from r2d2.engine import Executor
from r2d2.engine.folder import AttemptFolder, JobFolder
from r2d2.engine.local import LocalExecutor
from r2d2.engine.processes import kill, processes_of
from tests.r2d2.engine import small_tasks

pytestmark = pytest.mark.slow

PATIENCE_S = 300.0

EXECUTORS: dict[str, Callable[[Path], Executor]] = {"local": LocalExecutor}
"""How each is made for a work folder."""


@dataclass
class Place:
    make: Callable[[Path], Executor]
    work_root: Path
    executor: Executor

    def attempt(self, **given: Any) -> AttemptFolder:
        job = JobFolder(self.work_root / "jobs" / "1")
        job.path.mkdir(parents=True)
        settings = {"journal": str(self.work_root / "journal"), "out": str(job.output), "word": "x", **given}
        job.write({"task": small_tasks.NAME, "settings": settings})
        return job.queue(1, "submitted", "test")

    def begun(self) -> int:
        journal = self.work_root / "journal"
        return journal.read_text().count("begin") if journal.exists() else 0


@pytest.fixture(params=EXECUTORS.values(), ids=EXECUTORS.keys())
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = Place(request.param, tmp_path, request.param(tmp_path))
    yield made
    for attempt in tmp_path.glob("jobs/*/attempts/*"):
        kill(processes_of(attempt))


def wait_until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_attempt_is_done_and_its_end_written(place: Place) -> None:
    attempt = place.attempt()
    assert place.executor.is_alive(attempt) is None
    place.executor.start(attempt)
    wait_until(attempt.exit.exists)
    assert json.loads(attempt.exit.read_text())["state"] == "completed"
    assert place.executor.is_of_this_start(attempt)
    wait_until(lambda: place.executor.is_alive(attempt) is False)
    assert place.executor.fault(attempt) is None
    assert place.executor.end(attempt, 0.0)
    place.executor.tidy()


def test_it_outlives_its_executor_and_is_known_to_the_next(place: Place) -> None:
    attempt = place.attempt(seconds=600)
    place.executor.start(attempt)
    wait_until(place.begun)
    following = place.make(place.work_root)
    assert following.is_alive(attempt) is True
    attempt.write(attempt.control, {"request": "cancel", "reason": "enough", "grace_s": 60, "kill_after_s": 60})
    wait_until(attempt.exit.exists)
    assert attempt.state().state == "cancelled"
    wait_until(lambda: following.is_alive(attempt) is False)


def test_started_twice_it_is_done_once(place: Place) -> None:
    attempt = place.attempt(seconds=0.3)
    place.executor.start(attempt)
    place.make(place.work_root).start(attempt)
    wait_until(attempt.exit.exists)
    wait_until(lambda: place.executor.is_alive(attempt) is False)
    assert place.begun() == 1


def test_what_a_lost_supervisor_leaves_is_ended(place: Place) -> None:
    attempt = place.attempt(seconds=600, children=1, deaf=True)
    place.executor.start(attempt)
    wait_until(lambda: place.begun() and len(processes_of(attempt.path)) == 2)
    holder = attempt.holder()
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    wait_until(lambda: place.executor.is_alive(attempt) is False)
    assert not place.executor.end(attempt, 0.0), "it may end by itself first"
    assert place.executor.end(attempt, 3600.0)
    assert processes_of(attempt.path) == []
    assert not attempt.exit.exists()


def test_an_attempt_that_nobody_can_take_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = place.attempt()
    monkeypatch.setenv("PYTHONHASHSEED", "no number")  # no Python starts with that
    place.executor.start(attempt)
    wait_until(lambda: place.executor.fault(attempt) is not None)
    fault = place.executor.fault(attempt)
    assert fault is not None and fault.reason
    assert attempt.state().state == "queued"
