"""How long a run may train, counted over all its parts."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["TimeBudget"]

SECONDS_PER_MINUTE = 60.0


class TimeBudget:
    """Minutes of training, those before a restart included; rank 0's clock counts for all ranks.

    Args:
        max_minutes: what the run may take; None: any time.
        trained_minutes: minutes that earlier parts of the run took, from the checkpoint.
        clock: gives seconds that only grow.

    >>> TimeBudget(30, trained_minutes=30).is_spent()
    True
    """

    def __init__(
        self, max_minutes: float | None, *, trained_minutes: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_minutes, self._before, self._clock = max_minutes, trained_minutes, clock
        self._started = clock()

    def minutes(self) -> float:
        """Give the minutes trained so far, for the checkpoint."""
        return self._before + (self._clock() - self._started) / SECONDS_PER_MINUTE

    def is_spent(self) -> bool:
        """Whether the run has had its time."""
        return self._max_minutes is not None and self.minutes() >= self._max_minutes

    @property
    def reason(self) -> str:
        """Why the run stops, and how it goes on."""
        return f"max_minutes={self._max_minutes:g} of training are over; a larger training.max_minutes goes on"
