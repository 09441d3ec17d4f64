"""Errors that all packages share: the one root of everything raised on purpose, and what several of them raise."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

__all__ = [
    "BusyFolderError",
    "CancelledError",
    "ConfigurationError",
    "NoSpaceError",
    "NotWritableError",
    "OutputExistsError",
    "ProcessLostError",
    "R2D2Error",
]


class R2D2Error(Exception):
    """Root of all errors that R2D2 raises on purpose: the message is for the user, and says what would work.

    Whatever is no R2D2Error is a fault of ours, and keeps its traceback.

    Attributes:
        exit_code: what the command line exits with; 2 is a user's mistake, 1 a failure that is nobody's.
    """

    exit_code = 2

    def __reduce__(self) -> tuple[Any, ...]:
        """Have pickle restore it as it is, on its way from another process: not all are built from their message."""
        return _restored, (type(self), self.args, dict(self.__dict__), getattr(self, "errno", None))


def _restored(kind: type[R2D2Error], args: tuple[Any, ...], state: dict[str, Any], number: int | None) -> R2D2Error:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    if number is not None:
        error.errno = number  # type: ignore[attr-defined]  # one that is an OSError too
    return error


class CancelledError(R2D2Error):
    """Work that ended because it was asked to; what it leaves is what the next such call uses.

    Args:
        reason: why, for the user; may be empty.
    """

    exit_code = 130

    def __init__(self, reason: str = "") -> None:
        super().__init__(f"cancelled ({reason})" if reason else "cancelled")
        self.reason = reason


class ConfigurationError(R2D2Error, ValueError):
    """Settings that cannot work, alone or together; the message lists all faults.

    Args:
        message: for the user.
        faults: (key, sentence) of each fault, where there are several, or its key is known.
    """

    def __init__(self, message: str, faults: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class OutputExistsError(R2D2Error, FileExistsError):
    """The folder to be written exists already and holds something."""


class BusyFolderError(R2D2Error, BlockingIOError):
    """A folder that another process is writing."""


class NoSpaceError(R2D2Error, OSError):
    """The disk has, or had, too little room; `errno` is ENOSPC."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.errno = errno.ENOSPC


class NotWritableError(R2D2Error, OSError):
    """A file or folder that the system lets nobody write: a read-only disk, permissions, a name that is too long ...

    Args:
        message: for the user.
        number: `errno` of the system's error.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number


class ProcessLostError(R2D2Error, ChildProcessError):
    """A process of a pool ended without an answer, most often for want of memory."""
