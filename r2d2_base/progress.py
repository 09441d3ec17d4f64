"""Progress of long work, told to whoever shows it, and how such work is asked to end.

What takes long has two arguments, `progress` and `stop`, and hands both on as one `Watcher`. Work looks at the
request whenever it reports, and a pool of processes while it waits: it ends within a second by `CancelledError`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from r2d2_base.errors import CancelledError

__all__ = ["LOOK_SECONDS", "UNWATCHED", "Progress", "StopRequest", "Watcher"]

Result = TypeVar("Result")

LOOK_SECONDS = 0.2
"""Between two looks at a request to stop."""

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and how much there is; first with 0 done."""


class StopRequest:
    """A request that work ends soon, made once, from any thread or from a signal's handler.

    There is no waiting for it and no lock in it: a handler may interrupt whatever looks at it.

    Example:
        >>> stop = StopRequest()
        >>> stop.is_made
        False
        >>> stop.make("the user pressed Stop")
        >>> stop.check()
        Traceback (most recent call last):
            ...
        r2d2_base.errors.CancelledError: cancelled (the user pressed Stop)
    """

    def __init__(self) -> None:
        self._reason: str | None = None

    @property
    def is_made(self) -> bool:
        """Whether somebody asked."""
        return self._reason is not None

    @property
    def reason(self) -> str:
        """Why, as it was said first; empty where nothing was said or nobody asked."""
        return self._reason or ""

    def make(self, reason: str = "") -> None:
        """Ask; the reason is for the user. Asking again changes nothing."""
        if self._reason is None:
            self._reason = reason

    def check(self) -> None:
        """Raise CancelledError if somebody asked."""
        if self._reason is not None:
            raise CancelledError(self._reason)


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who watches over long work: is told how it comes along, and may ask it to end.

    Attributes:
        progress: called whenever a part is done; whatever it raises ends the work.
        stop: looked at whenever something is reported, and while processes are awaited.

    Example:
        >>> Watcher(print).report("reading", 1, 20)
        reading 1 20
        >>> UNWATCHED.report("reading", 2, 20)
    """

    progress: Progress | None = None
    stop: StopRequest | None = None

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell of progress.

        Raises:
            CancelledError: the work is to end.
        """
        self.check()
        if self.progress is not None:
            self.progress(stage, done, total)

    def check(self) -> None:
        """Raise CancelledError if the work is to end."""
        if self.stop is not None:
            self.stop.check()

    def call(self, work: Callable[[], Result]) -> Result:
        """Return what ``work`` does, which does not look at the request itself.

        Where a request can be made, it is done in a thread, which is left to end by itself where one is: it must leave
        nothing behind that matters.

        Raises:
            CancelledError: the work is to end.
            BaseException: what ``work`` raised.

        Example:
            >>> Watcher(stop=StopRequest()).call(lambda: 2)
            2
        """
        if self.stop is None:
            return work()
        results: list[Result] = []
        errors: list[BaseException] = []

        def do() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=do, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            self.check()
        if errors:
            raise errors[0]
        return results[0]


UNWATCHED = Watcher()
