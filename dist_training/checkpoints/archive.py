"""One checkpoint, one file: an archive that ``numpy.load`` opens, and behind it the SHA-256 of all that is before.

The last 72 bytes are ``sha256 ``, 64 hexadecimal digits and a line feed, so that
``head -c -72 FILE | sha256sum`` tells whether a file is whole, without any of our code.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dist_training.checkpoints.progress import TrainingProgress
from dist_training.errors import CheckpointError, DamagedCheckpointError

__all__ = ["SCHEMA_VERSION", "Checkpoint", "Snapshot", "read_checkpoint"]

SCHEMA_VERSION = 2
"""Version 1, without the SHA-256, is still read."""
KINDS = ("model", "optimizer")
MARK = b"sha256 "
TRAILER_BYTES = len(MARK) + 64 + 1
CHUNK_BYTES = 1 << 24
PLAIN_KINDS = "biufc"


@dataclass(frozen=True)
class Checkpoint:
    """What is read back.

    Attributes:
        path: the file.
        progress: where the run stood.
        network: the network's settings as JSON has them.
        facts: what must not change between the parts of a run (numbers of slices, channels, outputs).
        model: the network's variables, in order.
        optimizer: the optimizer's variables, in order.
    """

    path: Path
    progress: TrainingProgress
    network: dict[str, Any]
    facts: dict[str, Any]
    model: list[np.ndarray]
    optimizer: list[np.ndarray]


class Snapshot:
    """A copy of a run's state, made while training stands still, to be written once while it goes on.

    Args:
        progress: where the run stands.
        network: the network's settings.
        facts: what must not change between the parts of a run.
        model: the network's variables, in order; each is copied before the next is asked for.
        optimizer: the optimizer's variables, in order; likewise.

    Raises:
        CheckpointError: an array of something else than numbers or truth values.
    """

    def __init__(
        self,
        progress: TrainingProgress,
        network: dict[str, Any],
        facts: dict[str, Any],
        model: Iterable[np.ndarray],
        optimizer: Iterable[np.ndarray],
    ) -> None:
        head = {"schema_version": SCHEMA_VERSION, "progress": progress.to_json(), "network": network, "facts": facts}
        self._arrays = deque([("head", np.array(json.dumps(head)))])
        for kind, arrays in zip(KINDS, (model, optimizer), strict=True):
            self._arrays.extend((f"{kind}_{i:05d}", _copy(array)) for i, array in enumerate(arrays))

    def write(self, file: BinaryIO) -> None:
        """Write everything to an open file, from its start; the arrays' memory is given back one by one."""
        stream = _HashedStream(file)
        # Not seekable, so zipfile never goes back: every byte passes once, and in order, through the hash.
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
            while self._arrays:
                name, array = self._arrays.popleft()
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        file.write(_trailer(stream.digest))


class _HashedStream:
    """Passes bytes on to a file and hashes them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _copy(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in PLAIN_KINDS:  # bfloat16 among them: NumPy would not read it back
        raise CheckpointError(f"a checkpoint holds arrays of numbers; received dtype {array.dtype}; use float32")
    return np.array(array)


def _trailer(digest: Any) -> bytes:
    return MARK + digest.hexdigest().encode() + b"\n"


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, after a check of every byte.

    Args:
        path: the file.

    Returns:
        What it holds.

    Raises:
        DamagedCheckpointError: the file is not what was written: cut short, changed, or never a checkpoint.
        CheckpointError: another version wrote it.
        FileNotFoundError: there is no such file.
        PermissionError: the file may not be read.
    """
    try:
        with path.open("rb") as file:
            is_verified = _is_verified(file)
            head, arrays = _members(file)
    except (CheckpointError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # without a checksum, damage can make zipfile and NumPy raise almost anything
        raise DamagedCheckpointError(f"it is no whole archive: {error}") from error
    version = head.get("schema_version")
    if version not in (1, SCHEMA_VERSION):
        raise CheckpointError(
            f"{path} has schema version {version}, this R2D2 reads 1 and {SCHEMA_VERSION}; "
            "resume with the version that wrote it"
        )
    if version > 1 and not is_verified:
        raise DamagedCheckpointError("its checksum is missing: it was cut short, or changed")
    return Checkpoint(path, TrainingProgress.from_json(head["progress"]), head["network"], head["facts"], **arrays)


def _is_verified(file: BinaryIO) -> bool:
    """Whether a SHA-256 stands at the end, and holds; the file is then at its start again.

    Raises:
        DamagedCheckpointError: it does not hold.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TRAILER_BYTES))
    trailer = file.read()
    file.seek(0)
    if not trailer.startswith(MARK):
        return False
    digest, left = hashlib.sha256(), size - TRAILER_BYTES
    while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
        digest.update(chunk)
        left -= len(chunk)
    if _trailer(digest) != trailer:
        raise DamagedCheckpointError("its content does not have the SHA-256 that was written with it")
    file.seek(0)
    return True


def _members(file: BinaryIO) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    with np.load(file, allow_pickle=False) as archive:
        arrays = {kind: [archive[n] for n in sorted(archive.files) if n.startswith(f"{kind}_")] for kind in KINDS}
        return json.loads(str(archive["head"])), arrays
