"""Jobs in real processes: every way to end has its state, and none leaves a process behind."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from r2d2.engine import Change, JobDetails, JobQuery, RunWish
from r2d2.engine.errors import JobStateError, UnknownJobError
from r2d2.engine.processes import kill
from tests.r2d2.engine.conftest import PATIENCE_S, Bench
from tests.r2d2.engine.small_tasks import EARLY

pytestmark = pytest.mark.slow

ENDINGS = {
    "completed": {},
    "fails": {"end": "fails"},
    "launch": {"end": "launch"},
    "exits": {"end": "exits"},
    "segfault": {"end": "segfault"},
    "killed": {"end": "killed", "max_retries": 2},
    "killed once": {"end": "killed", "fails_first": True},
    "leaves": {"children": 2},
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, dict[str, JobDetails]]]:
    """One job for each way to end, all at once."""
    bench = Bench(tmp_path_factory.mktemp("engine")).open()
    ids = {word: bench.submit(word=word.replace(" ", "_"), **how).id for word, how in ENDINGS.items()}  # type: ignore[arg-type]
    bench.ended(*ids.values())
    yield bench, {word: bench.engine.show(job_id) for word, job_id in ids.items()}
    kill(bench.left())
    bench.close()


@pytest.mark.parametrize(
    ("word", "state", "attempts", "reason"),
    [
        ("completed", "completed", 1, ""),
        ("fails", "failed", 1, "ZeroDivisionError: by zero"),
        ("launch", "failed", 1, "rank 1 ended with exit code 3"),
        ("exits", "failed", 1, "exit code 7"),
        ("segfault", "failed", 1, "SIGSEGV"),
        ("killed", "lost", 3, "SIGKILL"),
        ("killed once", "completed", 2, ""),
        ("leaves", "completed", 1, ""),
    ],
)
def test_how_it_ended(
    ended: tuple[Bench, dict[str, JobDetails]], word: str, state: str, attempts: int, reason: str
) -> None:
    details = ended[1][word]
    assert (details.job.state, len(details.attempts)) == (state, attempts)
    assert reason in (details.job.reason or "")
    assert ended[0].lines(word.replace(" ", "_")).count("begin") == attempts
    assert [one.why for one in details.attempts] == ["submitted", *["retry"] * (attempts - 1)]


def test_no_process_is_left(ended: tuple[Bench, dict[str, JobDetails]]) -> None:
    assert ended[0].left() == []


def test_what_it_gave_and_said(ended: tuple[Bench, dict[str, JobDetails]]) -> None:
    bench, details = ended
    job = details["completed"].job
    assert details["completed"].result == {"folder": job.output, "word": "completed"}
    assert Path(job.output or "").is_dir()
    part = bench.engine.log(job.id)
    assert part.is_last and "at work: completed\n" in part.text
    assert bench.engine.log(job.id, offset=part.offset).text == ""
    assert "ZeroDivisionError: by zero" in bench.engine.log(details["fails"].job.id).text
    with pytest.raises(UnknownJobError, match="has no attempt 2; it has 1"):
        bench.engine.log(job.id, attempt=2)


def test_what_has_ended_cannot_be_stopped(ended: tuple[Bench, dict[str, JobDetails]]) -> None:
    bench, details = ended
    for call in (bench.engine.cancel, bench.engine.resume):
        with pytest.raises(JobStateError):
            call(details["completed"].job.id)
    with pytest.raises(UnknownJobError, match="there is no job 99"):
        bench.engine.cancel(99)


def test_only_a_training_that_runs_is_asked_for_something(ended: tuple[Bench, dict[str, JobDetails]]) -> None:
    bench, jobs = ended
    found = next(iter(jobs.values()))
    with pytest.raises(JobStateError, match="only a training that runs"):
        bench.engine.ask_run(found.job.id, RunWish(request="checkpoint"))
    with pytest.raises(UnknownJobError):
        bench.engine.ask_run(10_000, RunWish(request="checkpoint"))
    for faulty in ({"request": "learning-rate"}, {"request": "checkpoint", "learning_rate": 1.0}, {"request": "stop"}):
        with pytest.raises(ValidationError):
            RunWish.model_validate(faulty)


def test_rebuilt_the_index_is_the_same(ended: tuple[Bench, dict[str, JobDetails]]) -> None:
    bench, _ = ended
    before = bench.engine.list()
    damaged = bench.settings.work_root / "jobs" / "999"
    (damaged / "attempts" / "1").mkdir(parents=True)
    (damaged / "job.json").write_text("{")
    made = bench.engine.rebuild()
    assert (made.jobs, len(made.left_out)) == (len(ENDINGS), 1)
    assert "999" in made.left_out[0]
    assert bench.engine.list() == before


def test_stopped_early_is_told_from_cancelled_and_both_go_on(bench: Bench) -> None:
    stopped = bench.submit(task=EARLY, word="a", seconds=600).id
    cancelled = bench.submit(task=EARLY, word="b", seconds=600, children=1).id
    other = bench.submit(word="c", seconds=600).id
    bench.until(lambda: all(bench.lines(word) for word in "abc"))
    with pytest.raises(JobStateError, match="leaves nothing of use"):
        bench.engine.stop(other)
    assert bench.engine.stop(stopped, "good enough").state == "stopping"
    bench.engine.cancel(cancelled, "not wanted")
    bench.engine.cancel(other)
    ended = bench.ended(stopped, cancelled, other)
    assert [job.state for job in ended] == ["stopped_early", "cancelled", "cancelled"]
    assert [job.reason for job in ended] == ["good enough", "not wanted", "cancelled"]
    assert bench.left() == []
    assert bench.engine.resume(stopped).state == "queued"
    bench.until(lambda: bench.lines("a") == ["begin", "stopped", "begin"] and bench.state(stopped) == "running")
    bench.engine.cancel(stopped)
    assert bench.ended(stopped)[0].state == "cancelled"
    assert bench.left() == []


def test_a_deaf_job_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    bench = Bench(tmp_path, grace_s=0.3, kill_after_s=0.3).open()
    job = bench.submit(deaf=True, seconds=600, children=2, word="deaf").id
    bench.until(lambda: bench.lines("deaf") == ["begin"] and bench.engine.log(job).text.count("child\n") == 2)
    assert len(bench.left()) == 3  # the task, and two in sessions of their own
    bench.engine.cancel(job)
    assert bench.ended(job)[0].state == "cancelled"
    bench.until(lambda: bench.left() == [])
    bench.close()


def test_a_job_whose_supervisor_is_killed_is_tried_again_and_never_twice_at_once(bench: Bench) -> None:
    job = bench.submit(seconds=1, word="x", children=1).id
    bench.until(lambda: bench.lines("x") == ["begin"])
    supervisor = bench.engine.show(job).attempts[0].supervisor
    assert supervisor is not None
    os.kill(supervisor["pid"], signal.SIGKILL)
    bench.until(lambda: bench.lines("x") == ["begin", "stopped"])  # it has noticed
    kill(bench.left())  # the other one would be ended after a while
    bench.until(lambda: len(bench.engine.show(job).attempts) == 2)
    first = bench.engine.show(job).attempts[0]
    assert (first.state, first.reason) == ("lost", "its supervisor ended without a word")
    assert bench.ended(job)[0].state == "completed"
    assert bench.left() == []


def test_order_limits_and_chains(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_jobs=2, max_workers=3).open()
    first = bench.submit(seconds=600, word="first", workers=2).id
    bench.until(lambda: bench.lines("first") == ["begin"])
    wide = bench.submit(word="wide", workers=3, priority=1).id  # has no room, and keeps it for itself
    low = bench.submit(word="low", priority=-1).id
    failing = bench.submit(word="failing", end="fails", priority=-2).id
    last = bench.submit(word="last", after=(low, failing)).id
    for _ in range(5):
        bench.engine.look()
    assert [bench.state(one) for one in (first, wide, low, last)] == ["running", "queued", "queued", "queued"]
    assert bench.engine.show(last).job.reason == f"waits for job {low}"
    assert bench.engine.change(low, Change(priority=5, tags=["now"], name="sooner")).priority == 5
    assert bench.engine.list(JobQuery(tags=["now"])).jobs[0].name == "sooner"
    bench.until(lambda: bench.state(low) == "completed")
    assert bench.state(wide) == "queued"
    bench.engine.cancel(first)
    assert [job.state for job in bench.ended(first, wide, failing)] == ["cancelled", "completed", "failed"]
    bench.until(lambda: "which is failed" in (bench.engine.show(last).job.reason or ""))
    assert bench.engine.cancel(last).state == "cancelled"
    assert bench.lines("last") == []
    bench.close()


def test_resumed_before_the_engine_has_looked(bench: Bench) -> None:
    """What its folder says counts, although the engine still follows the attempt before."""
    job = bench.submit(word="soon", end="fails", fails_first=True).id
    bench.until(lambda: bench.lines("soon") == ["begin"])
    ended = bench.settings.work_root / "jobs" / str(job) / "attempts" / "1" / "exit.json"
    while not ended.exists():
        time.sleep(0.02)
    bench.engine.change(job, Change(priority=1))  # reads the folder, and looks at no queue
    assert bench.state(job) == "failed"
    bench.engine.resume(job)
    assert bench.ended(job)[0].state == "completed"
    assert bench.lines("soon") == ["begin", "begin", "end"]


@pytest.mark.parametrize("asked", ["show", "log"])
def test_whoever_asks_finds_a_job_at_its_end_though_nobody_has_looked_since(bench: Bench, asked: str) -> None:
    job = bench.submit(word=asked, end="fails")
    bench.engine.look()
    attempt = bench.settings.work_root / "jobs" / str(job.id) / "attempts" / "1"
    end = time.monotonic() + PATIENCE_S
    while not (attempt / "exit.json").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert bench.engine.list().jobs[0].state != "failed"  # the index is as the last look left it
    if asked == "show":
        assert bench.engine.show(job.id).job.state == "failed"
    else:
        assert bench.engine.log(job.id).is_last
    assert bench.engine.list().jobs[0].state == "failed"
