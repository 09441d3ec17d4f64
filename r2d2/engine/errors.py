"""What the engine refuses, and how an error looks to a program: one JSON shape for the socket and for a REST API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r2d2_base.errors import R2D2Error

__all__ = [
    "DatabaseError",
    "EngineBusyError",
    "EngineError",
    "JobStateError",
    "NotRunningError",
    "RefusedError",
    "UnknownJobError",
    "error_from_json",
    "error_to_json",
]


class EngineError(R2D2Error):
    """Root of what the engine refuses.

    Args:
        message: for the user.
        faults: (key, sentence) of each fault of the settings, where there are such.
    """

    kind = "engine"

    def __init__(self, message: str, faults: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.faults = tuple((str(key), str(sentence)) for key, sentence in faults)


class NotRunningError(EngineError):
    """No engine runs on the folder."""

    kind = "not_running"
    exit_code = 1


class EngineBusyError(EngineError):
    """Another engine works on the folder."""

    kind = "busy"


class DatabaseError(EngineError):
    """A database that cannot be used: of a newer version, on a network file system, not reachable."""

    kind = "database"


class UnknownJobError(EngineError):
    """There is no job of that number."""

    kind = "unknown_job"


class JobStateError(EngineError):
    """A wish that does not go with the state of the job."""

    kind = "state"


class RefusedError(EngineError, ValueError):
    """A request that cannot be served as it is: its settings, its folders, its shape."""

    kind = "refused"


_KINDS = {
    one.kind: one
    for one in (
        EngineError,
        NotRunningError,
        EngineBusyError,
        DatabaseError,
        UnknownJobError,
        JobStateError,
        RefusedError,
    )
}


def error_to_json(error: Exception) -> dict[str, Any]:
    """Give an error as JSON.

    >>> error_to_json(UnknownJobError("there is no job 7"))["error"]["kind"]
    'unknown_job'
    """
    is_ours = isinstance(error, R2D2Error)
    kind = getattr(error, "kind", "refused") if is_ours else "fault"
    message = str(error) if is_ours else f"a fault of the engine: {type(error).__name__}: {error}"
    faults = [{"key": key, "message": sentence} for key, sentence in getattr(error, "faults", ())]
    code = error.exit_code if isinstance(error, R2D2Error) else 1
    return {"error": {"kind": kind, "message": message, "faults": faults, "exit_code": code}}


def error_from_json(content: Any) -> EngineError:
    """Make the error again that `error_to_json` wrote."""
    told = content if isinstance(content, dict) else {}
    kind = _KINDS.get(str(told.get("kind")), EngineError)
    pairs = [(fault.get("key", ""), fault.get("message", "")) for fault in told.get("faults", ())]
    error = kind(str(told.get("message", "the engine gave no readable answer")), pairs)
    if isinstance(told.get("exit_code"), int):
        error.exit_code = told["exit_code"]
    return error
