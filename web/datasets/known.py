"""The prepared datasets that there are: what jobs made, and what lies in the declared folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import url_for

from r2d2.engine import JobQuery
from r2d2.viewing.dataset import Glance, glance_at

from ..area import Console
from ..roots import Root, asking

__all__ = ["Known", "KnownDataset"]

MOST_JOBS = 200


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


class Known:
    """Finds prepared datasets.

    Args:
        console: whose jobs and declared folders they are of.
    """

    def __init__(self, console: Console) -> None:
        self._jobs, self._roots, self._searches = console.jobs, console.roots, console.searches

    def list(self) -> tuple[list[KnownDataset], bool]:
        """Give those that whoever asks may see, the latest first; and whether folders are still searched."""
        found: dict[Path, KnownDataset] = {}
        is_searching = False
        for root in self._roots.of(asking()):
            folders, is_first = self._searches.get(root.path)
            is_searching |= is_first
            found |= dict(self._in_root(root, folders))
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
            glance = glance_at(job.output) if job.output else None
            if job.output and glance is not None:
                words = {"kind": "job", "number": job.id}
                yield Path(job.output).resolve(), KnownDataset(glance, f"job {job.id}", words)
