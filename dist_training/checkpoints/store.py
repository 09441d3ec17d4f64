"""Checkpoints that are written while training goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dist_training.checkpoints.archive import Checkpoint, Snapshot
from dist_training.checkpoints.folder import (
    checkpoint_path,
    read_latest_checkpoint,
    remove_leftovers,
    write_snapshot,
)
from dist_training.checkpoints.progress import TrainingProgress
from r2d2_base.errors import ConfigurationError

__all__ = ["CheckpointStore"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    step: int
    snapshot: Snapshot


class CheckpointStore:
    """Writes the checkpoints of a run, on rank 0, while training goes on.

    ``write`` copies what it gets and returns; a thread writes. At most one checkpoint is being written and one
    waits; a newer one takes the place of the one that waits (the disk is slower than checkpoints are due). So there is
    one extra copy of the arrays in memory, and a second only while one waits; the one that is being written gives its
    memory back array by array.

    A failure, such as a full disk, is raised once, by the next ``write``, ``wait`` or ``close``; what was on the disk
    before stays. Only one thread may call these methods. A process that ends, ends after its last write.

    Args:
        folder: the run's checkpoints folder; it exists. One store at a time writes there.
        kept: the newest checkpoints that are kept.

    Raises:
        ConfigurationError: ``kept`` is not positive.
    """

    def __init__(self, folder: Path, kept: int = 2) -> None:
        if kept < 1:
            raise ConfigurationError(f"at least 1 checkpoint must be kept; received {kept}")
        self._folder, self._kept = folder, kept
        self._state = threading.Condition()
        self._waiting: _Job | None = None
        self._writer: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._written: list[Path] = []
        self._is_tidy = False

    def write(
        self,
        *,
        step: int,
        progress: TrainingProgress,
        network: dict[str, Any],
        facts: dict[str, Any],
        model: Iterable[np.ndarray],
        optimizer: Iterable[np.ndarray],
    ) -> Path:
        """Copy a checkpoint and have it written; it is on the disk when ``take_written`` names it.

        Args:
            step: optimizer steps since the start of the run; names the file.
            progress: where the run stands.
            network: the network's settings.
            facts: what must not change between the parts of a run.
            model: the network's variables, in order; a generator keeps the peak of memory low.
            optimizer: the optimizer's variables, in order; likewise.

        Returns:
            The file that it will be.

        Raises:
            NoSpaceError: no room for an earlier one.
            OSError: an earlier one could not be written.
            CheckpointError: an array of something else than numbers.
        """
        with self._state:
            self._raise_failure()
            if self._waiting is not None:
                _log.info("the checkpoint of step %d gives way to that of step %d", self._waiting.step, step)
                self._waiting = None  # before the copy: two at once are enough
        job = _Job(step, Snapshot(progress, network, facts, model, optimizer))
        with self._state:
            self._waiting = job
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, name="checkpoints")
                self._writer.start()
        return checkpoint_path(self._folder, step)

    def _write_all(self) -> None:
        """Write until nothing waits; then this thread ends, and the next ``write`` starts another."""
        while job := self._next_job():
            failure, path = None, None
            try:
                if not self._is_tidy:
                    remove_leftovers(self._folder)
                    self._is_tidy = True
                path = write_snapshot(self._folder, job.step, job.snapshot, kept=self._kept)
            except BaseException as error:  # for the thread that trains; here nobody would hear of it
                failure = error
            del job
            with self._state:
                self._failure = self._failure or failure
                self._written += [path] if path is not None else []

    def _next_job(self) -> _Job | None:
        with self._state:
            job, self._waiting = self._waiting, None
            if job is None:
                self._writer = None
            self._state.notify_all()
            return job

    def wait(self) -> None:
        """Return when everything is on the disk.

        Raises:
            NoSpaceError: no room for a checkpoint.
            OSError: a checkpoint could not be written.
        """
        with self._state:
            self._state.wait_for(lambda: self._writer is None)
            self._raise_failure()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def take_written(self) -> list[Path]:
        """Give the checkpoints that have reached the disk since the last call, in order; for the run's record."""
        with self._state:
            written, self._written = self._written, []
            return written

    def read_latest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole, after what is being written; see ``read_latest_checkpoint``.

        Returns:
            The checkpoint; None where there is none.

        Raises:
            CheckpointError: where there are some and none can be read, or another version wrote them.
            OSError: a checkpoint could not be written.
        """
        self.wait()
        return read_latest_checkpoint(self._folder)

    def close(self) -> None:
        """Return when everything is on the disk, like ``wait``; a closed store may be written to again."""
        self.wait()

    def __enter__(self) -> CheckpointStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            # What ended the block is what the user must hear of.
            _log.error("a checkpoint could not be written: %s", failure)
