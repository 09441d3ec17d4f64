"""The folder of a job: the truth of what was asked for, tried and reached. Reads and writes no more than JSON.

What stands in an attempt's folder tells its state: nothing but ``queued.json``: it waits; ``supervisor.json``: somebody
has it; ``exit.json``: it has ended. The first to link ``supervisor.json`` into place has the attempt, for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r2d2_base.errors import OutputExistsError
from r2d2_base.files import read_json, write_json, written_beside
from r2d2_base.process_identity import ProcessIdentity

if TYPE_CHECKING:
    from dist_training.record.states import State

__all__ = ["ACTIVE", "FINAL", "AttemptFolder", "AttemptState", "JobFolder", "job_folders"]

SCHEMA_VERSION = 1
ACTIVE = ("starting", "running", "stopping")
FINAL = ("completed", "stopped_early", "cancelled", "failed", "lost")


@dataclass(frozen=True)
class AttemptState:
    """What an attempt's folder says.

    Attributes:
        state: one of the states that all of R2D2 uses.
        reason: why it ended so, or why it is ending.
        started_at: seconds since 1970; None: it has not begun.
        ended_at: likewise.
        is_retryable: whether it was lost in a way after which another attempt may go well.
    """

    state: State
    reason: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    is_retryable: bool = False


class AttemptFolder:
    """One attempt at a job: its files.

    Args:
        path: ``JOB/attempts/N``.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.number = int(self.path.name)
        self.queued = self.path / "queued.json"
        self.supervisor = self.path / "supervisor.json"
        self.heartbeat = self.path / "heartbeat"
        self.process = self.path / "process.json"
        self.control = self.path / "control.json"
        self.progress = self.path / "progress.json"
        self.outcome = self.path / "outcome.json"
        self.exit = self.path / "exit.json"
        self.log = self.path / "log"
        self.supervisor_log = self.path / "supervisor.log"

    @property
    def job(self) -> JobFolder:
        """The job that it is an attempt at."""
        return JobFolder(self.path.parent.parent)

    def read(self, path: Path) -> dict[str, Any] | None:
        """Read one of its files; None where it is not there, or damaged."""
        try:
            content = read_json(path)
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def write(self, path: Path, content: Mapping[str, Any], *, is_durable: bool = False) -> None:
        """Write one of its files, with the version of its layout and the time."""
        write_json(path, {"schema_version": SCHEMA_VERSION, "time": time.time(), **content}, is_durable=is_durable)

    def claim(self) -> bool:
        """Take the attempt for this process; False where another has it. Nobody ever has it after that.

        Raises:
            NoSpaceError: the disk is full.
            NotWritableError: the folder cannot be written into.
        """
        content = {**ProcessIdentity.of_this_process().to_json()}
        try:
            with written_beside(self.supervisor, is_durable=True, may_replace=False) as (beside,):
                self.write(beside, content)
        except OutputExistsError:
            return False
        return True

    def holder(self) -> ProcessIdentity | None:
        """Say which process has the attempt; None: nobody yet."""
        return ProcessIdentity.from_json(self.read(self.supervisor))

    def end(self, state: str, reason: str | None = None, **more: Any) -> None:
        """Write how it ended; only who has the attempt does so, or who knows that this one is gone."""
        self.write(self.exit, {"state": state, "reason": reason, **more}, is_durable=True)

    def state(self) -> AttemptState:
        """Read the state; whether who has it still lives is another question."""
        ended = self.read(self.exit)
        held = self.read(self.supervisor)
        started = _number(held, "time")
        if ended is not None and ended.get("state") in FINAL:
            retryable = ended.get("is_retryable") is True
            return AttemptState(ended["state"], ended.get("reason"), started, _number(ended, "time"), retryable)
        if held is None:
            return AttemptState("queued")
        wish = self.read(self.control)
        if wish is not None:
            return AttemptState("stopping", wish.get("reason"), started)
        return AttemptState("running" if self.process.exists() else "starting", None, started)


class JobFolder:
    """A job: what was asked for, and the attempts at it.

    Args:
        path: ``WORK_ROOT/jobs/NUMBER``.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.description = self.path / "job.json"
        self.attempts_folder = self.path / "attempts"
        self.output = self.path / "output"
        self.alerts = self.path / "alerts.json"
        self.curves = self.path / "curves"  # made from a training's events, and no part of the truth

    @property
    def id(self) -> int:
        """The number of the job."""
        return int(self.path.name)

    def read(self) -> dict[str, Any]:
        """Read what was asked for.

        Raises:
            OSError: as the system does.
            ValueError: it is damaged, or of a newer version.
        """
        content = read_json(self.description)
        if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"{self.description} is not of version {SCHEMA_VERSION}")
        return content

    def write(self, content: Mapping[str, Any]) -> None:
        """Write what was asked for."""
        write_json(self.description, {"schema_version": SCHEMA_VERSION, **content}, is_durable=True)

    def attempt(self, number: int) -> AttemptFolder:
        """Give one attempt, from 1."""
        return _attempt_folder(self.attempts_folder, number)

    def attempts(self) -> list[AttemptFolder]:
        """Give all attempts, the first one first; those whose folder was being made are none."""
        names = self.attempts_folder.iterdir() if self.attempts_folder.is_dir() else ()
        numbers = sorted(int(path.name) for path in names if path.name.isdecimal())
        return [attempt for attempt in map(self.attempt, numbers) if attempt.queued.exists()]

    def queue(self, number: int, why: str, by: str) -> AttemptFolder:
        """Add an attempt that waits.

        Args:
            number: of the attempt.
            why: "submitted", "resumed" or "retry".
            by: who wants it.
        """
        attempt = self.attempt(number)
        attempt.path.mkdir(parents=True, exist_ok=True)
        attempt.write(attempt.queued, {"why": why, "by": by}, is_durable=True)
        return attempt

    def stamp(self) -> str:
        """Give a text that changes whenever the state, or what was asked for, does."""
        numbers = [int(one.name) for one in self.attempts_folder.glob("*") if one.name.isdecimal()]
        last = max(numbers, default=0)
        parts = [_changed(self.description)]
        for name in ("queued.json", "supervisor.json", "exit.json"):
            parts.append(_changed(self.attempts_folder / str(last) / name))
        return ":".join(map(str, (last, *parts)))


def job_folders(work_root: Path) -> Iterator[JobFolder]:
    """Give the jobs of a folder of the engine, by number."""
    folder = work_root / "jobs"
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal()) if folder.is_dir() else []
    for number in numbers:
        yield JobFolder(folder / str(number))


@lru_cache(maxsize=256)
def _attempt_folder(attempts: Path, number: int) -> AttemptFolder:
    """Name its files once: who looks at a job looks often, and to put paths together takes longer than to read them."""
    return AttemptFolder(attempts / str(number))


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _number(content: Mapping[str, Any] | None, key: str) -> float | None:
    value = None if content is None else content.get(key)
    return float(value) if isinstance(value, int | float) else None
