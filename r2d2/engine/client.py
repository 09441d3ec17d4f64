"""The jobs of an engine that another process is, asked at its socket."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from pydantic import BaseModel

from r2d2.engine.changes import read_changes
from r2d2.engine.errors import EngineError, NotRunningError, error_from_json
from r2d2.engine.folder import ACTIVE
from r2d2.engine.models import (
    Change,
    CheckedSubmission,
    Job,
    JobDetails,
    JobPage,
    JobQuery,
    LogPart,
    Rebuilt,
    RunWish,
    Submission,
)
from r2d2.engine.protocol import Answer, as_line, new_socket, read_answer, socket_address

__all__ = ["EngineClient"]

PATIENCE_S = 300.0
ANSWERS_KEPT = 32
_READING = ("check", "list", "show", "log")
_Result = TypeVar("_Result", bound=BaseModel)


class EngineClient:
    """The same calls as `Engine` has; each raises `NotRunningError` where no engine runs on the folder.

    Args:
        work_root: the engine's folder.
        keeps_connections: whether each thread has a connection that lasts, for what only reads: as a server does,
            which asks again and again. It is not asked again for jobs of which none is at work, while the engine is
            there and nothing has changed.
    """

    def __init__(self, work_root: Path, *, keeps_connections: bool = False) -> None:
        self.work_root = Path(work_root).absolute()
        self._kept = threading.local() if keeps_connections else None
        self._answers = _Answers()

    def close(self) -> None:
        """Let go of this thread's connection, if one is kept."""
        connection: _Connection | None = getattr(self._kept, "connection", None)
        if self._kept is not None and connection is not None:
            self._kept.connection = None
            connection.close()

    def check(self, submission: Submission, by: str = "", without: Sequence[str] = ()) -> CheckedSubmission:
        """Check a job as `submit` does; nothing is queued."""
        asked = submission.model_dump(mode="json")
        return self._call(CheckedSubmission, "check", by, submission=asked, without=list(without))

    def submit(self, submission: Submission, by: str = "", without: Sequence[str] = ()) -> Job:
        """Check and queue a job; where ``by`` is empty the engine knows itself who asks."""
        asked = submission.model_dump(mode="json")
        return self._call(Job, "submit", by, submission=asked, without=list(without))

    def list(self, query: JobQuery | None = None, without: Sequence[str] = ()) -> JobPage:
        """Give a page of jobs."""
        asked = (query or JobQuery()).model_dump(mode="json")
        return self._known_or_called(JobPage, "list", query=asked, without=list(without))

    def show(self, job_id: int) -> JobDetails:
        """Give everything about a job."""
        return self._known_or_called(JobDetails, "show", job_id=job_id)

    def log(self, job_id: int, attempt: int | None = None, offset: int = 0) -> LogPart:
        """Give what an attempt said, from a byte on."""
        return self._call(LogPart, "log", job_id=job_id, attempt=attempt, offset=offset)

    def stop(self, job_id: int, reason: str = "", by: str = "") -> Job:
        """Have a training end after its step, with a checkpoint and its best network."""
        return self._call(Job, "stop", by, job_id=job_id, reason=reason)

    def cancel(self, job_id: int, reason: str = "", by: str = "") -> Job:
        """End a job, with all its processes."""
        return self._call(Job, "cancel", by, job_id=job_id, reason=reason)

    def resume(self, job_id: int, by: str = "") -> Job:
        """Queue a job again; it goes on where it was."""
        return self._call(Job, "resume", by, job_id=job_id)

    def ask_run(self, job_id: int, wish: RunWish, by: str = "") -> Job:
        """Have a training that runs write a checkpoint, go on with another learning rate, or trace steps."""
        return self._call(Job, "ask_run", by, job_id=job_id, wish=wish.model_dump(mode="json"))

    def change(self, job_id: int, change: Change) -> Job:
        """Give a job another name, other tags, or another priority."""
        asked = change.model_dump(mode="json", exclude_none=True)
        return self._call(Job, "change", job_id=job_id, change=asked)

    def rebuild(self) -> Rebuilt:
        """Make the index anew from the jobs' folders."""
        return self._call(Rebuilt, "rebuild")

    def log_parts(self, job_id: int, attempt: int | None = None) -> Iterator[LogPart]:
        """Yield what there is of a log, part by part; then whatever follows, and empty parts while nothing does."""
        offset = 0
        while True:
            part = self.log(job_id, attempt, offset)
            attempt, offset = part.attempt, part.offset  # of this attempt, whatever is tried after it
            yield part
            if part.is_last:
                return

    def _known_or_called(self, model: type[_Result], call: str, **arguments: Any) -> _Result:
        connection: _Connection | None = getattr(self._kept, "connection", None)
        word = None if self._kept is None else read_changes(self.work_root)
        if word is None:
            return self._call(model, call, **arguments)
        question = as_line({"call": call, "arguments": arguments})
        known = self._answers.get(word, question) if connection is not None and connection.is_open else None
        if isinstance(known, model):
            return known
        found = self._call(model, call, **arguments)
        if not _is_at_work(found):
            self._answers.keep(word, question, found)  # by the word of before: what has changed since is asked again
        return found

    def _call(self, model: type[_Result], call: str, by: str = "", **arguments: Any) -> _Result:
        line = as_line({"call": call, "arguments": arguments, "by": by})
        try:
            found = self._asked_again(model, line) if call in _READING else None
            if found is None:
                found = self._asked_anew(model, line, is_reading=call in _READING)
        except (FileNotFoundError, NotADirectoryError, ConnectionError) as error:
            start = f"r2d2 engine run --work-root {quote(str(self.work_root))}"
            raise NotRunningError(f"no engine runs on {self.work_root}; start it with: {start}") from error
        except PermissionError as error:
            raise NotRunningError(f"the engine on {self.work_root} is another user's: {error.strerror}") from error
        except TimeoutError as error:
            raise NotRunningError(f"the engine on {self.work_root} does not answer") from error
        if found is None:
            raise EngineError(f"the engine on {self.work_root} gave no answer: it ended meanwhile")
        if found.error is not None:
            raise error_from_json(found.error)
        if found.result is None:
            raise EngineError(f"the engine on {self.work_root} gave neither a result nor an error")
        return found.result

    def _asked_again(self, model: type[_Result], line: bytes) -> Answer[_Result] | None:
        """Ask on this thread's connection; None: there is none any more, as where another engine has taken over."""
        connection: _Connection | None = getattr(self._kept, "connection", None)
        if connection is None:
            return None
        found = None
        try:
            found = connection.ask(model, line)
        except ConnectionError:
            pass
        finally:
            if found is None:  # also after half an answer: what it would say next is not known
                self.close()
        return found

    def _asked_anew(self, model: type[_Result], line: bytes, *, is_reading: bool) -> Answer[_Result] | None:
        connection, found = _connected(self.work_root), None
        try:
            found = connection.ask(model, line)
        finally:
            if found is None or self._kept is None or not is_reading:
                connection.close()
            else:
                self._kept.connection = connection
        return found


