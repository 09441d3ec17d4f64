"""Worker processes: one function applied to many tasks, its results in the order of the tasks.

Threads are no alternative: on label maps of tens of thousands of voxels most of the time is spent under Python's
lock. loky's processes never import the caller's script, so that a script of four lines needs no
`if __name__ == "__main__"`.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import TypeVar

from r2d2_base.errors import ProcessLostError
from segeval.errors import MetricArgumentError

__all__ = ["map_in_order"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_MOST_BY_DEFAULT = 8
_START_SECONDS = 2.0
"""What starting workers costs: the imports of each."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""For libraries that would otherwise start a thread a core in every worker."""


def map_in_order(
    function: Callable[[Task], Result], tasks: Iterator[Task], count: int, workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(task)` of every task, in the order of the tasks.

    Closing the generator, or any exception where it is used (Ctrl-C is one), ends the workers.

    Args:
        function: a function that can be pickled.
        tasks: arguments that can be pickled; each is taken only when somebody is about to be free to work on it.
        count: how many tasks there are.
        workers: processes; 1: the work is done here. None: it begins here, and goes on in a process for each core, at
            most 8, where the time that the first tasks took says that starting those will pay.

    Raises:
        MetricArgumentError: `workers` is not a positive integer.
        ProcessLostError: a worker process was killed.
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
    else:
        yield from map(function, tasks)


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _MOST_BY_DEFAULT)


def _map_in_processes(function: Callable[[Task], Result], tasks: Iterator[Task], workers: int) -> Iterator[Result]:
    from loky import get_reusable_executor
    from loky.process_executor import TerminatedWorkerError

    executor = get_reusable_executor(max_workers=workers, env=_ONE_THREAD)
    begun: deque[Future[Result]] = deque()  # in the order of the tasks
    try:
        while True:
            at_work = sum(not future.done() for future in begun)
            begun.extend(executor.submit(function, task) for task in islice(tasks, workers + 1 - at_work))
            if not begun:
                return
            if begun[0].done():
                yield begun.popleft().result()
            else:
                wait([future for future in begun if not future.done()], return_when=FIRST_COMPLETED)
    except TerminatedWorkerError as error:
        raise ProcessLostError(
            f"a worker process ended before its case was done ({' '.join(str(error).split())}); use fewer workers"
        ) from error
    except BaseException:  # closed, interrupted or failed: nobody waits for what is being worked on
        executor.shutdown(kill_workers=True)
        raise
