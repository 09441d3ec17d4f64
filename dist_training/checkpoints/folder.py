"""The folder of a run's checkpoints: the newest ones, and the best, each a file that is whole or not there."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dist_training.checkpoints.archive import Checkpoint, Snapshot, read_checkpoint
from dist_training.checkpoints.progress import TrainingProgress
from dist_training.errors import CheckpointError, DamagedCheckpointError
from r2d2_base.files import is_leftover, remove_leftovers_of, written_beside

__all__ = [
    "checkpoint_path",
    "read_best_checkpoint",
    "read_latest_checkpoint",
    "remove_leftovers",
    "write_alone",
    "write_checkpoint",
    "write_snapshot",
]

STEP, BEST = "step", "best"
NAME = re.compile(r"(step|best)-(\d+)\.npz")
EARLIER_LEFTOVER = re.compile(r"\.(step|best)-\d+\.npz\.partial")  # of version 0.1.0
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)
LISTINGS = 10
_log = logging.getLogger(__name__)


def checkpoint_path(folder: Path, step: int, kind: str = STEP) -> Path:
    """Name the checkpoint of a step.

    Args:
        folder: the run's checkpoints folder.
        step: optimizer steps since the start of the run.
        kind: "step", or "best".

    >>> checkpoint_path(Path("checkpoints"), 12).name
    'step-000000012.npz'
    """
    return folder / f"{kind}-{step:09d}.npz"


def write_checkpoint(
    folder: Path,
    *,
    step: int,
    progress: TrainingProgress,
    network: dict[str, Any],
    facts: dict[str, Any],
    model: Iterable[np.ndarray],
    optimizer: Iterable[np.ndarray],
    is_best: bool = False,
    kept: int = 2,
) -> Path:
    """Write a checkpoint now; ``CheckpointStore`` does the same while training goes on.

    Args:
        folder: the run's checkpoints folder.
        step: optimizer steps since the start of the run; names the file.
        progress: where the run stands.
        network: the network's settings.
        facts: what must not change between the parts of a run.
        model: the network's variables, in order.
        optimizer: the optimizer's variables, in order.
        is_best: keep it, under a second name, until a better one.
        kept: the newest checkpoints that are kept, this one among them.

    Returns:
        The file.

    Raises:
        NoSpaceError: where the disk is full; the checkpoints before it are kept.
        CheckpointError: an array of something else than numbers.
    """
    snapshot = Snapshot(progress, network, facts, model, optimizer)
    return write_snapshot(folder, step, snapshot, is_best=is_best, kept=kept)


def write_snapshot(folder: Path, step: int, snapshot: Snapshot, *, is_best: bool, kept: int) -> Path:
    """Write a snapshot beside, rename it into place, and only then remove those that are no longer kept.

    The file and its name are on the disk, not only in the system's memory, before any other is removed.
    Checkpoints of later steps are removed too: the run went back behind them, because they were damaged.

    Args:
        folder: the run's checkpoints folder.
        step: optimizer steps since the start of the run.
        snapshot: what to write; used up by it.
        is_best: keep it, under a second name, until a better one.
        kept: the newest checkpoints that are kept, this one among them.

    Returns:
        The file.

    Raises:
        NoSpaceError: where the disk is full; the checkpoints before it are kept.
    """
    path = checkpoint_path(folder, step)
    with written_beside(path, is_durable=True) as (beside,):
        _write(snapshot, beside)
        if is_best:  # first, so that no kill leaves a best step without its best checkpoint
            _keep_as_best(beside, checkpoint_path(folder, step, BEST))
    _remove_outdated(folder, step, kept)
    return path


def write_alone(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot under a name of its own, in place of one that is there: whole or not at all.

    Args:
        path: the file, in a folder that exists.
        snapshot: what to write; used up by it.

    Raises:
        NoSpaceError: where the disk is full; the file before is kept.
    """
    remove_leftovers_of(path)
    with written_beside(path, is_durable=True) as (beside,):
        _write(snapshot, beside)


def _write(snapshot: Snapshot, path: Path) -> None:
    with path.open("wb") as file:
        snapshot.write(file)
        file.flush()
        os.fsync(file.fileno())


def _keep_as_best(whole: Path, best: Path) -> None:
    """Give a file a second name: a copy, on a file system without hard links."""
    with written_beside(best) as (beside,):
        try:
            beside.hardlink_to(whole)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            shutil.copyfile(whole, beside)


def _remove_outdated(folder: Path, step: int, kept: int) -> None:
    steps = _numbered(folder, STEP)
    before = sorted(number for number in steps if number < step)
    outdated = [steps[number] for number in before[: max(0, len(before) + 1 - kept)]]
    bests = _numbered(folder, BEST)
    newest = max((number for number in bests if number <= step), default=None)
    outdated += [bests[number] for number in bests if number != newest]
    outdated += [steps[number] for number in steps if number > step]
    for path in outdated:
        path.unlink(missing_ok=True)


def _numbered(folder: Path, kind: str) -> dict[int, Path]:
    found = {path: NAME.fullmatch(path.name) for path in folder.iterdir()} if folder.is_dir() else {}
    return {int(match[2]): path for path, match in found.items() if match and match[1] == kind}


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while writing left behind; for the one process that writes here."""
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        if is_leftover(path.name) or EARLIER_LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def read_latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; a damaged one is skipped with a warning.

    Another process may be writing here meanwhile.

    Args:
        folder: the run's checkpoints folder.

    Returns:
        The checkpoint; None where there is none.

    Raises:
        CheckpointError: where there are some and none can be read, or another version wrote them.
        PermissionError: a file that may not be read.
    """
    return _read_newest(folder, (STEP, BEST))


def read_best_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the best checkpoint.

    Args:
        folder: the run's checkpoints folder.

    Returns:
        The checkpoint; None where none was marked best.

    Raises:
        CheckpointError: it is damaged, or another version wrote it.
    """
    return _read_newest(folder, (BEST,))


def _read_newest(folder: Path, kinds: tuple[str, ...]) -> Checkpoint | None:
    for _ in range(LISTINGS):
        numbered = [(number, kind, path) for kind in kinds for number, path in _numbered(folder, kind).items()]
        is_changed = False
        # Of the two names of one checkpoint, "step" comes first.
        for _, _, path in sorted(numbered, reverse=True):
            try:
                return read_checkpoint(path)
            except FileNotFoundError:  # the run has written newer ones and removed this one since it was listed
                is_changed = True
            except DamagedCheckpointError as error:
                _log.warning("checkpoint %s is damaged (%s); trying the one before", path, error)
        if not is_changed:
            break
    if numbered:
        raise CheckpointError(f"none of the {len(numbered)} checkpoints in {folder} can be read; start a new run")
    return None