def _is_at_work(answer: BaseModel) -> bool:
    """Whether a job that is answered is at work, so that its folder changes and the index does not."""
    jobs = answer.jobs if isinstance(answer, JobPage) else (answer.job,) if isinstance(answer, JobDetails) else ()
    return any(job.state in ACTIVE for job in jobs)


class _Answers:
    """Answers to questions, good while the engine's word is the one that they were asked at; for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._word = b""
        self._known: dict[bytes, BaseModel] = {}

    def get(self, word: bytes, question: bytes) -> BaseModel | None:
        """Give what is known; None: nothing."""
        with self._lock:
            return self._known.get(question) if word == self._word else None

    def keep(self, word: bytes, question: bytes, answer: BaseModel) -> None:
        """Keep an answer, and forget those of another word."""
        with self._lock:
            if word != self._word:
                self._word, self._known = word, {}
            while len(self._known) >= ANSWERS_KEPT:
                del self._known[next(iter(self._known))]
            self._known[question] = answer


class _Connection:
    """A connection on which one line is asked and one is answered, again and again."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket, self._stream = opened, opened.makefile("rwb")
        self._told = select.poll()
        self._told.register(opened, select.POLLIN)

    @property
    def is_open(self) -> bool:
        """Whether the engine is at the other end: unasked it says nothing but that it has gone."""
        return not self._told.poll(0)

    def ask(self, model: type[_Result], line: bytes) -> Answer[_Result] | None:
        """Send a line and read what is answered; None: the engine has ended."""
        self._stream.write(line)
        self._stream.flush()
        return read_answer(self._stream, model)

    def close(self) -> None:
        """Let go of it."""
        for one in (self._stream, self._socket):
            with suppress(OSError):
                one.close()


def _connected(work_root: Path) -> _Connection:
    opened = new_socket()
    try:
        with socket_address(work_root) as address:
            opened.settimeout(PATIENCE_S)
            opened.connect(address)
    except BaseException:
        opened.close()
        raise
    return _Connection(opened)
