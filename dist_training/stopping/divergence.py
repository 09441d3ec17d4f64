"""When the loss explodes, training ends with a message that helps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from dist_training.errors import DivergenceError

__all__ = ["PATIENCE_STEPS", "LossWatch", "diverged", "has_only_finite"]

PATIENCE_STEPS = 3
"""Steps in a row with too high a loss that end a run: one odd batch does not, and a lost run is not kept for long."""

SMALLEST_REFERENCE = 1.0
"""A network that already fits starts with a loss near 0, of which any ordinary loss would be many times as much."""


@dataclass(frozen=True)
class LossWatch:
    """What the losses so far say; a value that a checkpoint can hold.

    Attributes:
        first_loss: the loss of the run's first step; None before it.
        high_steps: steps in a row, up to the last one, whose loss was too high.

    >>> watch = LossWatch()
    >>> for loss in (2.0, 300.0, 1.5, 300.0, 300.0, 300.0):
    ...     watch = watch.after(loss, factor=100)
    >>> watch, watch.is_diverged
    (LossWatch(first_loss=2.0, high_steps=3), True)
    """

    first_loss: float | None = None
    high_steps: int = 0

    def after(self, loss: float, *, factor: float) -> LossWatch:
        """Give the state after a step.

        Args:
            loss: of the step, over all ranks.
            factor: a loss is too high when it exceeds the first one (or 1, where that was smaller) this many times.

        Returns:
            The new state.
        """
        if not math.isfinite(loss):
            return LossWatch(self.first_loss, PATIENCE_STEPS)
        first = loss if self.first_loss is None else self.first_loss
        is_high = loss > factor * max(first, SMALLEST_REFERENCE)
        return LossWatch(first, self.high_steps + 1 if is_high else 0)

    @property
    def is_diverged(self) -> bool:
        """Whether the run should end: a loss that is not finite, or too high a one in three steps in a row."""
        return self.high_steps >= PATIENCE_STEPS


def diverged(
    what: str, watch: LossWatch, *, step: int, epoch: int, learning_rate: float, run_dir: Path, checkpoint: str | None
) -> DivergenceError:
    """Say that a run has diverged; every rank sees the same loss and weights, so that all raise this at one step.

    Args:
        what: happened.
        watch: the state after the step.
        step: 1-based number of the step in the run.
        epoch: 1-based.
        learning_rate: the setting, for the advice.
        run_dir: the run folder.
        checkpoint: name of the newest checkpoint; None where there is none.

    Returns:
        The error, which names step, loss, the checkpoint and what to change.
    """
    first = "" if watch.first_loss is None else f" (the loss began at {watch.first_loss:.4g})"
    advice = f"training.learning_rate={learning_rate / 10:.3g} or training.clip_norm=1"
    where = (
        f"train again with {advice}"
        if checkpoint is None
        else f"the last good checkpoint is {checkpoint}: "
        f"r2d2 train --run-dir {quote(str(run_dir))} --resume, with {advice}"
    )
    return DivergenceError(f"{what} in epoch {epoch}, step {step}{first}; {where}")


def has_only_finite(arrays: Iterable[np.ndarray]) -> bool:
    """Whether no array holds NaN or infinity: what is to become a checkpoint must not, or it would be no good one.

    Args:
        arrays: of any shape and dtype.

    >>> has_only_finite([np.zeros(2), np.array([1, 2])]), has_only_finite([np.array([np.nan])])
    (True, False)
    """
    return all(bool(np.isfinite(array).all()) for array in arrays if array.dtype.kind in "fc")
