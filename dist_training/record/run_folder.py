"""The run folder: what a training run leaves on disk, where, and what that says of the run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dist_training.errors import RunFolderError
from dist_training.record.events import (
    Ended,
    EpochEnded,
    EventLog,
    Running,
    Starting,
    StepTaken,
    Stopping,
    is_being_written,
    read_events,
)
from dist_training.record.states import ACTIVE, State, StoppedBy, stopper_of
from r2d2_base.files import make_folder, read_json, remove, remove_leftovers_of, write_json, writing
from r2d2_base.process_identity import ProcessIdentity

__all__ = ["RunEnd", "RunFolder", "RunStatus"]


class RunEnd(BaseModel):
    """exit.json: how a run ended.

    Attributes:
        state: "completed", "stopped_early", "cancelled" or "failed".
        reason: why, unless it is completed.
        stopped_by: who stopped it early; None where nobody did.
        time: seconds since 1970.
        best_dice: the best validation Dice.
        best_epoch: 1-based epoch of that score.
        exit_code: what the command line exits with, where the run failed.
        diverged: whether it failed because its loss, or its weights, exploded; None: it did not.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    state: Literal["completed", "stopped_early", "cancelled", "failed"]
    reason: str | None = None
    stopped_by: StoppedBy | None = None
    time: float = Field(default_factory=time.time)
    best_dice: float | None = None
    best_epoch: int | None = None
    exit_code: int | None = None
    diverged: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_stopper(cls, content: Any) -> Any:
        if isinstance(content, dict) and content.get("state") == "stopped_early" and "stopped_by" not in content:
            return {**content, "stopped_by": stopper_of(content.get("reason"))}
        return content


@dataclass(frozen=True)
class RunStatus:
    """What a run folder says of its run at one moment.

    Attributes:
        state: one of the states that all of R2D2 uses; None where no run was started here.
        reason: why it stopped or failed.
        stopped_by: who stopped it early.
        exit_code: what the command line exited with, where the run failed.
        best_dice: the best validation Dice; None where there is none yet.
        best_epoch: 1-based epoch of that score.
        epoch: epochs done.
        epochs: epochs planned; None before training began.
        step: steps done.
        steps_per_epoch: None before training began.
        world_size: workers; None before they met.
        job: the process that started the run; None in folders of version 0.1.
        checkpoints: files, oldest first.
        model: the best network so far; None where there is none.
        logs: of the ranks and of what started them.
    """

    state: State | None
    reason: str | None
    stopped_by: StoppedBy | None
    exit_code: int | None
    best_dice: float | None
    best_epoch: int | None
    epoch: int
    epochs: int | None
    step: int
    steps_per_epoch: int | None
    world_size: int | None
    job: ProcessIdentity | None
    checkpoints: tuple[Path, ...]
    model: Path | None
    logs: tuple[Path, ...]

    @property
    def is_running(self) -> bool:
        """Whether workers are at work, or about to be."""
        return self.state in ACTIVE

    @property
    def is_done(self) -> bool:
        """Whether the run has had what it was to have: all its epochs, or an end that someone or a setting wanted.

        A run that a signal interrupted is not done: it is to go on.
        """
        return self.state == "completed" or (self.state == "stopped_early" and self.stopped_by != "signal")

    @property
    def is_resumable(self) -> bool:
        """Whether there is a checkpoint to go on from, and nobody at work."""
        return not self.is_running and bool(self.checkpoints)

    @property
    def has_learned(self) -> bool:
        """Whether anything would be lost with the folder: a step, a checkpoint, a network."""
        return self.step > 0 or bool(self.checkpoints) or self.model is not None


