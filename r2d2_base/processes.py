"""Processes that a function is applied in, one task a process at a time.

They are plain Python processes that talk through pipes, and ours because of what loky 3.7 was measured to do with the
same work on two cores: a process that is busy outlives a caller that was killed by as long as its task takes (ours
ends at once); one lost process fails every task that was given out, and does not say which was at fault (here it
costs its own task); the first result comes after 0.32 s (0.05 s), a task that does nothing takes 215 µs (85 µs); and
a lock's descriptor cannot be handed on, so that another run could begin while a killed one's processes still write.

Like loky's they never import the caller's script: one of four lines needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import closing, suppress
from itertools import islice
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, cast

from r2d2_base.errors import ConfigurationError, ProcessLostError, R2D2Error
from r2d2_base.machine import whole_cores
from r2d2_base.progress import LOOK_SECONDS, UNWATCHED, Watcher

__all__ = ["Outcome", "ProcessPool", "serve"]

Task = TypeVar("Task")
Result = TypeVar("Result")
Function = Callable[[Any], Any]

_MOST_BY_DEFAULT = 8
_START_SECONDS = 2.0  # what starting processes costs: the imports of each, which share the cores with the first tasks
_ENDING_SECONDS = 5.0
START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer);"
    " from r2d2_base.processes import serve; serve(int(sys.argv[1]))"
)
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""For libraries that would otherwise start a thread a core in each of several processes."""


class Outcome(NamedTuple):
    """What became of a task: its result, or the error that it ended with.

    Attributes:
        number: of the task, from 0 in the order in which they were given.
        task: as it was given.
        result: what the function returned.
        error: what it raised, or a ProcessLostError; None where it returned.
    """

    number: int
    task: Any
    result: Any = None
    error: Exception | None = None


