"""The folder of a run's checkpoints: the newest ones, each a file that is whole or not there."""

from __future__ import annotations

import logging
import os
import re
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
    "read_latest_checkpoint",
    "remove_leftovers",
    "write_alone",
    "write_checkpoint",
    "write_snapshot",
]

NAME = re.compile(r"step-(\d+)\.npz")
OF_VERSION_0_1 = re.compile(r"\.(step|best)-\d+\.npz\.partial|best-\d+\.npz")  # leftovers; second names of checkpoints
LISTINGS = 10
_log = logging.getLogger(__name__)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Name the checkpoint of a step.

    Args:
        folder: the run's checkpoints folder.
        step: optimizer steps since the start of the run.

    >>> checkpoint_path(Path("checkpoints"), 12).name
    'step-000000012.npz'
    """
    return folder / f"step-{step:09d}.npz"


def write_checkpoint(
    folder: Path,
    *,
    step: int,
    progress: TrainingProgress,
    network: dict[str, Any],
    facts: dict[str, Any],
    model: Iterable[np.ndarray],
    optimizer: Iterable[np.ndarray],
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
        kept: the newest checkpoints that are kept, this one among them.

    Returns:
        The file.

    Raises:
        NoSpaceError: where the disk is full; the checkpoints before it are kept.
        CheckpointError: an array of something else than numbers.
    """
    snapshot = Snapshot(progress, network, facts, model, optimizer)
    return write_snapshot(folder, step, snapshot, kept=kept)


def write_snapshot(folder: Path, step: int, snapshot: Snapshot, *, kept: int) -> Path:
    """Write a snapshot beside, rename it into place, and only then remove those that are no longer kept.

    The file and its name are on the disk, not only in the system's memory, before any other is removed.
    Checkpoints of later steps are removed too: the run went back behind them, because they were damaged.

    Args:
        folder: the run's checkpoints folder.
        step: optimizer steps since the start of the run.
        snapshot: what to write; used up by it.
        kept: the newest checkpoints that are kept, this one among them.

    Returns:
        The file.

    Raises:
        NoSpaceError: where the disk is full; the checkpoints before it are kept.
    """
    path = checkpoint_path(folder, step)
    with written_beside(path, is_durable=True) as (beside,):
        _write(snapshot, beside)
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


def _remove_outdated(folder: Path, step: int, kept: int) -> None:
    steps = _numbered(folder)
    before = sorted(number for number in steps if number < step)
    outdated = [steps[number] for number in before[: max(0, len(before) + 1 - kept)]]
    outdated += [steps[number] for number in steps if number > step]
    for path in outdated:
        path.unlink(missing_ok=True)


def _numbered(folder: Path) -> dict[int, Path]:
    names = {path: NAME.fullmatch(path.name) for path in folder.iterdir()} if folder.is_dir() else {}
    return {int(match[1]): path for path, match in names.items() if match}


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while writing left behind; for the one process that writes here."""
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        if is_leftover(path.name) or OF_VERSION_0_1.fullmatch(path.name):
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
    for _ in range(LISTINGS):
        numbered = _numbered(folder)
        is_changed = False
        for _, path in sorted(numbered.items(), reverse=True):
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
