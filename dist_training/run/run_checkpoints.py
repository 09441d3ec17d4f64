"""The checkpoints of a run: when one is due, what is worth one, and the record of those that are on the disk."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import TracebackType
from typing import Any

from dist_training.checkpoints import (
    Checkpoint,
    CheckpointPolicy,
    CheckpointStore,
    LastCheckpoint,
    TrainingProgress,
)
from dist_training.learning.learner import Learner
from dist_training.record.events import CheckpointWritten, EventLog
from dist_training.record.run_folder import RunFolder
from dist_training.settings import TrainingSettings
from dist_training.stopping.divergence import has_only_finite
from dist_training.stopping.time_budget import TimeBudget

__all__ = ["RunCheckpoints"]

_log = logging.getLogger(__name__)


class RunCheckpoints:
    """Rank 0 keeps the checkpoints of a run; on other ranks nothing of this does anything.

    Args:
        folder: the run folder.
        settings: when one is due, and how many are kept.
        events: where each that has reached the disk is recorded.
        is_main: whether this is rank 0.
    """

    def __init__(self, folder: RunFolder, settings: TrainingSettings, events: EventLog, *, is_main: bool) -> None:
        self._store = CheckpointStore(folder.checkpoints, kept=settings.checkpoints_kept) if is_main else None
        self._policy = CheckpointPolicy(
            settings.checkpoint_every_epochs, settings.checkpoint_every_steps, settings.checkpoint_every_minutes
        )
        self._settings, self._events = settings, events
        self._last, self._clock = LastCheckpoint(), TimeBudget(None)
        self._newest: str | None = None

    def read_latest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole; None where there is none."""
        checkpoint = self._store.read_latest() if self._store is not None else None
        self._newest = None if checkpoint is None else checkpoint.path.name
        return checkpoint

    def begin(self, step: int, clock: TimeBudget) -> None:
        """Count steps and minutes from here.

        Args:
            step: steps of the run done.
            clock: the run's minutes.
        """
        self._last, self._clock = LastCheckpoint(step, clock.minutes()), clock

    def is_due(self, *, step: int, epoch: int, is_epoch_end: bool) -> bool:
        """Whether to write one now; see ``CheckpointPolicy.is_due``."""
        return self._store is not None and self._policy.is_due(
            step=step, epoch=epoch, is_epoch_end=is_epoch_end, minutes=self._clock.minutes(), last=self._last
        )

    def write(
        self,
        step: int,
        progress: TrainingProgress,
        learner: Learner,
        *,
        network: dict[str, Any],
        facts: dict[str, Any],
    ) -> None:
        """Have a checkpoint written while training goes on; one that could not be gone on from is not."""
        if self._store is None:
            return
        self.record()
        if not has_only_finite(learner.weights()):
            _log.warning("no checkpoint of step %d: the weights are not finite", step)
            return
        if progress.loss_watch.high_steps > 0:  # those that are kept must not all be of weights that explode
            _log.warning("no checkpoint of step %d: the loss is too high, the run may be diverging", step)
            return
        minutes = self._clock.minutes()
        self._store.write(
            step=step,
            progress=replace(progress, minutes=minutes, epochs=self._settings.epochs),
            network=network,
            facts=facts,
            model=learner.weights(),
            optimizer=learner.slots(),
        )
        self._last = LastCheckpoint(step, minutes)

    def record(self) -> None:
        """Record the checkpoints that have reached the disk since the last call."""
        for path in self._store.take_written() if self._store is not None else ():
            self._newest = path.name
            self._events.record(CheckpointWritten(step=int(path.stem.partition("-")[2]), file=path.name))

    def last_written(self) -> str | None:
        """Wait until everything is on the disk, and name the newest checkpoint there; None where there is none."""
        if self._store is not None:
            self._store.wait()
            self.record()
        return self._newest

    def __enter__(self) -> RunCheckpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait until everything is on the disk, and record it; a failure does not hide the error that ended the run."""
        if self._store is not None:
            self._store.__exit__(kind, error, traceback)
            self.record()
