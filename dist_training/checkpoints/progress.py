"""Where a run stands, beside its arrays; to and from JSON, whatever the fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dist_training.errors import CheckpointError
from dist_training.stopping.divergence import LossWatch
from dist_training.stopping.early_stopping import EarlyStopping
from r2d2_base.settings_faults import settings_faults

__all__ = ["TrainingProgress"]


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands.

    A field that is added here needs a default, which stands for it in files that were written before.

    Attributes:
        epoch: epochs completed.
        step_in_epoch: steps completed in the epoch that is under way.
        loss_sum: sum of the losses of that epoch's slices so far.
        sample_count: the number of those slices.
        best_score: the best validation Dice so far; None before the first.
        best_epoch: 1-based epoch of the best score.
        learning_rate_factor: what a request has multiplied the schedule by.
        minutes: minutes of training.
        early_stopping: how long ago validation was better.
        loss_watch: what the losses so far say.
        epochs: how many epochs the run was to have when this was written; 0 where that was not recorded.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    sample_count: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    learning_rate_factor: float = 1.0
    minutes: float = 0.0
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    loss_watch: LossWatch = field(default_factory=LossWatch)
    epochs: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON has them; ``from_json`` gives the same progress back.

        >>> TrainingProgress.from_json(TrainingProgress(epoch=2).to_json()).epoch
        2
        """
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TrainingProgress:
        """Read what ``to_json`` gave; a field that was not written has its default.

        Args:
            content: names and values.

        Raises:
            CheckpointError: a field that this version does not know, or a value of another type.
        """
        unknown = sorted(content.keys() - {known.name for known in fields(cls)})
        if unknown:
            raise CheckpointError(
                f"a newer R2D2 wrote this checkpoint: its progress has {', '.join(unknown)}, which this version does "
                "not know; resume with the version that wrote it"
            )
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            raise CheckpointError(
                f"the progress in this checkpoint cannot be read: {settings_faults(error)[0]}"
            ) from error
