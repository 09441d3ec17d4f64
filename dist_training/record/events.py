"""events.jsonl: rank 0's append-only record of a run, one class a kind of event, and those who watch it.

A line is the event as JSON, with its kind in ``event``; what a state is about stands in ``state`` besides.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from dist_training.errors import RunFolderError
from dist_training.record.states import StoppedBy
from r2d2_base.files import writing
from r2d2_base.folders import NO_LOCKS

__all__ = [
    "CheckpointWritten",
    "Ended",
    "EpochEnded",
    "Event",
    "EventLog",
    "EventTail",
    "Listener",
    "RequestMissed",
    "RequestName",
    "RequestServed",
    "Restarted",
    "Running",
    "Starting",
    "StepTaken",
    "StepsProfiled",
    "Stopping",
    "WeightsTaken",
    "is_being_written",
    "read_events",
]

RequestName = Literal["stop_early", "checkpoint", "set_learning_rate", "profile"]


class _Event(BaseModel):
    """What all events have.

    Attributes:
        time: seconds since 1970.
    """

    model_config = ConfigDict(frozen=True)

    time: float = Field(default_factory=time.time)


class Starting(_Event):
    """The workers have met.

    Attributes:
        world_size: how many they are.
    """

    event: Literal["state"] = "state"
    state: Literal["starting"] = "starting"
    world_size: int


Samples = Literal["slices", "patches"]


class Running(_Event):
    """Training begins, or goes on.

    Attributes:
        epochs: planned in all.
        steps_per_epoch: optimizer steps of an epoch.
        training_slices, validation_slices: of an epoch; of a network of volumes the former are patches.
        samples: what the network learns from.
        global_batch_size: slices of a step, over all workers.
        parameters: numbers that the network holds.
        resumed_at_step: steps done before; 0: none.
        extended_from_epochs: epochs that were planned before, where those were others.
        learning_rate: of the first step to come.
        learning_rate_setting: the setting, before schedule and scaling.
        slow_dtype: the setting `training.dtype`, where the processor of rank 0 has no instructions for it.
    """

    event: Literal["state"] = "state"
    state: Literal["running"] = "running"
    epochs: int
    steps_per_epoch: int
    training_slices: int
    validation_slices: int
    samples: Samples = "slices"
    global_batch_size: int
    parameters: int
    resumed_at_step: int = 0
    extended_from_epochs: int | None = None
    learning_rate: float | None = None
    learning_rate_setting: float | None = None
    slow_dtype: str | None = None


class Stopping(_Event):
    """All workers have agreed to end before the last epoch.

    Attributes:
        reason: in words.
        stopped_by: who wanted it.
    """

    event: Literal["state"] = "state"
    state: Literal["stopping"] = "stopping"
    reason: str
    stopped_by: StoppedBy | None = None


class Ended(_Event):
    """The run is over.

    Attributes:
        state: how it ended.
        reason: why, unless it is completed.
        stopped_by: who ended it early.
    """

    event: Literal["state"] = "state"
    state: Literal["completed", "stopped_early", "cancelled", "failed"]
    reason: str | None = None
    stopped_by: StoppedBy | None = None


class StepTaken(_Event):
    """One step of the optimizer.

    Attributes:
        step: steps of the run done, this one included.
        epoch: 1-based.
        loss: mean over the global batch.
        learning_rate: of this step.
        seconds: since the step before.
        images_per_second: slices a second over all workers.
    """

    event: Literal["step"] = "step"
    step: int
    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    images_per_second: float


class EpochEnded(_Event):
    """All slices were seen once more, and the network was validated.

    Attributes:
        epoch: 1-based.
        step: steps of the run done.
        loss: mean training loss.
        validation_dice: mean over labels; None where it is undefined.
        validation_dice_per_label: of each label, or region where outputs are regions.
        learning_rate: of the epoch's last step.
        seconds, validation_seconds: of training and of validation.
        images_per_second: slices a second over all workers, without validation.
        is_best: whether no epoch before had a better validation Dice.
    """

    event: Literal["epoch"] = "epoch"
    epoch: int
    step: int
    loss: float
    validation_dice: float | None = None
    validation_dice_per_label: Mapping[str, float | None] = Field(default_factory=dict)
    learning_rate: float | None = None
    seconds: float | None = None
    validation_seconds: float | None = None
    images_per_second: float | None = None
    is_best: bool = False


class CheckpointWritten(_Event):
    """A checkpoint has reached the disk.

    Attributes:
        step: steps of the run that it holds.
        file: its name in the folder of checkpoints.
    """

    event: Literal["checkpoint"] = "checkpoint"
    step: int
    file: str


class RequestServed(_Event):
    """All workers did what was asked for through control.json.

    Attributes:
        request: what that was.
        step: steps of the run done, the one with the agreement included.
        reason: why it was asked for.
        id: tells it from any other.
        learning_rate: the rate from the next step on, where that was asked for.
        steps: to be traced from the next one on, where that was asked for.
    """

    event: Literal["control"] = "control"
    request: RequestName
    step: int
    reason: str
    id: str
    learning_rate: float | None = None
    steps: int | None = None


class StepsProfiled(_Event):
    """Rank 0 has traced what some steps consist of, for TensorBoard.

    Attributes:
        step: number of the first, from 1.
        steps: how many.
    """

    event: Literal["profile"] = "profile"
    step: int
    steps: int


class RequestMissed(_Event):
    """What was asked for came after the last step: nobody serves it.

    Attributes:
        request: what that was.
        reason: why it was asked for.
        id: tells it from any other.
    """

    event: Literal["missed"] = "missed"
    request: RequestName
    reason: str
    id: str


class WeightsTaken(_Event):
    """The network begins with weights of another one.

    Attributes:
        source: where they are from.
        copied: variables that were taken over.
        fresh: paths of those that start anew.
        trained_on: cases of this run's splits that the other network was trained on; None where that is unknown.
    """

    event: Literal["transfer"] = "transfer"
    source: str
    copied: int
    fresh: tuple[str, ...] = ()
    trained_on: Mapping[str, int] | None = Field(default_factory=dict)


class Restarted(_Event):
    """A job that lost a worker is started again, from its last checkpoint.

    Attributes:
        number: of the restart, from 1.
        of: restarts that are allowed.
        reason: how the worker was lost.
    """

    event: Literal["restart"] = "restart"
    number: int
    of: int
    reason: str


def _kind(content: Any) -> str:
    if isinstance(content, Mapping):
        kind, state = content.get("event"), content.get("state")
    else:
        kind, state = getattr(content, "event", None), getattr(content, "state", None)
    if kind != "state":
        return str(kind)
    return str(state) if state in ("starting", "running", "stopping") else "ended"


Event = Annotated[
    Annotated[Starting, Tag("starting")]
    | Annotated[Running, Tag("running")]
    | Annotated[Stopping, Tag("stopping")]
    | Annotated[Ended, Tag("ended")]
    | Annotated[StepTaken, Tag("step")]
    | Annotated[EpochEnded, Tag("epoch")]
    | Annotated[CheckpointWritten, Tag("checkpoint")]
    | Annotated[RequestServed, Tag("control")]
    | Annotated[RequestMissed, Tag("missed")]
    | Annotated[StepsProfiled, Tag("profile")]
    | Annotated[WeightsTaken, Tag("transfer")]
    | Annotated[Restarted, Tag("restart")],
    Discriminator(_kind),
]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)

Listener = Callable[[Event], None]


class EventLog:
    """Appends events to a file, a line each, and hands them to listeners.

    The file is locked against a second process; on a file system that knows no locks there is none.

    Args:
        path: the file; None writes nothing (ranks other than 0).
        listeners: called with every event, in order.

    Raises:
        RunFolderError: another process is writing this file.
        NotWritableError: it cannot be written.
    """

    def __init__(self, path: Path | None, listeners: tuple[Listener, ...] = ()) -> None:
        self._file = _open_locked(path) if path is not None else None
        self._listeners = listeners

    def record(self, event: Event) -> None:
        """Append one event."""
        if self._file is not None:
            content = event.model_dump(mode="json")
            line = {"event": content.pop("event"), "time": content.pop("time"), **content}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        for listener in self._listeners:
            listener(event)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written to a full disk was reported by record()
                self._file.close()


def _open_locked(path: Path) -> TextIO:
    with writing(path):
        file = path.open("a", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise RunFolderError(f"{path.parent} is being written by another process; stop that run first") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            file.close()
            raise
    _end_torn_line(path)
    return file


def _end_torn_line(path: Path) -> None:
    """End a line that a crash left without its end, so that the next event starts on a line of its own."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")


def is_being_written(path: Path) -> bool | None:
    """Tell whether a process writes events; None where the file system knows no locks, and so cannot say.

    Args:
        path: an events.jsonl; it may be missing.
    """
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return None
    return False


def read_events(path: Path) -> list[Event]:
    """Read every complete event; a line that a crash cut short, or of a kind that this version does not know, is not.

    Args:
        path: an events.jsonl; it may be missing.

    Returns:
        The events in order.
    """
    return list(EventTail(path).new())


class EventTail:
    """Reads the events that a run appends to its record.

    Args:
        path: an events.jsonl; it may be missing as yet.
        from_end: leave out what is there already.
        position: byte at which to begin, the `position` of another tail.
    """

    def __init__(self, path: Path, *, from_end: bool = False, position: int = 0) -> None:
        self._path = path
        self._position = path.stat().st_size if from_end and path.exists() else position

    @property
    def position(self) -> int:
        """The byte behind the last event that was taken."""
        return self._position

    def new(self) -> Iterator[Event]:
        """Yield the complete events since the last call; the next one goes on behind the last that was taken."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._position += len(line)
                try:
                    yield _EVENT.validate_json(line)
                except ValidationError:
                    continue
