"""Requests and answers at the engine's socket: a line of JSON each way.

A request is ``{"call": NAME, "arguments": {...}}``, with ``"by": NAME`` where a program of the engine's user asks for
somebody else, as the web server does; an answer ``{"result": ...}`` or ``{"error": {...}}`` as
`error_to_json` has it. A REST API has the same arguments, results and errors. Results are models at both ends, which
pydantic writes and reads as JSON at once: with a list of jobs that takes longest.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from r2d2.engine.errors import RefusedError
from r2d2.engine.jobs import Jobs
from r2d2.engine.models import Change, JobQuery, RunWish, Submission
from r2d2.engine.validation import validated

__all__ = ["LONGEST_LINE", "SOCKET_NAME", "Answer", "answer", "as_line", "read_answer", "read_line", "socket_address"]

SOCKET_NAME = "engine.sock"
LONGEST_LINE = 8 * 2**20
LONGEST_ASKER = 120
_LONGEST_ADDRESS = 100  # of the 108 bytes that Linux has room for


_Result = TypeVar("_Result", bound=BaseModel)


class Answer(BaseModel, Generic[_Result]):
    """What an engine says: a result, or an error."""

    result: _Result | None = None
    error: dict[str, Any] | None = None


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Submit(_Arguments):
    submission: Submission
    without: tuple[str, ...] = ()


class _List(_Arguments):
    query: JobQuery = Field(default_factory=JobQuery)
    without: tuple[str, ...] = ()


class _OfJob(_Arguments):
    job_id: int = Field(ge=1, le=2**62)


class _Log(_OfJob):
    attempt: int | None = Field(default=None, ge=1, le=2**31)
    offset: int = Field(default=0, ge=0, le=2**62)


class _Wish(_OfJob):
    reason: str = Field(default="", max_length=500)


class _RunWish(_OfJob):
    wish: RunWish


class _Change(_OfJob):
    change: Change


_ARGUMENTS: dict[str, type[_Arguments]] = {
    "submit": _Submit,
    "check": _Submit,
    "list": _List,
    "show": _OfJob,
    "log": _Log,
    "stop": _Wish,
    "cancel": _Wish,
    "resume": _OfJob,
    "ask_run": _RunWish,
    "change": _Change,
    "rebuild": _Arguments,
}
_SAYS_WHO = ("submit", "check", "stop", "cancel", "resume", "ask_run")


def answer(jobs: Jobs, request: Any, by: str) -> bytes:
    """Serve a request.

    Args:
        jobs: of the engine.
        request: what was sent, as JSON has it.
        by: who asks, as the socket says.

    Returns:
        The line with the result.

    Raises:
        R2D2Error: what cannot be done, and why.
    """
    call = request.get("call") if isinstance(request, dict) else None
    if not isinstance(call, str) or call not in _ARGUMENTS:
        raise RefusedError(f"no such call: {str(call)[:40]!r}; there are {', '.join(_ARGUMENTS)}")
    asker = request.get("by")
    if isinstance(asker, str) and 0 < len(asker) <= LONGEST_ASKER:
        by = asker
    given = validated(_ARGUMENTS[call], request.get("arguments") or {}, "request")
    arguments = {name: getattr(given, name) for name in type(given).model_fields}
    if call in _SAYS_WHO:
        arguments["by"] = by
    result: BaseModel = getattr(jobs, call)(**arguments)
    return b'{"result":' + result.model_dump_json().encode() + b"}\n"


def read_line(stream: Any) -> Any:
    """Read a request; None at the end.

    Raises:
        RefusedError: it is too long, or no JSON.
    """
    line = _line(stream)
    if not line:
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RefusedError("a request that is no line of JSON") from error


def read_answer(stream: Any, model: type[_Result]) -> Answer[_Result] | None:
    """Read an answer; None: there is none, as the engine has ended.

    The same answer as not long ago is the same object: it is made once for who asks again and again.

    Raises:
        RefusedError: it is too long, or no answer.
    """
    line = _line(stream)
    if not line:
        return None
    try:
        return _told(model, line)
    except ValueError as error:
        raise RefusedError("an answer that is none of an engine of this version") from error


@lru_cache(maxsize=16)
def _told(model: type[_Result], line: bytes) -> Answer[_Result]:
    return _answer_with(model).model_validate_json(line)


@cache
def _answer_with(model: type[_Result]) -> type[Answer[_Result]]:
    return Answer[model]  # type: ignore[valid-type]


def as_line(content: Any) -> bytes:
    """Give the line of a request, or of an error."""
    return json.dumps(content, allow_nan=False).encode() + b"\n"


def _line(stream: Any) -> bytes:
    line: bytes = stream.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise RefusedError(f"a line of more than {LONGEST_LINE} bytes")
    return line


@contextmanager
def socket_address(work_root: Path) -> Iterator[str]:
    """Give the address of an engine's socket, also where its path is longer than an address may be."""
    path = str(work_root / SOCKET_NAME)
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield path
        return
    folder = os.open(work_root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_NAME}"
    finally:
        os.close(folder)


def new_socket() -> socket.socket:
    """Make a socket of the kind."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
