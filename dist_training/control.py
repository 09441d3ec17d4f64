"""Requests to a running training: control.json from outside, signals from the system."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from imgmed.storage import write_json

__all__ = ["Control", "request_stop"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def request_stop(path: Path, reason: str) -> None:
    """Ask the run that watches ``path`` to stop at its next step, with a checkpoint.

    Args:
        path: the run's control.json.
        reason: why, for the record.
    """
    write_json(path, {"schema_version": 1, "request": "stop_early", "reason": reason})


class Control:
    """What this rank has been asked for; all ranks then agree on it by the step's reduction.

    Args:
        path: control.json, read by rank 0; None on other ranks.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._interrupts = 0
        self.reason: str | None = None

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Turn Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 into a stop at the next step; a second Ctrl-C interrupts at once.

        A signal that is ignored (SIGHUP under nohup) stays so; at the end every handler is what it was before.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN}
        for number in previous:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt
        self.reason = self.reason or f"signal {signal.Signals(number).name}"

    def is_stop_requested(self) -> bool:
        """Whether this rank has been asked to stop, by a signal or through control.json."""
        if self.reason is None and self._path is not None:
            self._read()
        return self.reason is not None

    def _read(self) -> None:
        try:
            stat = self._path.stat()  # type: ignore[union-attr]
        except FileNotFoundError:
            return
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            request = json.loads(self._path.read_text(encoding="utf-8"))  # type: ignore[union-attr]
        except ValueError:
            return
        if isinstance(request, dict) and request.get("request") == "stop_early":
            self.reason = str(request.get("reason") or "control.json")
