"""An engine on a folder of the test's, which looks at its jobs when the test does."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from r2d2.engine import Engine, EngineSettings, Job, Submission, open_engine
from r2d2.engine.folder import FINAL
from r2d2.engine.processes import kill, processes_of
from tests.r2d2.engine import small_tasks

PATIENCE_S = 300.0  # only ends what hangs


class Bench:
    """An engine, its folder, and a journal in which small tasks note what they do."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.settings = EngineSettings(
            **{"work_root": folder / "work", "task_modules": (small_tasks.__name__,), "max_jobs": 8, **settings}
        )
        self.engine: Engine
        self._stack = ExitStack()

    def open(self) -> "Bench":
        self.engine = self._stack.enter_context(open_engine(self.settings))
        return self

    def close(self) -> None:
        self._stack.close()

    def submit(self, task: str = small_tasks.NAME, after: tuple[int, ...] = (), **given: Any) -> Job:
        """Submit a small task; what is no field of a submission is its setting."""
        of_submission = {name: given.pop(name) for name in list(given) if name in Submission.model_fields}
        settings = {"journal": str(self.journal), **given}
        return self.engine.submit(Submission(task=task, settings=settings, after=after, **of_submission))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Look at the jobs until something is so."""
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end, [job.model_dump() for job in self.engine.list().jobs]
            self.engine.look()
            time.sleep(0.05)

    def state(self, job_id: int) -> str:
        return self.engine.show(job_id).job.state

    def ended(self, *ids: int) -> list[Job]:
        """Look at the jobs until these have ended for good."""
        self.until(lambda: all(self.state(job_id) in FINAL for job_id in ids))
        self.engine.look()
        return [self.engine.show(job_id).job for job_id in ids]

    def lines(self, word: str) -> list[str]:
        """What small tasks have noted, such as "begin" and "end", of those with a word."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [line.split()[0] for line in lines if len(line.split()) > 1 and line.split()[1] == word]

    def left(self) -> list[Any]:
        """Processes of any attempt that live."""
        attempts = (self.settings.work_root / "jobs").glob("*/attempts/*")
        return [process for attempt in attempts for process in processes_of(attempt)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.open()
    yield made
    made.close()
    kill(made.left())
