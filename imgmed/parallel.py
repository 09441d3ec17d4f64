"""One function over many tasks, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from imgmed.errors import WorkerLostError
from imgmed.progress import Progress, report_progress

__all__ = ["map_tasks"]

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 2  # tasks handed out for each process: enough that none waits, few enough that results do not pile up


def map_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int = 1,
    stage: str = "",
    progress: Progress = None,
) -> Iterator[Result]:
    """Yield `function(task)` for every task, in order.

    Args:
        function: of a module's top level, so that other processes find it.
        tasks: picklable where there are several workers.
        workers: processes; 1 stays in this one. A process handles one task at a time.
        stage: named to `progress`.
        progress: called with (stage, done, total), first with 0.

    Raises:
        WorkerLostError: a process was killed.
        Exception: the first one that a task raised; tasks not begun are left out.

    >>> list(map_tasks(abs, [-1, 2]))
    [1, 2]
    """
    report_progress(progress, stage, 0, len(tasks))
    results = map(function, tasks) if min(workers, len(tasks)) <= 1 else _over_processes(function, tasks, workers)
    for done, result in enumerate(results, start=1):
        report_progress(progress, stage, done, len(tasks))
        yield result


def _over_processes(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    # "forkserver": threads of this process (TensorFlow's, a progress bar's) are not copied into the workers.
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_start_worker)
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerLostError(
            f"one of {workers} worker processes was killed, most likely for want of memory; use fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
