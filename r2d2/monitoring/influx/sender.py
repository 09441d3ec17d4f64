"""The process that sends a run to InfluxDB while it goes on: one a run, started by rank 0, which never waits for it.

It reads what the run leaves in its folder, so what a server does not take is neither lost nor kept in memory. It ends
soon after its standard input does, which rank 0 holds open: with that worker, however it ends. Signals that reach a
whole job are not for it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.influx.delivery import Delivery
from r2d2.monitoring.influx.ledger import open_ledger, sole_sender
from r2d2.monitoring.influx.target import ENDING_S, Target, target_from
from r2d2.monitoring.influx.words import sentence
from r2d2.monitoring.influx.writer import NotTakenError
from r2d2_base.errors import BusyFolderError

__all__ = ["Sender"]

TIMEOUT_S = 10.0
_SETTLE_S = 0.3
"""Other workers write their last record a little later than rank 0."""
_LONGEST_PAUSE_S = 30.0
_MOST_MEMORY_BYTES = 256 * 2**20


class Sender:
    """Sends a run until it is over.

    Args:
        folder: of the run.
        target: the server.
        interval_s: seconds between two sendings.
    """

    def __init__(self, folder: RunFolder, target: Target, interval_s: float) -> None:
        self._folder, self._target, self._interval_s = folder, target, interval_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._send, name="r2d2-influx", daemon=True)
        self._delivery: Delivery | None = None

    def start(self) -> None:
        """Begin, in a thread: one that a server holds up holds up nothing else."""
        self._thread.start()

    def end(self) -> None:
        """Send what is left, as far as that goes in a few seconds, and say what does not."""
        end = time.monotonic() + ENDING_S
        time.sleep(_SETTLE_S)
        self._is_over.set()
        self._thread.join(max(end - time.monotonic(), 0.0))
        if self._delivery is None:
            return
        ledger, left = self._delivery.ledger, self._delivery.waiting()
        if self._thread.is_alive() and ledger.fault is None:
            self._delivery.note_fault("it did not answer before the run ended")
        if left or ledger.refused or ledger.united:
            _say(sentence(ledger, left))

    def _send(self) -> None:
        while True:
            try:
                with sole_sender(self._folder, patience_s=2 * ENDING_S):
                    self._send_alone()
                return
            except BusyFolderError:  # a replay, or the sender of a part of the run that was killed
                if self._is_over.is_set():
                    return

    def _send_alone(self) -> None:
        faults = 0
        while True:
            is_last = self._is_over.is_set()  # before it looks: what is written by now is sent
            try:
                sent = self._send_next()
            except NotTakenError as fault:
                if not faults:
                    _say(
                        f"InfluxDB at {self._target.url} takes no points: {fault}; the training goes on, and they wait "
                        "in its folder"
                    )
                pause_s = _pause_s(fault, faults)
                faults += 1
            else:
                if faults and sent is not None:
                    _say(f"InfluxDB at {self._target.url} takes points again")
                    faults = 0
                if sent is not None:
                    continue
                pause_s = self._interval_s
            if is_last:
                return
            self._is_over.wait(pause_s)

    def _send_next(self) -> int | None:
        if self._delivery is None:
            try:
                ledger = open_ledger(self._folder, self._target)
            except OSError as error:
                raise NotTakenError(f"the run folder cannot be read ({error})") from error
            if ledger is None:  # the run has not begun
                return None
            self._delivery = Delivery(self._folder, self._target, ledger, TIMEOUT_S)
        return self._delivery.send_next()


def _pause_s(fault: NotTakenError, faults: int) -> float:
    """Say how long a server is left alone: as long as it asks for, else longer and longer; not all runs at once.

    >>> _pause_s(NotTakenError("", 60.0), 0), 22 < _pause_s(NotTakenError(""), 2000) < 38
    (60.0, True)
    """
    growing_s = min(2.0 ** min(faults, 9), _LONGEST_PAUSE_S) * random.uniform(0.75, 1.25)
    return growing_s if fault.wait_s is None else max(fault.wait_s, growing_s / 20)


def _say(text: str) -> None:
    with suppress(OSError):
        print(f"r2d2: monitoring: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its standard error is the worker's log


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY_BYTES, _MOST_MEMORY_BYTES))  # of an answer without end
    with suppress(OSError):
        os.nice(5)
    asked = json.loads(sys.argv[1])
    sender = Sender(RunFolder(Path(asked["run"])), target_from(asked["target"]), asked["interval_s"])
    sender.start()
    while sys.stdin.buffer.read(1):
        continue
    sender.end()
    os._exit(0)  # without waiting for a thread that waits for a server


if __name__ == "__main__":
    _main()
