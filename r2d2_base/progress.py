"""Progress of long work, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "report_progress"]

Progress = Callable[[str, int, int], None] | None


def report_progress(progress: Progress, stage: str, done: int, total: int) -> None:
    """Call `progress(stage, done, total)` if there is someone to call.

    >>> report_progress(print, "reading", 1, 20)
    reading 1 20
    >>> report_progress(None, "reading", 2, 20)
    """
    if progress is not None:
        progress(stage, done, total)
