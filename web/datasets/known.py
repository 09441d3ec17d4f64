"""The prepared datasets that there are: what jobs made, and what lies in the declared folders."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import url_for

from r2d2.engine import JobQuery, Jobs
from r2d2.viewing.dataset import Glance, glance_at
from r2d2.viewing.finding import find_datasets

from ..roots import Root, Roots, asking

__all__ = ["Known", "KnownDataset"]

MOST_JOBS = 200
FRESH_S = 30.0
PATIENCE_S = 1.5


@dataclass(frozen=True)
class KnownDataset:
    """A prepared dataset in the list.

    Attributes:
        glance: what it is.
        place: where, for people.
        words: of its address.
    """

    glance: Glance
    place: str
    words: dict[str, Any]

    @property
    def address(self) -> str:
        """Of its page."""
        return url_for("datasets.show", **self.words)


@dataclass
class _Search:
    """What a declared folder was found to hold, and when."""

    found: tuple[Path, ...] = ()
    ended: float | None = None
    is_going_on: bool = False
    done: threading.Event = field(default_factory=threading.Event)


class Known:
    """Finds prepared datasets; declared folders are searched beside the requests, now and then.

    Args:
        jobs: as whoever asks may have them.
        roots: declared folders, and who may see which.
    """

    def __init__(self, jobs: Jobs, roots: Roots) -> None:
        self._jobs, self._roots = jobs, roots
        self._searches: dict[Path, _Search] = {}
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "datasets")

    def list(self) -> tuple[list[KnownDataset], bool]:
        """Give those that whoever asks may see, the latest first; and whether folders are still searched."""
        found: dict[Path, KnownDataset] = {}
        is_searching = False
        for root in self._roots.of(asking()):
            search = self._searched(root)
            is_searching |= search.ended is None
            found |= dict(self._in_root(root, search.found))
        for path, known in self._of_jobs():
            found.setdefault(path, known)
        return sorted(found.values(), key=lambda known: -known.glance.prepared_at), is_searching

    def _in_root(self, root: Root, folders: tuple[Path, ...]) -> Iterator[tuple[Path, KnownDataset]]:
        person = asking()
        for folder in folders:
            glance = glance_at(folder) if self._roots.may_see(person, folder) else None
            if glance is not None:
                path = folder.relative_to(root.path).as_posix()
                path = "" if path == "." else path
                words = {"kind": "root", "number": root.number, "path": path}
                yield folder.resolve(), KnownDataset(glance, f"{root.path.name}/{path}".rstrip("/"), words)

    def _of_jobs(self) -> Iterator[tuple[Path, KnownDataset]]:
        for job in self._jobs.list(JobQuery(tasks=("prepare",), states=("completed",), limit=MOST_JOBS)).jobs:
            glance = glance_at(Path(job.output)) if job.output else None
            if job.output and glance is not None:
                words = {"kind": "job", "number": job.id}
                yield Path(job.output).resolve(), KnownDataset(glance, f"job {job.id}", words)

    def _searched(self, root: Root) -> _Search:
        """Give what is known of a folder; the first time that is waited for, a little."""
        with self._lock:
            search = self._searches.setdefault(root.path, _Search())
            is_old = search.ended is None or time.monotonic() - search.ended > FRESH_S
            if is_old and not search.is_going_on:
                search.is_going_on = True
                self._worker.submit(_search, root.path, search)
        if search.ended is None:
            search.done.wait(PATIENCE_S)
        return search


def _search(folder: Path, search: _Search) -> None:
    try:
        search.found = tuple(find_datasets(folder))
    finally:
        search.ended = time.monotonic()
        search.is_going_on = False
        search.done.set()
