"""Training ends when it is asked to, on all ranks after the same step."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from dist_training.keras_kit.lockstep import RankCallback
from dist_training.keras_kit.signal_watch import SignalWatch
from dist_training.ranks.communicator import Communicator

__all__ = ["StopCallback"]


class StopCallback(RankCallback):
    """Ends training on all ranks after the same step, when any of them is asked to stop.

    Asked by a signal, or by ``request``. Put last, it also spreads what another callback decides at the end of an epoch
    on one rank alone. A second Ctrl-C interrupts at once. A process that waits for ever, as for a rank that is gone,
    ends within some 15 seconds of a signal (and three times the longest step), at once after a second one.

    Args:
        signals: handled while training; others' handlers are put back afterwards.
        communicator: the ranks; None joins the job that this process was started in.
    """

    def __init__(
        self,
        signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1),
        *,
        communicator: Communicator | None = None,
    ) -> None:
        super().__init__(communicator)
        self._requested: str | None = None
        self._watch = SignalWatch(signals, self._on_signal)
        self._step_began = 0.0

    @property
    def reason(self) -> str | None:
        """Why training was stopped, on every rank; None while it was not."""
        return self.lockstep.reason

    def request(self, reason: str) -> None:
        """Ask for the end of training, from any thread."""
        self._requested = reason

    def on_train_begin(self, logs: Any = None) -> None:
        """Listen to the signals; only the main thread can."""
        super().on_train_begin(logs)
        self._watch.start()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Agree to take a step."""
        super().on_train_batch_begin(batch, logs)
        self._step_began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop, where this rank was asked to; the others hear of it before their next step."""
        super().on_train_batch_end(batch, logs)
        taken = time.monotonic() - self._step_began
        self._watch.longest_step_seconds = max(self._watch.longest_step_seconds, taken)
        if self._requested is not None:
            self.lockstep.ask(self._requested)
            self._requested = None

    def on_train_end(self, logs: Any = None) -> None:
        """Put the signals' handlers back."""
        super().on_train_end(logs)
        self._watch.stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and name == self._requested:
            self._watch.stop()
            raise KeyboardInterrupt
        self.request(name)
