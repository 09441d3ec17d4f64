"""How a worker ended: well, by an error of its own, by a signal, or because another one was lost."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["WORKER_LOST", "WorkerEnd"]

WORKER_LOST = 75
"""What a worker exits with that ended because another one was lost (EX_TEMPFAIL of sysexits.h: try again)."""

SIGNAL_BASE = 128  # a shell gives a process that a signal ended 128 + the signal's number


@dataclass(frozen=True)
class WorkerEnd:
    """How a worker ended.

    Attributes:
        rank: its rank; None where it is unknown which one it was.
        exit_code: what it exited with; None where a signal ended it.
        signal: the number of that signal; None where none did.
    """

    rank: int | None
    exit_code: int | None
    signal: int | None = None

    @classmethod
    def of_process(cls, rank: int | None, returncode: int) -> WorkerEnd:
        """Read what ``subprocess`` gives, where a negative number is that of a signal.

        >>> WorkerEnd.of_process(1, -9).description
        'rank 1 was ended by SIGKILL: by someone, or by the system for lack of memory (see dmesg)'
        """
        return cls(rank, None, -returncode) if returncode < 0 else cls(rank, returncode)

    @classmethod
    def of_shell(cls, rank: int | None, status: int) -> WorkerEnd:
        """Read what a shell gives, where a signal is 128 + its number; or ``subprocess``, of a shell.

        >>> WorkerEnd.of_shell(1, 137).signal
        9
        """
        with suppress(ValueError):
            return cls(rank, None, signal.Signals(status - SIGNAL_BASE).value)
        return cls.of_process(rank, status)

    @property
    def is_good(self) -> bool:
        """Whether it did what it was to do."""
        return self.exit_code == 0

    @property
    def signal_name(self) -> str | None:
        """The signal that ended it; None where none did."""
        if self.signal is None:
            return None
        try:
            return signal.Signals(self.signal).name
        except ValueError:  # the real-time signals but the first and the last have no name
            return f"signal {self.signal}"

    @property
    def is_worker_lost(self) -> bool:
        """Whether a worker was lost, so that another try may go well; not where one failed with an error of its own."""
        return self.exit_code == WORKER_LOST or self.signal is not None

    @property
    def description(self) -> str:
        """Say it in a few words."""
        who = "the job" if self.rank is None else f"rank {self.rank}"
        if self.signal == signal.SIGKILL:
            return f"{who} was ended by SIGKILL: by someone, or by the system for lack of memory (see dmesg)"
        if self.signal is not None:
            return f"{who} was ended by {self.signal_name}"
        if self.exit_code == WORKER_LOST:
            return f"{who} lost the connection to another worker"
        return f"{who} ended with exit code {self.exit_code}"
