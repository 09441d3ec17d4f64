"""What lies in a folder, as a list to go through: folders, scans, archives, prepared datasets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imgmed import has_known_suffix
from imgmed.archives import is_archive
from r2d2.prediction.manifest import MANIFEST
from r2d2.viewing.dataset import is_dataset

__all__ = ["Entry", "EntryKind", "find_datasets", "is_prediction", "list_folder"]

EntryKind = Literal["folder", "dataset", "prediction", "archive", "scan", "file"]
MOST_ENTRIES = 2000
MOST_FOLDERS = 4000
DEEPEST = 4


@dataclass(frozen=True)
class Entry:
    """A folder or file.

    Attributes:
        name: in its folder.
        kind: what it is, as far as names tell.
        size: bytes of a file; None: a folder.
    """

    name: str
    kind: EntryKind
    size: int | None = None

    @property
    def is_folder(self) -> bool:
        """Whether one can go into it."""
        return self.size is None


def list_folder(folder: Path) -> tuple[tuple[Entry, ...], int]:
    """List a folder; what is hidden and what cannot be looked at is left out.

    Args:
        folder: that is there.

    Returns:
        Folders first, then files, by name; and how many more there are than are listed.

    Raises:
        OSError: it cannot be read.
    """
    with os.scandir(folder) as found:
        shown = [entry for entry in found if not entry.name.startswith(".")]
    shown.sort(key=lambda entry: (not _is_folder(entry), entry.name.casefold()))
    entries = [_entry(one) for one in shown[:MOST_ENTRIES]]
    return tuple(one for one in entries if one is not None), max(0, len(shown) - MOST_ENTRIES)


def find_datasets(root: Path) -> Iterator[Path]:
    """Yield the prepared datasets in a folder and in those below it, the next ones first; links are not followed.

    Args:
        root: at most 4 levels below it, and 4000 folders in all, are looked at.
    """
    pending, looked = [(root, 0)], 0
    while pending and looked < MOST_FOLDERS:
        folder, depth = pending.pop(0)
        looked += 1
        if is_dataset(folder):
            yield folder
            continue
        if depth < DEEPEST:
            pending += [(below, depth + 1) for below in _folders(folder)]


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            names = [one.name for one in found if not one.name.startswith(".") and one.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _entry(entry: os.DirEntry[str]) -> Entry | None:
    path = Path(entry.path)
    try:
        if entry.is_dir():
            if is_dataset(path):
                return Entry(entry.name, "dataset")
            return Entry(entry.name, "prediction" if is_prediction(path) else "folder")
        if not entry.is_file():
            return None
        size = entry.stat().st_size
    except OSError:
        return None
    if is_archive(path):
        return Entry(entry.name, "archive", size)
    return Entry(entry.name, "scan" if has_known_suffix(path) or path.suffix.lower() == ".npz" else "file", size)


def is_prediction(folder: Path) -> bool:
    """Tell whether a folder holds label maps of a model, by its files' names."""
    return (folder / MANIFEST).is_file()