class RunFolder:
    """Paths and small files of one run.

    Args:
        path: the folder; it need not exist yet.

    >>> RunFolder(Path("runs/a")).events.name
    'events.jsonl'
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.environment = self.path / "environment.json"
        self.job = self.path / "job.json"
        self.events = self.path / "events.jsonl"
        self.control = self.path / "control.json"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model.keras"
        self.card = self.path / "model.json"
        self.start = self.path / "start.json"
        self.samples = self.path / "samples"
        self.tensorboard = self.path / "tensorboard"
        self.logs = self.path / "logs"
        self.monitoring = self.path / "monitoring"
        self.exit = self.path / "exit.json"

    def log(self, rank: int) -> Path:
        """Name the log of a rank."""
        return self.logs / f"rank-{rank}.log"

    @property
    def launcher_log(self) -> Path:
        """What the program that started the workers wrote."""
        return self.logs / "launcher.log"

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return self.config.exists() or self.events.exists()

    def status(self) -> RunStatus:
        """Read everything that the folder says of its run."""
        events = read_events(self.events)
        end, job = self.read_exit(), self.read_job()
        epochs = {event.epoch: event for event in events if isinstance(event, EpochEnded)}
        running = next((event for event in reversed(events) if isinstance(event, Running)), None)
        starting = next((event for event in reversed(events) if isinstance(event, Starting)), None)
        counted = (event.step for event in reversed(events) if isinstance(event, StepTaken | EpochEnded))
        scored = [event for event in epochs.values() if event.validation_dice is not None]
        best = max(scored, key=lambda event: (event.validation_dice or 0.0, -event.epoch), default=None)
        state = self._state(events, end, job)
        last = next((event for event in reversed(events) if isinstance(event, Stopping | Ended)), None)
        reason = end.reason if end is not None else last.reason if last is not None and state == "stopping" else None
        return RunStatus(
            state=state,
            reason=reason,
            stopped_by=end.stopped_by if end is not None else None,
            exit_code=end.exit_code if end is not None else None,
            best_dice=best.validation_dice if best is not None else None,
            best_epoch=best.epoch if best is not None else None,
            epoch=max(epochs, default=0),
            epochs=running.epochs if running is not None else None,
            step=next(counted, 0),
            steps_per_epoch=running.steps_per_epoch if running is not None else None,
            world_size=starting.world_size if starting is not None else None,
            job=job,
            checkpoints=tuple(sorted(self.checkpoints.glob("step-*.npz"))),
            model=self.model if self.model.exists() else None,
            logs=tuple(sorted(self.logs.glob("*.log"))),
        )

    def _state(self, events: list[Any], end: RunEnd | None, job: ProcessIdentity | None) -> State | None:
        if end is not None:
            return end.state
        if not self.holds_run():
            return None
        states = (event for event in reversed(events) if isinstance(event, Starting | Running | Stopping | Ended))
        last = next(states, None)
        is_written, is_alive = is_being_written(self.events), None if job is None else job.is_alive()
        if is_written or is_alive or (is_written is None and is_alive is None):
            return last.state if last is not None and last.state in ACTIVE else "starting"
        return "lost"

    def check_free(self) -> None:
        """Refuse a folder that a new run would overwrite or mix with other files; a start that failed is no run.

        Raises:
            RunFolderError: where the folder holds a run, or anything else.
        """
        if self.holds_run():
            status = self.status()
            if status.is_running:
                raise RunFolderError(f"{self.path} holds a run that is {status.state}; give another --run-dir")
            if status.has_learned:
                raise RunFolderError(
                    f"{self.path} already holds a run; continue it with --resume, or give another --run-dir"
                )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunFolderError(f"{self.path} exists and is not an empty folder; give another --run-dir")

    def check_resumable(self) -> None:
        """Refuse to resume where no run was started, or where its checkpoints are gone.

        Raises:
            RunFolderError: where there is nothing to go on with.
        """
        if not self.config.exists():
            raise RunFolderError(f"{self.path} holds no run to resume (no config.yaml); start one without --resume")
        if self.model.exists() and not any(self.checkpoints.glob("*.npz")):
            raise RunFolderError(
                f"{self.path} has a network and no checkpoint to go on from; resumed, it would begin anew and replace "
                f"model.keras: start from it with transfer.start_from={self.path} and another --run-dir"
            )

    def check_unused(self) -> None:
        """Refuse a run that another process is writing.

        Raises:
            RunFolderError: where its record is locked.
        """
        if self.events.exists():
            EventLog(self.events).close()

    def create(self, *, is_resumed: bool = False) -> None:
        """Make the folder and its subfolders, and name this process as the one that starts the run.

        Args:
            is_resumed: whether a run goes on; else what a failed start left behind is removed. A request that an
                earlier part of the run has served is forgotten in any case.

        Raises:
            NoSpaceError: the disk is full.
            NotWritableError: the folder cannot be made or written into.
        """
        for folder in (self.checkpoints, self.tensorboard, self.logs):
            make_folder(folder)
        with writing(self.path):
            for left in (self.control, self.exit, *(() if is_resumed else (self.events, self.start))):
                left.unlink(missing_ok=True)
            for folder in () if is_resumed else (self.tensorboard, self.logs):
                for left in folder.iterdir():
                    remove(left)
            if not is_resumed:
                remove(self.samples)
                remove(self.monitoring)
            for path in (self.model, self.card):
                remove_leftovers_of(path)
        write_json(self.job, {"schema_version": 1, **ProcessIdentity.of_this_process().to_json()})

    def read_job(self) -> ProcessIdentity | None:
        """Read which process started the run; None where that is not recorded."""
        try:
            return ProcessIdentity.from_json(read_json(self.job))
        except (OSError, ValueError):
            return None

    def write_exit(self, end: RunEnd) -> None:
        """Write how the run ended."""
        write_json(self.exit, end.model_dump(mode="json", exclude_none=True), is_durable=True)

    def read_exit(self) -> RunEnd | None:
        """Read how the run ended; None while it has not, or where what stands there is damaged."""
        try:
            return RunEnd.model_validate(json.loads(self.exit.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, ValidationError):
            return None
