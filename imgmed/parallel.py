"""Worker processes: a function applied to tasks, one task a worker at a time.

The workers are plain Python processes that talk through pipes. Unlike those of `multiprocessing` they never import
the caller's script (so a script of four lines needs no `if __name__ == "__main__"`), and they end at once when the
caller ends, even if it was killed.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from r2d2_base.errors import ProcessLostError
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["Outcome", "map_in_order", "map_in_processes", "serve"]

Task = TypeVar("Task")
Result = TypeVar("Result")
ENDING_SECONDS = 5.0
START = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from imgmed.parallel import serve; serve()"
Function = Callable[[Any], Any]


class Outcome(NamedTuple):
    """What became of a task: its result, or the error that it ended with."""

    task: Any
    result: Any = None
    error: Exception | None = None


def map_in_processes(
    function: Callable[[Task], Any], tasks: Iterable[Task], workers: int, keep_open: Sequence[int] = ()
) -> Generator[Outcome, None, None]:
    """Yield the outcome of each task as it is ready, in any order.

    Args:
        function: a function at the top level of a module, which workers import by its name.
        tasks: arguments, one each; picklable.
        workers: processes; with 1, or a single task, the work is done here instead.
        keep_open: file descriptors that live as long as a worker does, such as that of a lock.

    Closing the generator, or any exception where it is used, ends the workers at once.

    >>> sorted(outcome.result for outcome in map_in_processes(len, ["a", "bb"], workers=1))
    [1, 2]
    """
    waiting = deque(tasks)
    workers = min(workers, len(waiting))
    if workers <= 1:
        for task in waiting:
            yield _outcome(function, task)
        return
    left, done = len(waiting), queue.SimpleQueue[Outcome]()
    crew = [_Worker(keep_open) for _ in range(workers)]
    threads = [threading.Thread(target=_feed, args=(worker, function, waiting, done), daemon=True) for worker in crew]
    try:
        for thread in threads:
            thread.start()
        for _ in range(left):
            yield done.get()
    finally:
        waiting.clear()
        for worker in crew:
            worker.close()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def map_in_order(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int = 1,
    stage: str = "",
    watcher: Watcher = UNWATCHED,
) -> Iterator[Result]:
    """Yield `function(task)` of every task, in the order of the tasks.

    Args:
        function: a function at the top level of a module, which workers import by its name.
        tasks: arguments, one each; picklable.
        workers: processes; with 1, or a single task, the work is done here instead.
        stage: named to `watcher`.
        watcher: told of (stage, done, total), first with 0.

    Raises:
        ProcessLostError: a worker process was killed.
        Exception: the first one that a task raised; tasks not begun are left out.

    >>> list(map_in_order(abs, [-1, 2]))
    [1, 2]
    """
    watcher.report(stage, 0, len(tasks))
    ready: dict[int, Result] = {}
    given = 0
    numbered = [(function, number, task) for number, task in enumerate(tasks)]
    for done, outcome in enumerate(map_in_processes(_numbered, numbered, workers), start=1):
        if outcome.error is not None:
            raise outcome.error
        number, result = outcome.result
        ready[number] = result
        watcher.report(stage, done, len(tasks))
        while given in ready:
            yield ready.pop(given)
            given += 1


def _numbered(task: tuple[Callable[[Any], Any], int, Any]) -> tuple[int, Any]:
    function, number, argument = task
    return number, function(argument)


def serve() -> None:
    """Work as a worker: tasks come in on standard input, outcomes go out on what was standard output."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up among the outcomes
    tasks = queue.SimpleQueue[tuple[Function, Any]]()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    while True:
        function, task = tasks.get()
        replies.write(_pickled(_outcome(function, task)))
        replies.flush()


def _listen(tasks: queue.SimpleQueue[tuple[Function, Any]]) -> None:
    """Receive tasks; when the caller is gone, so is this process, whatever it was doing."""
    try:
        while True:
            tasks.put(pickle.load(sys.stdin.buffer))
    except BaseException:
        os._exit(0)


def _outcome(function: Function, task: Any) -> Outcome:
    try:
        return Outcome(task, function(task))
    except Exception as error:
        return Outcome(task, error=error)


def _pickled(outcome: Outcome) -> bytes:
    try:
        data = pickle.dumps(outcome)
        pickle.loads(data)  # some exceptions only fail on the way back
    except Exception:
        return pickle.dumps(outcome._replace(result=None, error=RuntimeError(f"{outcome.error!r}")))
    return data


def _feed(worker: _Worker, function: Function, waiting: deque[Any], done: queue.SimpleQueue[Outcome]) -> None:
    while True:
        try:
            task = waiting.popleft()
        except IndexError:
            return
        done.put(worker.ask(function, task))


class _Worker:
    """One process; a new one takes the place of one that was lost."""

    def __init__(self, keep_open: Sequence[int]) -> None:
        self._keep_open = tuple(keep_open)
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def ask(self, function: Function, task: Any) -> Outcome:
        """Have one task done; the error is ProcessLostError where the process ended over it."""
        try:
            process = self._running()
            if process.stdin is None or process.stdout is None:
                raise EOFError
            process.stdin.write(pickle.dumps((function, task)))
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            if isinstance(error, ValueError) and not self._is_closed:
                raise  # closing takes the streams away from under a thread that reads them: that alone is expected
            return Outcome(task, error=ProcessLostError(self._how_it_ended()))

    def close(self) -> None:
        """End the process at once."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_closed:
                raise EOFError
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", START],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    pass_fds=self._keep_open,
                    process_group=0,  # Ctrl-C reaches the caller, which ends its workers
                )
                if self._process.stdin is not None:
                    self._process.stdin.write(pickle.dumps(sys.path))
            return self._process

    def _how_it_ended(self) -> str:
        with self._lock:
            process = self._process
            code = self._end()
        if process is None or code is None or code >= 0:
            return f"its worker process ended with exit code {code}"
        return f"its worker process was ended by signal {-code}; was there too little memory? use fewer workers"

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        if self._is_closed:
            process.kill()
        try:
            code = process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        return code
