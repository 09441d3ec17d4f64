"""Worker processes: one function applied to many tasks, its results in the order of the tasks.

Threads are no alternative: on label maps of tens of thousands of voxels most of the time is spent under Python's
lock. The workers are plain Python processes that talk through pipes; unlike those of `multiprocessing` they never
import the caller's script, so that a script of four lines needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from segeval.errors import MetricArgumentError, WorkerLostError

__all__ = ["map_in_order", "serve"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_MOST_BY_DEFAULT = 8
_START_SECONDS = 2.0
"""What starting workers costs: the imports of each."""
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from segeval.files.workers import serve; serve()"
)


def map_in_order(
    function: Callable[[Task], Result], tasks: Iterator[Task], count: int, workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(task)` of every task, in the order of the tasks.

    Closing the generator, or any exception where it is used (Ctrl-C is one), ends the workers at once.

    Args:
        function: a function at the top level of a module, which workers import by its name.
        tasks: arguments, picklable; each is taken only when somebody is free to work on it.
        count: how many tasks there are.
        workers: processes; 1: the work is done here. None: it begins here, and goes on in a process for each core, at
            most 8, where the time that the first tasks took says that starting those will pay.

    Raises:
        MetricArgumentError: `workers` is not a positive integer.
        WorkerLostError: a worker process was killed.
        Exception: the first one that a task raised.

    Example:
        >>> list(map_in_order(abs, iter([-1, 2]), 2))
        [1, 2]
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise MetricArgumentError(
            f"workers must be a positive integer, or None for as many as help; received {workers!r}"
        )
    crew = min(_cores() if workers is None else workers, count)
    if workers is None or crew <= 1:
        begun = time.perf_counter()
        for done, task in enumerate(tasks, start=1):
            yield function(task)
            left = (time.perf_counter() - begun) / done * (count - done)
            if crew > 1 and left * (1 - 1 / crew) > _START_SECONDS:
                crew = min(crew, count - done)
                break
        else:
            return
    if crew > 1:
        yield from _map_in_processes(function, tasks, crew)


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _MOST_BY_DEFAULT)


def _map_in_processes(function: Callable[[Task], Result], tasks: Iterator[Task], workers: int) -> Iterator[Result]:
    crew: list[_Worker] = []
    threads: list[threading.Thread] = []
    numbered, turn = enumerate(tasks), threading.Lock()
    outcomes = queue.SimpleQueue[tuple[int, Any] | BaseException | None]()

    def drive(worker: _Worker) -> None:
        try:
            while True:
                with turn:
                    number, task = next(numbered, (None, None))
                if number is None:
                    return
                outcomes.put((number, worker.ask(function, task)))
        except BaseException as error:
            outcomes.put(error)
        finally:
            outcomes.put(None)

    ready: dict[int, Result] = {}
    given = idle = 0
    try:
        for _ in range(workers):
            crew.append(_Worker())
        for worker in crew:
            threads.append(threading.Thread(target=drive, args=(worker,), daemon=True))
            threads[-1].start()
        while idle < workers:
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is None:
                idle += 1
                continue
            ready[outcome[0]] = outcome[1]
            while given in ready:
                yield ready.pop(given)
                given += 1
    finally:
        for worker in crew:
            worker.end()
        for thread in threads:
            thread.join()
        for worker in crew:
            worker.close_pipes()


def serve() -> None:
    """Work as a worker: tasks come in on standard input, results go out on what was standard output."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up among the results
    with suppress(EOFError, BrokenPipeError):
        while True:
            function, task = pickle.load(sys.stdin.buffer)
            replies.write(_reply(function, task))
            replies.flush()
    os._exit(0)  # the caller is gone; nothing is left to be tidied


def _reply(function: Callable[[Any], Any], task: Any) -> bytes:
    """Pickle the result and None, or the error and its traceback."""
    try:
        return pickle.dumps((function(task), None))
    except Exception as error:
        trace = traceback.format_exc()
        try:
            reply = pickle.dumps((error, trace))
            pickle.loads(reply)  # some exceptions only fail on the way back
        except Exception:
            return pickle.dumps((RuntimeError(repr(error)), trace))
        return reply


class _Worker:
    """One process, started where it is made."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C reaches the caller, which ends its workers
        )
        self._pipes = self._process.stdin, self._process.stdout
        self._send(sys.path)

    def ask(self, function: Callable[[Any], Any], task: Any) -> Any:
        """Have one task done."""
        try:
            self._send((function, task))
            result, trace = pickle.load(self._pipes[1])  # type: ignore[arg-type]
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            code = self._process.poll()
            raise WorkerLostError(
                f"a worker process ended before its case was done (exit code {code}); was there too little memory?"
                " use fewer workers"
            ) from error
        if trace is not None:
            result.add_note(f"In a worker process:\n{trace}")
            raise result
        return result

    def end(self) -> None:
        """End the process at once, whatever it is doing."""
        self._process.kill()
        self._process.wait()

    def close_pipes(self) -> None:
        """Close the pipes, when nobody reads them any more."""
        for pipe in self._pipes:
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _send(self, message: Any) -> None:
        pipe = self._pipes[0]
        if pipe is not None:
            pickle.dump(message, pipe)
            pipe.flush()
