"""Prepared datasets in the declared folders: looked for beside the requests, now and then, once for all who ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from r2d2.viewing.finding import find_datasets

__all__ = ["DatasetSearches"]

PATIENCE_S = 1.5
"""How long the first who asks waits."""
QUICK_S = 0.1
"""A search that took no longer is waited for."""
REST = 50
"""A search is good for as many times as long as it took, and for a second."""


@dataclass
class _Search:
    """What a declared folder was found to hold, when, and how long that took."""

    found: tuple[Path, ...] = ()
    ended: float | None = None
    took_s: float = 0.0
    is_going_on: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def is_old(self) -> bool:
        return self.ended is None or monotonic() - self.ended > max(REST * self.took_s, 1.0)


class DatasetSearches:
    """Searches declared folders, of which some have thousands of others below them, one after the other."""

    def __init__(self) -> None:
        self._searches: dict[Path, _Search] = {}
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "datasets")

    def below(self, folder: Path) -> tuple[tuple[Path, ...], bool]:
        """Give the prepared datasets below a folder, as far as is known, and whether the first search still goes on."""
        with self._lock:
            search = self._searches.setdefault(folder, _Search())
            if search.is_old and not search.is_going_on:
                search.is_going_on = True
                search.done.clear()
                self._worker.submit(_search, folder, search)
            is_quick = search.ended is not None and search.took_s < QUICK_S
        if search.ended is None or is_quick:
            search.done.wait(QUICK_S if is_quick else PATIENCE_S)
        return search.found, search.ended is None


def _search(folder: Path, search: _Search) -> None:
    began = monotonic()
    try:
        search.found = tuple(find_datasets(folder))
    finally:
        search.ended = monotonic()
        search.took_s = search.ended - began
        search.is_going_on = False
        search.done.set()
