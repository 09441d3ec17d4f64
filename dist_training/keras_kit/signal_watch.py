"""Signals while training: noted by Python where it can, and by a thread where the process waits for ever."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

__all__ = ["PATIENCE_SECONDS", "SignalWatch"]

PATIENCE_SECONDS = 15.0
"""How long a process that was told to end may wait for something, beyond what its steps take."""

IMPATIENCE_SECONDS = 2.0
"""The same, once it was told again."""

LONGEST_STEPS = 3.0
LEAST_WORK_SECONDS = 0.001
POLL_SECONDS = 0.5
EXIT_BY_SIGNAL = 128
_DONE = 0


class SignalWatch:
    """Handles signals for a while, and ends the process where their handler never gets its turn.

    Python runs a handler between two of its instructions: never, while the main thread waits in a reduction for ranks
    that have stopped. The bytes of ``signal.set_wakeup_fd`` come all the same, and a thread reads them: where the main
    thread has not moved for too long after a signal, it says so and ends the process.

    Args:
        numbers: of the signals.
        handler: what ``signal.signal`` gets.
        exit_process: ends this process at once, given its exit code.
    """

    def __init__(
        self,
        numbers: Sequence[signal.Signals],
        handler: Callable[[int, FrameType | None], Any],
        *,
        exit_process: Callable[[int], Any] = os._exit,
    ) -> None:
        self._numbers, self._handler, self._exit = tuple(numbers), handler, exit_process
        self._previous: dict[signal.Signals, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._wakeup_before = -1
        self._main_clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
        self.longest_step_seconds = 0.0

    def start(self) -> None:
        """Handle the signals from here on; only the main thread can."""
        if threading.current_thread() is not threading.main_thread() or self._pipe is not None:
            return
        self._previous = {number: signal.signal(number, self._handler) for number in self._numbers}
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._wakeup_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(self._pipe[0],), name="r2d2-signals", daemon=True).start()

    def stop(self) -> None:
        """Put back what handled the signals before."""
        if self._pipe is None:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.write(self._pipe[1], bytes([_DONE]))
        os.close(self._pipe[1])
        self._pipe = None

    def _watch(self, source: int) -> None:
        """Read the numbers of signals until there are no more; the thread owns the end of the pipe that it reads."""
        first, count, moved_at, work = 0, 0, 0.0, 0.0
        while True:
            ready, _, _ = select.select([source], [], [], POLL_SECONDS if count else None)
            received = os.read(source, select.PIPE_BUF) if ready else b""
            if ready and (not received or _DONE in received):
                os.close(source)
                return
            told = [number for number in received if number in self._numbers]
            if told and not count:
                first, moved_at, work = told[0], time.monotonic(), self._main_seconds()
            count += len(told)
            if not count:
                continue
            if self._main_seconds() - work > LEAST_WORK_SECONDS:
                moved_at, work = time.monotonic(), self._main_seconds()
            patience = PATIENCE_SECONDS + LONGEST_STEPS * self.longest_step_seconds
            if time.monotonic() - moved_at > (patience if count == 1 else IMPATIENCE_SECONDS):
                name = signal.Signals(first).name
                sys.stderr.write(f"{name} came, but training waits for other ranks, which have stopped: it ends here\n")
                sys.stderr.flush()
                self._exit(EXIT_BY_SIGNAL + first)

    def _main_seconds(self) -> float:
        """Give the seconds that the main thread has computed: none while it waits."""
        return time.clock_gettime(self._main_clock)
