"""What a worker spends its time on, by laps of one clock: whatever is between two of them belongs to something."""

from __future__ import annotations

import time
from typing import Literal, NamedTuple, get_args

__all__ = ["WORKS", "Work", "WorkTimes", "Worked"]

Work = Literal["input", "compute", "exchange", "validation", "checkpoint", "other"]
WORKS: tuple[Work, ...] = get_args(Work)


class Worked(NamedTuple):
    """What a worker has done so far.

    Attributes:
        until: the end of the last lap, by ``time.perf_counter``.
        seconds: of each of `WORKS`, since the beginning.
        images: slices of its own that it has trained on.
        step: steps of the run done.
    """

    until: float
    seconds: tuple[float, ...]
    images: int
    step: int


class WorkTimes:
    """The clock of one worker. Any thread may read ``so_far``, the training alone says what a lap was.

    >>> times = WorkTimes()
    >>> times.lap("compute", images=4, step=1)
    >>> times.so_far.images
    4
    """

    def __init__(self) -> None:
        self.so_far = Worked(time.perf_counter(), (0.0,) * len(WORKS), 0, 0)

    def lap(self, work: Work, *, exchanged_s: float = 0.0, images: int = 0, step: int | None = None) -> None:
        """Say what the time since the last lap was spent on.

        Args:
            work: what.
            exchanged_s: seconds of it that were exchange.
            images: slices of its own that were trained on.
            step: steps of the run done; None: as before.
        """
        now, before = time.perf_counter(), self.so_far
        passed = now - before.until
        seconds, exchanged = list(before.seconds), min(max(exchanged_s, 0.0), passed)
        seconds[WORKS.index(work)] += passed - exchanged
        seconds[WORKS.index("exchange")] += exchanged
        done = before.step if step is None else step
        self.so_far = Worked(now, tuple(seconds), before.images + images, done)  # replaced whole: never seen half done
