"""An engine that is killed at any moment: its jobs go on, are taken up again, each is done once, none is lost."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from r2d2.engine import EngineClient, EngineSettings, JobQuery, Submission, open_engine
from r2d2.engine.errors import EngineBusyError, EngineError, NotRunningError
from r2d2.engine.folder import FINAL, job_folders
from r2d2.engine.processes import kill, processes_of
from r2d2_base.process_identity import ProcessIdentity
from tests.r2d2.engine import small_tasks
from tests.r2d2.engine.conftest import PATIENCE_S, Bench

pytestmark = pytest.mark.slow

MAX_JOBS = 4


class Outside:
    """An engine in another process, which may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work_root, self.journal = folder, folder / "work", folder / "journal"
        self.client = EngineClient(self.work_root)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.r2d2.engine.run_engine", str(self.work_root), str(MAX_JOBS)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def answers(self) -> bool:
        try:
            self.client.list(JobQuery(limit=1))
        except NotRunningError:
            return False
        return True

    def submit(self, word: str) -> int | None:
        """Submit a short job; None where the engine was not there to say that it has it."""
        settings = {"journal": str(self.journal), "word": word, "seconds": 0.2}
        with suppress(EngineError):
            return self.client.submit(Submission(task=small_tasks.NAME, settings=settings)).id
        return None

    def left(self) -> list[object]:
        folders = [attempt.path for job in job_folders(self.work_root) for attempt in job.attempts()]
        return [process for folder in folders for process in processes_of(folder)]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    made = Outside(tmp_path)
    made.start()
    yield made
    made.kill()
    kill(made.left())  # type: ignore[arg-type]


def wait_until(is_so, what: str) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("seed", "kills"), [(0, 4), *(pytest.param(seed, 10, marks=pytest.mark.long) for seed in range(1, 21))]
)
def test_killed_at_random_moments(outside: Outside, seed: int, kills: int) -> None:
    """Two jobs are submitted before each kill; the moments are spread over twice the time of a start."""
    random_moments = random.Random(seed)
    begun = time.monotonic()
    wait_until(outside.answers, "the engine does not begin")
    start_s = min(time.monotonic() - begun, 10.0)  # of a machine that is busy, the start says little
    known = []
    for number in range(kills):
        known += [outside.submit(f"{number}-{copy}") for copy in range(2)]
        time.sleep(random_moments.uniform(0, 2 * start_s))
        outside.kill()
        outside.start()
        if number % 2:
            wait_until(outside.answers, "the engine does not begin again")
    wait_until(outside.answers, "the engine does not begin again")
    asked = JobQuery(states=("queued", "starting", "running", "stopping"))
    wait_until(lambda: outside.client.list(asked).total == 0, "jobs do not end")
    page = outside.client.list(JobQuery(limit=1000))
    ids = {job.id for job in page.jobs}
    assert {job_id for job_id in known if job_id is not None} <= ids, "lost"
    assert len(ids) >= 2 and ids == {folder.id for folder in job_folders(outside.work_root)}
    states = Counter(job.state for job in page.jobs)
    assert states == {"completed": page.total}
    assert {job.attempt for job in page.jobs} == {1}
    noted = Counter(tuple(line.split()[:2]) for line in outside.journal.read_text().splitlines())
    assert set(noted.values()) == {1}, "done twice"
    assert len(noted) == 2 * page.total
    assert outside.left() == []


def test_a_second_engine_says_who_holds_the_folder(outside: Outside) -> None:
    wait_until(outside.answers, "the engine does not begin")
    assert outside.process is not None
    with (
        pytest.raises(EngineBusyError, match=rf"\(process {outside.process.pid} on .*another --work-root"),
        open_engine(EngineSettings(work_root=outside.work_root)),
    ):
        pass


