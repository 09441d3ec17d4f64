"""The learning rate rises at the beginning of training."""

from __future__ import annotations

from typing import Any

import keras

from dist_training.ranks.communicator import Communicator, join_job
from dist_training.schedules import learning_rate_at
from r2d2_base.errors import ConfigurationError

__all__ = ["LearningRateWarmupCallback"]


class LearningRateWarmupCallback(keras.callbacks.Callback):
    """Raises the learning rate linearly, step by step, to its full value (Goyal et al. 2017, section 2.2).

    With ``steps_per_execution`` all steps of an execution have the rate of its first.

    Args:
        learning_rate: the full value, as scaled for all ranks.
        base: the rate to start from; None: ``learning_rate`` divided by the number of ranks. A tenth of
            ``learning_rate`` where that is less.
        warmup_epochs: epochs until the full value is reached; need not be whole.
        steps_per_epoch: steps of an epoch; None: as Keras counts them.
        communicator: the ranks; None joins the job that this process was started in.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        base: float | None = None,
        warmup_epochs: float = 5,
        steps_per_epoch: int | None = None,
        communicator: Communicator | None = None,
    ) -> None:
        super().__init__()
        if not (learning_rate > 0 and warmup_epochs >= 0):
            raise ConfigurationError(
                "learning_rate must be above 0 and warmup_epochs at least 0; "
                f"received {learning_rate!r} and {warmup_epochs!r}"
            )
        self._peak, self._warmup_epochs, self._steps_per_epoch = learning_rate, warmup_epochs, steps_per_epoch
        self._base = base if base is not None else learning_rate / (communicator or join_job()).world_size
        self._epoch, self._is_rising = 0, False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of the step; after the warm-up, it is left to others."""
        steps = self._steps_per_epoch or self.params.get("steps")
        if not steps:
            raise ConfigurationError("Keras does not know the length of an epoch of this data; pass steps_per_epoch")
        step, warmup_steps = self._epoch * steps + batch, round(self._warmup_epochs * steps)
        if step <= warmup_steps or self._is_rising:  # an execution of several steps may pass over the last one
            self.model.optimizer.learning_rate = learning_rate_at(
                step,
                peak=self._peak,
                base=self._base,
                warmup_steps=warmup_steps,
                total_steps=warmup_steps + 1,
                schedule="constant",
            )
        self._is_rising = step < warmup_steps
