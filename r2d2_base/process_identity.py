"""Which process does something, in a form that can be written down and asked for later: does it still live?"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["ProcessIdentity"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TICKS_FIELD = 22  # of /proc/PID/stat (proc(5)); unlike times of day it does not follow the system clock
_STATE_FIELD = 3


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of one host, told from any other that had or will have its number.

    Attributes:
        host: the name of the host.
        pid: the number of the process there.
        start_ticks: when it began, in clock ticks since the host's start; None where the system does not tell.
        boot_id: which start of the host that was; None likewise.
    """

    host: str
    pid: int
    start_ticks: int | None = None
    boot_id: str | None = None

    @classmethod
    def of_this_process(cls) -> ProcessIdentity:
        """Identify the process that calls.

        >>> ProcessIdentity.of_this_process().is_alive()
        True
        """
        return cls(platform.node(), os.getpid(), _start_ticks(os.getpid()), _boot_id())

    @classmethod
    def from_json(cls, content: Any) -> ProcessIdentity | None:
        """Read what ``to_json`` gave; None where it is something else."""
        if not isinstance(content, dict) or not isinstance(content.get("pid"), int) or "host" not in content:
            return None
        return cls(str(content["host"]), content["pid"], content.get("start_ticks"), content.get("boot_id"))

    def to_json(self) -> dict[str, Any]:
        """Give a form that JSON can hold."""
        return asdict(self)

    def is_alive(self) -> bool | None:
        """Tell whether this very process still lives; None where that cannot be told: it is of another host."""
        if self.host != platform.node():
            return None
        if self.boot_id is not None and self.boot_id != _boot_id():
            return False
        if self.start_ticks is not None:
            return _start_ticks(self.pid) == self.start_ticks
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def _boot_id() -> str | None:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None


def _start_ticks(pid: int) -> int | None:
    """Read when a process began; None where there is none, or where it has ended and waits for its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold blanks and brackets; field 3 is the first here
    if fields[_STATE_FIELD - 3] in ("Z", "X"):
        return None
    return int(fields[_START_TICKS_FIELD - 3])