def test_of_a_machine_that_went_away_jobs_are_lost_and_can_be_resumed(tmp_path: Path) -> None:
    """As a folder looks after a power cut: a supervisor of another start of the machine, and no end."""
    bench = Bench(tmp_path).open()
    job = bench.submit(word="cut").id
    folder = bench.settings.work_root / "jobs" / str(job)
    bench.close()
    attempt = next(iter(job_folders(bench.settings.work_root))).attempt(1)
    own = ProcessIdentity.of_this_process().to_json()
    attempt.write(attempt.supervisor, {**own, "boot_id": "another", "pid": 1})
    bench.open()
    assert bench.ended(job)[0].state == "lost"
    details = bench.engine.show(job)
    assert "machine went away" in (details.job.reason or "")
    assert len(details.attempts) == 1, "tried again by itself"
    bench.engine.resume(job)
    assert bench.ended(job)[0].state == "completed"
    assert bench.lines("cut") == ["begin", "end"]
    assert folder.joinpath("attempts", "2", "exit.json").exists()
    bench.close()


def test_a_process_of_the_same_number_is_not_taken_for_the_supervisor(tmp_path: Path) -> None:
    """A number is used again; the start in ticks tells them apart, whatever the clock says."""
    bench = Bench(tmp_path, max_jobs=1).open()
    job = bench.submit(word="again", max_retries=0).id
    attempt = next(iter(job_folders(bench.settings.work_root))).attempt(1)
    own = ProcessIdentity.of_this_process().to_json()
    attempt.write(attempt.supervisor, {**own, "start_ticks": own["start_ticks"] - 1})
    assert bench.state(job) == "queued"
    assert bench.ended(job)[0].state == "lost"
    assert bench.lines("again") == []
    bench.close()


def test_a_supervisor_that_came_second_does_nothing(tmp_path: Path) -> None:
    """As after a kill between a start and its trace: two supervisors are started, one has the attempt."""
    bench = Bench(tmp_path, max_jobs=1).open()
    job = bench.submit(word="twice", seconds=0.2).id
    attempt = next(iter(job_folders(bench.settings.work_root))).attempt(1)
    command = [sys.executable, "-P", "-m", "r2d2.engine.supervisor", str(attempt.path)]
    both = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(2)]
    assert bench.ended(job)[0].state == "completed"
    assert [process.wait() for process in both] == [0, 0]
    assert bench.lines("twice") == ["begin", "end"]
    bench.close()


def test_interrupted_by_a_signal_from_outside(bench: Bench) -> None:
    """As at a shutdown: SIGTERM to the supervisor ends the task in its own time, and says so."""
    job = bench.submit(task=small_tasks.EARLY, word="night", seconds=600).id
    bench.until(lambda: bench.lines("night") == ["begin"])
    supervisor = bench.engine.show(job).attempts[0].supervisor
    assert supervisor is not None
    os.kill(supervisor["pid"], signal.SIGTERM)
    ended = bench.ended(job)[0]
    assert (ended.state, ended.reason) == ("stopped_early", "signal SIGTERM")
    assert bench.left() == []


def test_states_of_the_folder_are_those_of_all(bench: Bench) -> None:
    from dist_training.record.states import ACTIVE as RUN_ACTIVE
    from dist_training.record.states import ENDED
    from r2d2.engine.folder import ACTIVE

    assert ACTIVE == RUN_ACTIVE
    assert (*ENDED, "lost") == FINAL


def test_the_engine_and_its_processes_load_no_tensorflow() -> None:
    statements = "import r2d2.engine.server, r2d2.engine.client, r2d2.engine.supervisor, r2d2.engine.work, sys;"
    statements += "from r2d2.tasks.registry import TASK_NAMES, find_task; [find_task(name) for name in TASK_NAMES];"
    statements += "print('loaded:', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", statements], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.removeprefix("loaded:").split())
    assert "r2d2" in loaded
    assert loaded & {"tensorflow", "keras", "horovod"} == set()


def test_a_supervisor_loads_little() -> None:
    statements = "import r2d2.engine.supervisor, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", statements], capture_output=True, text=True, check=True)
    assert not re.search(r"\b(numpy|pydantic|sqlalchemy|yaml)\b", done.stdout)
