"""Scans that come from a browser: in a folder of the server's own user, for a while, and then gone.

They lie in ``WORK_ROOT/uploads/ID/scans/GROUP/NAME``: a group is a folder that came, 0 holds loose files.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from werkzeug.exceptions import NotFound

from r2d2.engine.errors import RefusedError

__all__ = ["MOST_FILE_BYTES", "Upload", "Uploads"]

FOLDER = "uploads"
MOST_FILE_BYTES = 4 * 2**30
MOST_BYTES = 16 * 2**30
MOST_FILES = 5_000
MOST_OPEN = 20
LEAST_FREE_BYTES = 2**30
LONGEST_NAME = 120
PART = 2**20
TIDY_EVERY_S = 600.0
_ID = re.compile(r"[0-9a-f]{32}")
_FACTS = "upload.json"
_NAME = re.compile(r"[^\W_][\w .,()+=@-]*")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upload:
    """Scans that somebody brought.

    Attributes:
        id: a word that cannot be guessed.
        owner: who did; nobody else uses them.
        since: when it began, in seconds since 1970.
        until: when it goes.
        path: its folder.
    """

    id: str
    owner: str
    since: float
    until: float
    path: Path

    @property
    def scans(self) -> Path:
        """The folder of the files."""
        return self.path / "scans"

    def files(self) -> Iterator[Path]:
        """Yield what came, whole."""
        for group in sorted(self.scans.iterdir()) if self.scans.is_dir() else ():
            yield from sorted(one for one in group.iterdir() if not one.name.startswith("."))

    def inputs(self, *, are_apart: bool) -> tuple[Path, ...]:
        """Give what a prediction is to read: folders as they came, loose files one by one where each is a scan.

        Args:
            are_apart: whether a file alone can be a scan: the model takes one channel.
        """
        from r2d2.prediction.scans import is_scan_by_name

        found: list[Path] = []
        for group in sorted(self.scans.iterdir()) if self.scans.is_dir() else ():
            files = [one for one in sorted(group.iterdir()) if not one.name.startswith(".")]
            is_loose = group.name == "0" and are_apart and all(is_scan_by_name(one.name) for one in files)
            found += files if is_loose else [group]
        return tuple(found)


class Uploads:
    """The folder of all uploads.

    Args:
        work_root: the engine's folder.
        days: after which an upload goes.
    """

    def __init__(self, work_root: Path, days: float) -> None:
        self.folder = work_root / FOLDER
        self.days = days
        self._lock = threading.Lock()
        self._taken: dict[str, tuple[int, int]] = {}

    def begin(self, owner: str) -> Upload:
        """Make room for scans.

        Raises:
            RefusedError: the disk is nearly full, or somebody has very many already.
        """
        self.tidy()
        self._check_room(0)
        if sum(one.owner == owner for one in self._all()) >= MOST_OPEN:
            raise RefusedError(f"you have {MOST_OPEN} uploads already: remove some first")
        now = time.time()
        upload = self._upload(secrets.token_hex(16), {"owner": owner, "since": now, "until": now + self.days * 86400})
        _make_private(self.folder)
        _make_private(upload.path)
        told = {"owner": owner, "since": upload.since, "until": upload.until}
        with _new_file(upload.path / _FACTS) as out:
            out.write(json.dumps(told).encode())
        return upload

    def find(self, word: str, owner: str) -> Upload:
        """Find an upload of somebody's.

        Raises:
            NotFound: there is none; or it is of somebody else, which nobody is told.
        """
        found = self._read(word) if _ID.fullmatch(word) else None
        if found is None or found.owner != owner:
            raise NotFound("there is no such upload: it may have gone after its term")
        return found

    def of_inputs(self, inputs: Sequence[str], owner: str) -> Upload | None:
        """Give the upload that a prediction's scans are of; None: they are of none, or of somebody else's."""
        for path in map(Path, inputs):
            if self.folder in path.parents:
                word = path.relative_to(self.folder).parts[0]
                found = self._read(word) if _ID.fullmatch(word) and (self.folder / word).is_dir() else None
                return found if found is not None and found.owner == owner else None
        return None

    def hidden_from(self, owner: str) -> tuple[str, ...]:
        """Give the folders of all uploads that are of somebody else."""
        return tuple(str(one.path) for one in self._all() if one.owner != owner)

    def add(self, upload: Upload, group: int, name: str, stream: IO[bytes], length: int | None) -> Path:
        """Take a file.

        Args:
            upload: where.
            group: number of the folder that it came in; 0: none.
            name: of the file.
            stream: its content.
            length: in bytes, as it was announced.

        Raises:
            RefusedError: it is no scan, or there is no room for it, or something else has its name.
        """
        _check_name(name)
        if length is None or not 0 < length <= MOST_FILE_BYTES:
            raise RefusedError(f"{name}: a file has 1 to {MOST_FILE_BYTES // 2**30} GiB")
        with self._lock:
            count, taken = self._taken.get(upload.id) or _size_of(upload)
            if count >= MOST_FILES or taken + length > MOST_BYTES:
                raise RefusedError(f"an upload has at most {MOST_FILES} files and {MOST_BYTES // 2**30} GiB")
            self._check_room(length)
            folder = upload.scans / str(group)
            _make_private(upload.scans)
            _make_private(folder)
            self._taken[upload.id] = count + 1, taken + length  # also of what breaks off: a bound, not an account
        target = folder / name
        beside = folder / f".{secrets.token_hex(8)}"
        try:
            _write(beside, name, stream, length)
            os.link(beside, target)  # never over another
        except FileExistsError:
            raise RefusedError(f"{name} is there already: give each file a name of its own") from None
        except OSError as error:
            raise RefusedError(f"{name} cannot be written: {error.strerror}") from error
        finally:
            with suppress(OSError):
                beside.unlink()
        return target

    def drop(self, upload: Upload) -> None:
        """Remove one, now."""
        shutil.rmtree(upload.path)
        self._taken.pop(upload.id, None)

    def tidy(self, now: float | None = None) -> int:
        """Remove what has had its time; gives how many."""
        moment, count = time.time() if now is None else now, 0
        for found in self._all():
            if found.until <= moment:
                try:
                    self.drop(found)
                    count += 1
                except OSError as error:
                    _log.error("an upload that has had its time cannot be removed: %s", error)
        return count

    def keep_tidy(self) -> None:
        """Tidy up again and again, in a thread, for as long as the process lives."""

        def work() -> None:
            while True:
                try:
                    self.tidy()
                except Exception:
                    _log.exception("uploads could not be looked at; the next look follows")
                time.sleep(TIDY_EVERY_S)

        threading.Thread(target=work, name="uploads", daemon=True).start()

    def _all(self) -> list[Upload]:
        if not self.folder.is_dir():
            return []
        words = [one.name for one in self.folder.iterdir() if _ID.fullmatch(one.name)]
        return [found for found in map(self._read, words) if found is not None]

    def _read(self, word: str) -> Upload | None:
        path = self.folder / word
        try:
            return self._upload(word, json.loads((path / _FACTS).read_bytes()))
        except FileNotFoundError:
            began = path.stat().st_mtime if path.is_dir() else None
            return None if began is None else self._upload(word, {"owner": "", "since": began, "until": began + 86400})
        except (OSError, ValueError, KeyError, TypeError):
            return self._upload(word, {"owner": "", "since": 0.0, "until": 0.0})  # damaged: it goes

    def _upload(self, word: str, told: Any) -> Upload:
        return Upload(word, str(told["owner"]), float(told["since"]), float(told["until"]), self.folder / word)

    def _check_room(self, length: int) -> None:
        above = self.folder if self.folder.is_dir() else self.folder.parent
        if shutil.disk_usage(above).free - length < LEAST_FREE_BYTES:
            raise RefusedError("the server's disk has no room for these scans")


def _size_of(upload: Upload) -> tuple[int, int]:
    sizes = [one.stat().st_size for one in upload.files()]
    return len(sizes), sum(sizes)


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)


def _check_name(name: str) -> None:
    """Refuse a name that could lead elsewhere, or that nobody could read."""
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise RefusedError(
            f"{name!r:.60}: a file's name begins with a letter or digit, and has letters, digits, spaces and "
            f".,()+=@_- only, at most {LONGEST_NAME}: give it another"
        )


def _write(file: Path, name: str, stream: IO[bytes], length: int) -> None:
    """Write what comes; its beginning tells whether it can be a scan."""
    from r2d2.prediction.scans import may_be_scan

    with _new_file(file) as out:
        left, is_first = length, True
        while left:
            part = stream.read(min(PART, left))
            if not part:
                raise RefusedError(f"{name} broke off: send it again")
            if is_first and not may_be_scan(name, part):
                raise RefusedError(
                    f"{name} is no scan that R2D2 knows by its name, nor a DICOM file: NIfTI (.nii, .nii.gz), DICOM, "
                    "NRRD, MetaImage, PNG, TIFF, JPEG, or a .zip or .tar.gz of them"
                )
            is_first = False
            out.write(part)
            left -= len(part)


def _new_file(file: Path) -> BinaryIO:
    """Open a file that only this user reads."""
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