class ProcessPool:
    """Processes for one piece of work; they start when they are needed and stay until the pool is closed.

    Args:
        workers: processes; with 1, or a single task, the work is done in the caller's own. None: it begins there, and
            goes on in a process for each core, at most 8, where the time that the first tasks took says that
            starting those will pay.
        watcher: is told of progress; where it may ask the work to end, nothing is done in the caller's process, which
            could not be ended in the middle of a task.
        keep_open: file descriptors that live as long as a process does, such as that of a lock.

    Raises:
        ConfigurationError: `workers` is not a positive integer.

    Example:
        >>> with ProcessPool(workers=1) as pool:
        ...     list(pool.map_in_order(abs, [-1, 2]))
        [1, 2]
    """

    def __init__(self, workers: int | None = 1, watcher: Watcher = UNWATCHED, keep_open: Sequence[int] = ()) -> None:
        if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
            raise ConfigurationError(
                f"workers must be a positive integer, or None for as many as help; received {workers!r}"
            )
        self._most = min(whole_cores(), _MOST_BY_DEFAULT) if workers is None else workers
        self._begins_here = workers is None
        self.watcher = watcher
        self._keep_open = tuple(keep_open)
        self._processes: list[_Process] = []

    def map_in_order(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, count: int | None = None, stage: str = ""
    ) -> Iterator[Result]:
        """Yield `function(task)` of every task, in the order of the tasks.

        Closing the generator, or any exception where it is used (Ctrl-C is one), ends the processes at once.

        Args:
            function: a function at the top level of a module, which processes import by its name.
            tasks: arguments, one each; picklable; each is taken only when a process is about to be free.
            count: how many tasks there are; None: `tasks` has a length.
            stage: named to the watcher, who is told of every task that is done, first of none.

        Raises:
            CancelledError: the watcher asked the work to end.
            ProcessLostError: a process was killed, or ended by itself.
            Exception: the first one that a task raised; tasks not begun are left out.
        """
        total = _count(tasks, count)
        self.watcher.report(stage, 0, total)
        ready: dict[int, Result] = {}
        given = 0
        with closing(self.map_as_ready(function, tasks, count=total)) as outcomes:
            for done, outcome in enumerate(outcomes, start=1):
                if outcome.error is not None:
                    raise outcome.error
                ready[outcome.number] = outcome.result
                self.watcher.report(stage, done, total)
                while given in ready:
                    yield ready.pop(given)
                    given += 1

    def map_as_ready(
        self, function: Callable[[Task], Any], tasks: Iterable[Task], *, count: int | None = None
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of every task as it is ready, in any order; see `map_in_order`."""
        total = _count(tasks, count)
        numbered = enumerate(tasks)
        size = min(self._most, total)
        is_free_to_choose = self._begins_here and not self._processes
        if self.watcher.stop is None and (size <= 1 or is_free_to_choose):
            begun = time.perf_counter()
            for number, task in numbered:
                yield _outcome(number, function, task)
                left = total - number - 1
                seconds_left = (time.perf_counter() - begun) / (number + 1) * left
                if size > 1 and is_free_to_choose and seconds_left * (1 - 1 / size) > _START_SECONDS:
                    size = min(size, left)
                    break
            else:
                return
        yield from self._map_in_processes(function, numbered, size)

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return `function(*arguments)`, called in a process where the watcher may ask the work to end.

        Raises:
            CancelledError: the watcher asked the work to end.
            Exception: what the function raised.
        """
        (outcome,) = self.map_as_ready(_call, [(function, arguments)])
        if outcome.error is not None:
            raise outcome.error
        result: Result = outcome.result
        return result

    def close(self) -> None:
        """End the processes at once, whatever they are doing; further work would start others."""
        processes, self._processes = self._processes, []
        for process in processes:
            process.close()

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _map_in_processes(
        self, function: Function, numbered: Iterator[tuple[int, Any]], size: int
    ) -> Generator[Outcome, None, None]:
        waiting, done = queue.SimpleQueue[tuple[int, Any] | None](), queue.SimpleQueue[Outcome]()
        while len(self._processes) < size:
            self._processes.append(_Process(self._keep_open, _ONE_THREAD if self._most > 1 else {}))
        crew = self._processes[:size]
        threads = [
            threading.Thread(target=_hand_out, args=(process, function, waiting, done), daemon=True) for process in crew
        ]
        at_work, is_over = 0, False
        try:
            for thread in threads:
                thread.start()
            while True:
                for item in islice(numbered, size + 1 - at_work):  # one waits, so that nobody has to
                    waiting.put(item)
                    at_work += 1
                if at_work == 0:
                    is_over = True
                    return
                yield self._next(done)
                at_work -= 1
        finally:
            if not is_over:
                self.close()
            for _ in threads:
                waiting.put(None)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    def _next(self, done: queue.SimpleQueue[Outcome]) -> Outcome:
        if self.watcher.stop is None:
            return done.get()
        while True:
            self.watcher.check()
            with suppress(queue.Empty):
                return done.get(timeout=LOOK_SECONDS)


def _count(tasks: Iterable[Any], count: int | None) -> int:
    return len(cast(Sized, tasks)) if count is None else count


def _call(call: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    function, arguments = call
    return function(*arguments)


def _outcome(number: int, function: Function, task: Any) -> Outcome:
    try:
        return Outcome(number, task, function(task))
    except Exception as error:
        return Outcome(number, task, error=error)


def _hand_out(
    process: _Process,
    function: Function,
    waiting: queue.SimpleQueue[tuple[int, Any] | None],
    done: queue.SimpleQueue[Outcome],
) -> None:
    """Keep one process at work; the thread that does so ends at None."""
    while (item := waiting.get()) is not None:
        number, task = item
        try:
            done.put(Outcome(number, task, *process.ask(function, task)))
        except Exception as error:  # a task that cannot be pickled, a result that cannot be restored
            done.put(Outcome(number, task, error=error))


class _Process:
    """One process; a new one takes the place of one that was lost."""

    def __init__(self, keep_open: tuple[int, ...], environment: dict[str, str]) -> None:
        self._keep_open = keep_open
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._life = -1  # a pipe that nothing is written to; its other end closes when this process is gone
        self._is_closed = False
        self._lock = threading.Lock()

    def ask(self, function: Function, task: Any) -> tuple[Any, Exception | None]:
        """Have one task done: (result, error); the error is ProcessLostError where the process ended over it."""
        call = pickle.dumps(pickle.dumps((function, task)))  # twice: what cannot be restored there must not end it
        try:
            process = self._running()
        except OSError as error:
            return None, ProcessLostError(f"no worker process can be started ({error.strerror}); use fewer workers")
        if process is None or process.stdin is None or process.stdout is None:
            return None, ProcessLostError("its pool was closed")
        try:
            process.stdin.write(call)
            process.stdin.flush()
            reply = pickle.load(process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            if isinstance(error, ValueError) and not self._is_closed:
                raise  # closing takes the streams away from under a thread that reads them: that alone is expected
            return None, ProcessLostError(self._how_it_ended())
        outcome: tuple[Any, Exception | None] = pickle.loads(reply)
        return outcome

    def close(self) -> None:
        """End the process at once."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _running(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._is_closed:
                return None
            if self._process is None:
                self._process = self._started()
            return self._process

    def _started(self) -> subprocess.Popen[bytes]:
        life, self._life = os.pipe()  # one for each: the kernel signals one process of those that share an end
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, str(life)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(life, *self._keep_open),
                process_group=0,  # Ctrl-C reaches the caller, which ends its processes
                env={**os.environ, **self._environment},
            )
        except BaseException:
            os.close(self._life)
            raise
        finally:
            os.close(life)
        if process.stdin is not None:
            process.stdin.write(pickle.dumps(sys.path))
        return process

    def _how_it_ended(self) -> str:
        with self._lock:
            code = self._end()
        if code is None or code >= 0:
            return f"a worker process ended with exit code {code}"
        name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
        return f"a worker process was ended by {name}, most often for want of memory; use fewer workers"

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        if self._is_closed:
            process.kill()
        try:
            code = process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        os.close(self._life)
        return code


def serve(life: int) -> None:
    """Work for a pool: tasks come in on standard input, replies go out on what was standard output.

    Args:
        life: descriptor of a pipe that closes when the caller is gone. The kernel then ends this process, whatever it
            is doing; a thread could not where a library keeps Python's lock.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up among the replies
    calls = queue.SimpleQueue[bytes]()
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()
    while True:
        replies.write(pickle.dumps(_reply(calls.get())))
        replies.flush()


def _listen(calls: queue.SimpleQueue[bytes]) -> None:
    """Receive tasks; when there are no more, this process ends, whatever it was doing."""
    try:
        while True:
            calls.put(pickle.load(sys.stdin.buffer))
    except BaseException:
        os._exit(0)


def _reply(call: bytes) -> bytes:
    """Work on a pickled (function, task) and give (result, error), pickled."""
    try:
        function, task = pickle.loads(call)
        return pickle.dumps((function(task), None))
    except Exception as error:
        if not isinstance(error, R2D2Error):  # a fault of ours: the caller's traceback ends at the pool
            error.add_note(f"in a worker process:\n{traceback.format_exc().rstrip()}")
        return _pickled_error(error)


def _pickled_error(error: Exception) -> bytes:
    try:
        data = pickle.dumps((None, error))
        pickle.loads(data)  # some exceptions only fail on the way back
    except Exception:
        replacement = RuntimeError(repr(error))
        for note in getattr(error, "__notes__", ()):
            replacement.add_note(note)
        return pickle.dumps((None, replacement))
    return data
