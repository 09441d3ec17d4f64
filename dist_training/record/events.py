"""events.jsonl: rank 0's append-only record of a run, and those who watch it."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from dist_training.errors import RunFolderError
from r2d2_base.files import NO_LOCKS

__all__ = ["Event", "EventLog", "Listener", "follow_events", "is_being_written", "read_events"]

Event = dict[str, Any]
"""One record: "event" ("state", "step", "epoch", "checkpoint", "control", "transfer", "restart"), "time", figures.

The time is in seconds since 1970.
"""

Listener = Callable[[Event], None]


class EventLog:
    """Appends events to a file, a line each, and hands them to listeners.

    The file is locked against a second process; on a file system that knows no locks there is none.

    Args:
        path: the file; None writes nothing (ranks other than 0).
        listeners: called with every event, in order.

    Raises:
        RunFolderError: another process is writing this file.
    """

    def __init__(self, path: Path | None, listeners: tuple[Listener, ...] = ()) -> None:
        self._file = _open_locked(path) if path is not None else None
        self._listeners = listeners

    def record(self, event: str, **figures: Any) -> None:
        """Append one event.

        Args:
            event: its kind.
            **figures: its values, as JSON has them.
        """
        entry = {"event": event, "time": time.time(), **figures}
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        for listener in self._listeners:
            listener(entry)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written to a full disk was reported by record()
                self._file.close()


def _open_locked(path: Path) -> TextIO:
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
    """Read every complete event; a line that a crash cut short is left out.

    Args:
        path: an events.jsonl; it may be missing.

    Returns:
        The events in order.
    """
    return list(follow_events(path))


def follow_events(path: Path, offset: list[int] | None = None) -> Iterator[Event]:
    """Yield the complete events from ``offset`` on and move it behind them, so that a later call goes on there.

    Args:
        path: an events.jsonl; it may be missing.
        offset: a list of one byte position, updated; None reads from the start.
    """
    position = offset if offset is not None else [0]
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(position[0])
        for line in file:
            if not line.endswith(b"\n"):
                return
            position[0] += len(line)
            try:
                yield json.loads(line)
            except ValueError:
                continue
