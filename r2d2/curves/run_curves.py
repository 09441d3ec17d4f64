"""What a run says of its course, for charts: read from its events as they come, and made anew where it is missing."""

from __future__ import annotations

import fcntl
import hashlib
import json
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from dist_training.record.events import (
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    EventTail,
    RequestServed,
    Restarted,
    Running,
    StepTaken,
    Stopping,
)
from dist_training.record.run_folder import RunFolder
from r2d2.curves.pyramid import Pyramid, Summary
from r2d2_base.files import read_json, write_bytes

__all__ = ["CurveView", "Mark", "RunCurves"]

SCHEMA_VERSION = 2
VALUES = ("loss", "learning_rate", "images_per_second")
"""What each step has a value of."""
MOST_STRETCHES = 2000

CATCH_UP_S = 0.25
AT_ONCE = 4096
MARKS_KEPT = 500
EPOCHS_TIMED = 5
REMEMBERED = 64


_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step: "checkpoint", "request", "stopping", "restart" or "ended", in words."""

    step: int
    kind: str
    text: str


@dataclass(frozen=True, eq=False)
class CurveView:
    """A run's curves, as far as they are looked at.

    Attributes:
        version: a word that changes whenever there is more.
        is_behind: whether events wait that were not read yet.
        steps: of stretches of steps, in the order of `VALUES`.
        epochs: the ends of epochs, the first one first.
        marks: what happened at which step; of checkpoints the last one.
        running: the last beginning of training; None: before it.
        last_step: steps done.
        last_loss: of the last of them, which may be no number; None: none was done.
    """

    version: str
    is_behind: bool
    steps: Summary
    epochs: tuple[EpochEnded, ...]
    marks: tuple[Mark, ...]
    running: Running | None
    last_step: int
    last_loss: float | None

    def chosen_epochs(self, most: int) -> list[EpochEnded]:
        """Give the epochs, of very many some: of each stretch those with its least and its largest validation Dice.

        Args:
            most: epochs at most, give or take two.
        """
        total = len(self.epochs)
        if total <= most:
            return list(self.epochs)
        dice = np.array([epoch.validation_dice or 0.0 for epoch in self.epochs])
        chosen, groups = {total - 1}, max(most // 2, 1)
        for at in range(groups):
            begin, end = total * at // groups, total * (at + 1) // groups
            chosen |= {begin + int(dice[begin:end].argmin()), begin + int(dice[begin:end].argmax())}
        return [self.epochs[at] for at in sorted(chosen)]

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes if it goes on like the last epochs; None before the first has ended."""
        timed = [epoch for epoch in self.epochs[-EPOCHS_TIMED:] if epoch.seconds is not None]
        if self.running is None or not timed:
            return None
        an_epoch = sum((epoch.seconds or 0.0) + (epoch.validation_seconds or 0.0) for epoch in timed) / len(timed)
        return max(self.running.epochs - self.last_step / self.running.steps_per_epoch, 0.0) * an_epoch


@dataclass
class _State:
    """What was read so far.

    Attributes:
        head: tells this record from another that was begun at the same place.
        position: byte of the record behind what was read.
        count: points of the pyramid.
        is_behind: whether the time was over before the record was.
        epochs: kept in a file of their own, to which each look adds; they are thousands where epochs are short.
        kept_epochs, kept_bytes: how many of them are in it, and where they end.
    """

    head: str = ""
    position: int = 0
    count: int = 0
    last_step: int = 0
    is_behind: bool = False
    epochs: list[EpochEnded] = field(default_factory=list)
    kept_epochs: int = 0
    kept_bytes: int = 0
    marks: list[Mark] = field(default_factory=list)
    running: Running | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "head": self.head,
            "position": self.position,
            "count": self.count,
            "last_step": self.last_step,
            "is_behind": self.is_behind,
            "kept_epochs": self.kept_epochs,
            "kept_bytes": self.kept_bytes,
            "marks": [[mark.step, mark.kind, mark.text] for mark in self.marks],
            "running": None if self.running is None else self.running.model_dump(mode="json"),
        }

    def copy(self) -> _State:
        return replace(self, epochs=list(self.epochs), marks=list(self.marks))

    @classmethod
    def from_json(cls, content: dict[str, Any], epochs: list[EpochEnded]) -> _State:
        """Take what `to_json` gave, and the epochs beside it."""
        if content.pop("schema_version") != SCHEMA_VERSION or content["kept_epochs"] != len(epochs):
            raise ValueError
        running, marks = content.pop("running"), content.pop("marks")
        return cls(
            **content,
            epochs=epochs,
            marks=[Mark(*mark) for mark in marks],
            running=None if running is None else Running.model_validate(running),
        )


