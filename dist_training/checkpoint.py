"""Checkpoints: everything a run needs to go on, in one file that is either whole or not there."""

from __future__ import annotations

import json
import logging
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dist_training.errors import CheckpointError
from imgmed.storage import no_space_named

__all__ = ["Checkpoint", "TrainingProgress", "read_latest_checkpoint", "write_checkpoint"]

SCHEMA_VERSION = 1
KEPT = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands.

    Attributes:
        epoch: epochs completed.
        step_in_epoch: steps completed in the epoch that is under way.
        loss_sum: sum of the losses of that epoch's slices so far.
        sample_count: the number of those slices.
        best_score: the best validation Dice so far; None before the first.
        best_epoch: 1-based epoch of the best score.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    sample_count: int = 0
    best_score: float | None = None
    best_epoch: int | None = None


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


def write_checkpoint(
    folder: Path,
    *,
    step: int,
    progress: TrainingProgress,
    network: dict[str, Any],
    facts: dict[str, Any],
    model: Sequence[np.ndarray],
    optimizer: Sequence[np.ndarray],
) -> Path:
    """Write a checkpoint beside and rename it into place, then remove all but the newest two.

    Args:
        folder: the run's checkpoints folder.
        step: optimizer steps since the start of the run; names the file.
        progress: where the run stands.
        network: the network's settings.
        facts: what must not change between the parts of a run.
        model: the network's variables, in order.
        optimizer: the optimizer's variables, in order.

    Returns:
        The file.

    Raises:
        NoSpaceError: where the disk is full; the checkpoints before it are kept.
    """
    path = folder / f"step-{step:09d}.npz"
    temporary = path.with_name(f".{path.name}.partial")
    head = {"schema_version": SCHEMA_VERSION, "progress": asdict(progress), "network": network, "facts": facts}
    arrays = {f"model_{i:05d}": array for i, array in enumerate(model)}
    arrays |= {f"optimizer_{i:05d}": array for i, array in enumerate(optimizer)}
    for left_behind in folder.glob(".step-*.partial"):  # of a process that was killed while writing
        left_behind.unlink()
    try:
        with no_space_named(path), temporary.open("wb") as file:
            np.savez(file, head=np.array(json.dumps(head)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    for old in sorted(other for other in folder.glob("step-*.npz") if other != path)[: 1 - KEPT]:
        old.unlink()
    return path


def read_latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; a damaged one is skipped with a warning.

    Args:
        folder: the run's checkpoints folder.

    Returns:
        The checkpoint; None where there is none.

    Raises:
        CheckpointError: where there are some and none can be read, or another version wrote them.
    """
    paths = sorted(folder.glob("step-*.npz"), reverse=True)
    for path in paths:
        try:
            return _read(path)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, CheckpointError | PermissionError):
                raise
            _log.warning("checkpoint %s is damaged (%s); trying the one before", path, error)
    if paths:
        raise CheckpointError(f"none of the {len(paths)} checkpoints in {folder} can be read; start a new run")
    return None


def _read(path: Path) -> Checkpoint:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        head = json.loads(str(archive["head"]))
        if head["schema_version"] != SCHEMA_VERSION:
            raise CheckpointError(
                f"{path} has schema version {head['schema_version']}, this R2D2 reads {SCHEMA_VERSION}; "
                "resume with the version that wrote it"
            )
        arrays = {kind: _members(archive, kind) for kind in ("model", "optimizer")}
    return Checkpoint(path, TrainingProgress(**head["progress"]), head["network"], head["facts"], **arrays)


def _members(archive: Any, kind: str) -> list[np.ndarray]:
    return [archive[name] for name in sorted(archive.files) if name.startswith(f"{kind}_")]
