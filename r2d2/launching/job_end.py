"""How a job ended: which worker was the first to go, and whether it was lost or failed."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

__all__ = ["WORKER_LOST", "JobEnd"]

WORKER_LOST = 75
"""What a worker exits with that ended because another one was lost (EX_TEMPFAIL of sysexits.h: try again)."""

SIGNAL_BASE = 128  # a shell gives a process that a signal ended 128 + the signal's number
_FIRST_EXIT = re.compile(r"^Process (\d+) exit with status code (\d+)\.", re.MULTILINE)


@dataclass(frozen=True)
class JobEnd:
    """How the first worker of a job ended that did not end well.

    Attributes:
        rank: its rank; None where it is unknown.
        code: its exit code as a shell gives it, 128 + the number of a signal that ended it.
    """

    rank: int | None
    code: int

    @classmethod
    def read(cls, returncode: int, log: str) -> JobEnd:
        """Find out from what horovodrun said.

        Args:
            returncode: of horovodrun, or of the only worker; negative: ended by that signal.
            log: what horovodrun wrote.

        >>> JobEnd.read(1, "Process 1 exit with status code 137.").description
        'rank 1 was ended by SIGKILL: by someone, or by the system for lack of memory (see dmesg)'
        """
        first = _FIRST_EXIT.search(log)
        if first is not None:
            return cls(int(first[1]), int(first[2]))
        return cls(None, SIGNAL_BASE - returncode if returncode < 0 else returncode)

    @property
    def signal_name(self) -> str | None:
        """The signal that ended it; None where none did."""
        try:
            return signal.Signals(self.code - SIGNAL_BASE).name
        except ValueError:
            return None

    @property
    def is_worker_lost(self) -> bool:
        """Whether a worker was lost, so that another try may go well; not where one failed with an error of its own."""
        return self.code == WORKER_LOST or self.signal_name is not None

    @property
    def description(self) -> str:
        """Say it in a few words."""
        who = "the job" if self.rank is None else f"rank {self.rank}"
        if self.signal_name == "SIGKILL":
            return f"{who} was ended by SIGKILL: by someone, or by the system for lack of memory (see dmesg)"
        if self.signal_name is not None:
            return f"{who} was ended by {self.signal_name}"
        if self.code == WORKER_LOST:
            return f"{who} lost the connection to another worker"
        return f"{who} ended with exit code {self.code}"