class RunCurves:
    """The curves of one run.

    Args:
        run: its folder, which is only read.
        kept: a folder of their own, made where it is missing; it may be removed at any time.
        fresh_s: seconds for which what was read is good enough, as where many look at a training that runs.
    """

    def __init__(self, run: Path, kept: Path, *, fresh_s: float = 0.0) -> None:
        self._events, self._fresh_s = RunFolder(run).events, fresh_s
        self._kept = kept
        self._file, self._epochs_file = kept / "curves.json", kept / "epochs.jsonl"

    def view(self, first: float = 0, last: float = float("inf"), most: int = 800) -> CurveView:
        """Read what is new, for a moment at most, and give the curves.

        Args:
            first, last: steps that are looked at.
            most: stretches at most that stand for them, up to `MOST_STRETCHES`.

        Raises:
            NotWritableError: the folder cannot be written into.
        """
        most = min(max(most, 4), MOST_STRETCHES)
        state = self.catch_up()
        asked = f"{state.head} {state.position} {state.is_behind} {first} {last} {most}"
        version = hashlib.sha256(asked.encode()).hexdigest()[:16]
        try:
            key = self._version(), version  # what is kept may be removed and made anew, while it is read
        except OSError:
            return self._view(state, version, first, last, most)
        return _VIEWS.get(key) or _VIEWS.keep(key, self._view(state, version, first, last, most))

    def _view(self, state: _State, version: str, first: float, last: float, most: int) -> CurveView:
        pyramid = Pyramid(self._kept, len(VALUES), state.count)
        steps, end = pyramid.view(first, last, most), pyramid.last()
        return CurveView(
            version,
            state.is_behind,
            steps,
            tuple(state.epochs),
            tuple(state.marks),
            state.running,
            state.last_step,
            None if end is None else float(end[1]),
        )

    def steps(self) -> Iterator[tuple[float, ...]]:
        """Yield every step that was read so far: its number, then its `VALUES`."""
        for points in Pyramid(self._kept, len(VALUES), self._read().count).points():
            yield from (tuple(row) for row in points.tolist())

    def catch_up(self, seconds: float = CATCH_UP_S) -> _State:
        """Read the events that have come, for so long at most; who comes while another does so gets what there is."""
        self._kept.mkdir(parents=True, exist_ok=True)
        with self._locked() as is_ours:
            state = self._read()
            if not is_ours or (self._is_fresh() and not state.is_behind):
                return state
            head = _head(self._events)
            if not head:
                return state
            if state.head != head or self._events.stat().st_size < state.position:
                state = _State(head)
            before = state.position, state.is_behind
            self._follow(state, time.monotonic() + seconds)
            if (state.position, state.is_behind) != before:
                self._keep_epochs(state)
                write_bytes(self._file, json.dumps(state.to_json()).encode())
                _STATES.keep(self._version(), state.copy())
            return state

    def _is_fresh(self) -> bool:
        try:
            return 0 <= time.time() - self._file.stat().st_mtime < self._fresh_s
        except OSError:
            return False

    def _follow(self, state: _State, until: float) -> None:
        pyramid = Pyramid(self._kept, len(VALUES), state.count)
        tail, points = EventTail(self._events, position=state.position), list[tuple[float, ...]]()
        state.is_behind = False
        for event in tail.new():
            if isinstance(event, StepTaken):
                points.append((event.step, event.loss, event.learning_rate, event.images_per_second))
                state.last_step = event.step
            else:
                _add(pyramid, points)
                _note(state, pyramid, event)
            if len(points) >= AT_ONCE:
                _add(pyramid, points)
            if time.monotonic() > until:
                state.is_behind = True
                break
        _add(pyramid, points)
        state.position, state.count = tail.position, pyramid.count

    def _read(self) -> _State:
        try:
            version = self._version()
            state = _STATES.get(version)
            if state is None:
                content = read_json(self._file)
                state = _STATES.keep(version, _State.from_json(content, self._epochs(content["kept_bytes"])))
        except (OSError, ValueError, KeyError, TypeError):
            return _State()
        return state.copy()

    def _epochs(self, end: int) -> list[EpochEnded]:
        with self._epochs_file.open("rb") as file:
            return [EpochEnded.model_validate_json(line) for line in file.read(end).splitlines()] if end else []

    def _keep_epochs(self, state: _State) -> None:
        """Add the new ones; what a crash has left behind the others goes."""
        new = (json.dumps(epoch.model_dump(mode="json")) + "\n" for epoch in state.epochs[state.kept_epochs :])
        with self._epochs_file.open("r+b" if self._epochs_file.exists() else "w+b") as file:
            file.truncate(state.kept_bytes)
            file.seek(0, 2)
            file.write("".join(new).encode())
            state.kept_epochs, state.kept_bytes = len(state.epochs), file.tell()

    def _version(self) -> tuple[Path, int, int, int]:
        now = self._file.stat()
        return self._file, now.st_ino, now.st_mtime_ns, now.st_size

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        with (self._kept / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True


class _Remembered(Generic[_Value]):
    """The last of what was made: many look at the same runs, of which some have thousands of epochs."""

    def __init__(self) -> None:
        self._lock, self._values = threading.Lock(), dict[Hashable, _Value]()

    def get(self, key: Hashable) -> _Value | None:
        return self._values.get(key)

    def keep(self, key: Hashable, value: _Value) -> _Value:
        with self._lock:
            self._values[key] = value
            while len(self._values) > REMEMBERED:
                del self._values[next(iter(self._values))]
        return value


_STATES, _VIEWS = _Remembered[_State](), _Remembered[CurveView]()


def _add(pyramid: Pyramid, points: list[tuple[float, ...]]) -> None:
    if points:
        pyramid.append(np.array(points, np.float64))
        points.clear()


def _note(state: _State, pyramid: Pyramid, event: Event) -> None:
    """Take an event other than a step in."""
    if isinstance(event, Running):
        state.running = event
        pyramid.truncate(event.resumed_at_step)  # steps behind the checkpoint are done once more
        state.epochs = [epoch for epoch in state.epochs if epoch.step <= event.resumed_at_step]
        if len(state.epochs) < state.kept_epochs:
            state.kept_epochs = state.kept_bytes = 0
        state.last_step = event.resumed_at_step
    elif isinstance(event, EpochEnded):
        state.epochs.append(event)
    elif mark := _mark(state, event):
        others = [one for one in state.marks if one.kind != "checkpoint" or mark.kind != "checkpoint"]
        state.marks = [*others, mark][-MARKS_KEPT:]


def _mark(state: _State, event: Event) -> Mark | None:
    if isinstance(event, CheckpointWritten):
        return Mark(event.step, "checkpoint", event.file)
    if isinstance(event, RequestServed):
        rate = "" if event.learning_rate is None else f" {event.learning_rate:g}"
        return Mark(event.step, "request", f"{event.request.replace('_', ' ')}{rate}: {event.reason}")
    if isinstance(event, Restarted):
        return Mark(state.last_step, "restart", f"restart {event.number} of {event.of}: {event.reason}")
    if isinstance(event, Stopping):
        return Mark(state.last_step, "stopping", event.reason)
    if isinstance(event, Ended):
        return Mark(state.last_step, "ended", event.reason or event.state)
    return None


def _head(events: Path) -> str:
    """Give a word for the first line of a record, by which another record is told; empty: there is none yet."""
    try:
        with events.open("rb") as file:
            line = file.readline(65536)
    except OSError:
        return ""
    return hashlib.sha256(line).hexdigest()[:16] if line.endswith(b"\n") else ""
