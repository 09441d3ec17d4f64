"""A loss to which the network itself adds: its last output is a number a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dist_training.losses.loss import Loss
from dist_training.losses.own import OwnLoss

__all__ = ["PenalisedLoss"]


@dataclass(frozen=True, eq=False)
class PenalisedLoss:
    """The loss of a step, as one rank contributes to it, of a network whose last output is added to each sample's loss.

    Attributes:
        loss: of the other outputs.
    """

    loss: Loss | OwnLoss

    def __call__(self, outputs: Any, classes: Any, weights: Any, inverse_count: Any) -> Any:
        """Compute this rank's part; result and arguments are those of ``Loss``, but for the last output, (N,)."""
        from keras import ops

        *logits, penalties = outputs
        # Not cast(): that takes a Python number through float32 first.
        shares, inverse = (ops.convert_to_tensor(value, dtype=penalties.dtype) for value in (weights, inverse_count))
        return self.loss(logits, classes, weights, inverse_count) + ops.sum(penalties * shares) * inverse
