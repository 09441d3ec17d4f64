"""Progress of long work, told to whoever shows it, and how such work is asked to end.

What takes long has two arguments, `progress` and `stop`, and hands both on as one `Watcher`. Work looks at the
request whenever it reports, and a pool of processes while it waits: it ends within a second by `CancelledError`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

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
        begun = _Begun(work)
        begun.wait(self.check)
        return begun.result()

    def ahead(self, works: Iterable[Callable[[], Result]]) -> Iterator[Callable[[], Result]]:
        """Do works one after the other, each in a thread, while what came before is used.

        Yields:
            For each, what gives its result, once, or raises what it raised. Two results are held at most.

        Raises:
            CancelledError: the work is to end; what is being done is left to end by itself.

        Example:
            >>> [result() for result in UNWATCHED.ahead([lambda: 1, lambda: 2])]
            [1, 2]
        """
        remaining = iter(works)
        begun = [_Begun(work) for work in islice(remaining, 1)]
        while begun:
            (current,) = begun
            current.wait(self.check)
            begun = [_Begun(work) for work in islice(remaining, 1)]
            yield current.result


class _Begun(Generic[Result]):
    """Work that is being done in a thread of its own."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._results: list[Result] = []
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._do, args=(work,), daemon=True)
        self._thread.start()

    def _do(self, work: Callable[[], Result]) -> None:
        try:
            self._results.append(work())
        except BaseException as error:
            self._errors.append(error)

    def wait(self, check: Callable[[], None]) -> None:
        """Wait for the end, and call ``check`` again and again meanwhile."""
        while self._thread.is_alive():
            self._thread.join(LOOK_SECONDS)
            check()

    def result(self) -> Result:
        """Give what came of it, once, or raise what it raised; it has ended."""
        if self._errors:
            raise self._errors[0]
        return self._results.pop()


UNWATCHED = Watcher()
