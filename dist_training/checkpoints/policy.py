"""When a checkpoint is due."""

from __future__ import annotations

from dataclasses import dataclass

from r2d2_base.errors import ConfigurationError

__all__ = ["CheckpointPolicy", "LastCheckpoint"]


@dataclass(frozen=True)
class LastCheckpoint:
    """What a run remembers of the last checkpoint that it wrote or went on from.

    Attributes:
        step: optimizer steps since the start of the run.
        minutes: when it was, on the clock that ``CheckpointPolicy.is_due`` is asked with.
    """

    step: int = 0
    minutes: float = 0.0


@dataclass(frozen=True)
class CheckpointPolicy:
    """When a checkpoint is due: whichever of the three comes first.

    Steps and epochs are counted from the start of the run, so that a resumed run writes at the same places.
    Minutes are one worker's: rank 0 alone decides, as it alone writes.

    Attributes:
        every_epochs: epochs between checkpoints; None: not by epochs.
        every_steps: steps between checkpoints; None: not by steps.
        every_minutes: minutes between checkpoints; None: not by time.

    Raises:
        ConfigurationError: a number that is not positive.

    >>> policy = CheckpointPolicy(every_epochs=2, every_minutes=10)
    >>> policy.is_due(step=300, epoch=2, is_epoch_end=True, minutes=4.0, last=LastCheckpoint())
    True
    >>> policy.is_due(step=310, epoch=2, is_epoch_end=False, minutes=14.5, last=LastCheckpoint(300, 4.0))
    True
    >>> policy.is_due(step=310, epoch=2, is_epoch_end=False, minutes=13.5, last=LastCheckpoint(300, 4.0))
    False
    """

    every_epochs: int | None = 1
    every_steps: int | None = None
    every_minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("every_epochs", "every_steps", "every_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} must be positive, or None for never; received {value}")

    def is_due(self, *, step: int, epoch: int, is_epoch_end: bool, minutes: float, last: LastCheckpoint) -> bool:
        """Whether to write a checkpoint now.

        Args:
            step: optimizer steps since the start of the run.
            epoch: epochs completed.
            is_epoch_end: whether the step before ended an epoch, its validation included.
            minutes: time on any clock that does not go back.
            last: of that clock; a run that starts or goes on sets it to that moment.

        Returns:
            False also where this step has its checkpoint already.
        """
        if step == last.step:
            return False
        return (
            (self.every_epochs is not None and is_epoch_end and epoch % self.every_epochs == 0)
            or (self.every_steps is not None and step % self.every_steps == 0)
            or (self.every_minutes is not None and minutes - last.minutes >= self.every_minutes)
        )
