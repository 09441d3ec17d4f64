"""A word beside the engine's socket that is another after every change of its index.

Whoever was answered while the word was the same need not ask again, as long as the engine is there: reading 16 bytes
takes some microseconds, an answer some milliseconds where all cores are at work.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from r2d2_base.files import writing

__all__ = ["CHANGES_NAME", "Changes", "read_changes"]

CHANGES_NAME = "engine.changes"
_HALF = 8


class Changes:
    """The word of an engine: chance when it began, and the number of changes since.

    Args:
        work_root: the engine's folder, which it has the lock of.

    Raises:
        NotWritableError: the file cannot be made.
    """

    def __init__(self, work_root: Path) -> None:
        self._path = work_root / CHANGES_NAME
        self._began, self._count = secrets.token_bytes(_HALF), 0
        with writing(self._path):
            self._path.unlink(missing_ok=True)  # never one that a link leads to
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.write(self._file, self._word())

    def add(self) -> None:
        """Say that something has changed; where that cannot be written, there is no word any more."""
        self._count += 1
        try:
            os.pwrite(self._file, self._word(), 0)
        except OSError:
            with suppress(OSError):
                self._path.unlink()

    def close(self) -> None:
        """Take the word away."""
        file, self._file = self._file, -1  # whoever adds later meets no other file of this number
        os.close(file)
        with suppress(OSError):
            self._path.unlink()

    def _word(self) -> bytes:
        return self._began + self._count.to_bytes(_HALF, "big")


def read_changes(work_root: Path) -> bytes | None:
    """Read the word; None: there is none, and what was answered may have changed."""
    try:
        return (work_root / CHANGES_NAME).read_bytes() or None
    except OSError:
        return None
