"""What a training run can be asked for: frozen, validated, each default in this one place."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dist_training.schedules import Schedule

__all__ = ["LossName", "OptimizerName", "TrainingSettings"]

LossName = Literal["dice_cross_entropy", "cross_entropy", "dice"]
OptimizerName = Literal["adam", "sgd"]


class TrainingSettings(BaseModel):
    """Settings of the optimisation.

    >>> TrainingSettings(batch_size_per_worker=8).resolved(world_size=3).global_batch_size
    24
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(default=20, ge=1, description="passes over the training slices")
    batch_size_per_worker: int = Field(default=16, ge=1, description="slices per step and worker")
    global_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="slices per step over all workers, kept on any number of them; "
        "null: batch_size_per_worker x workers",
    )
    reference_batch_size: int = Field(
        default=16, ge=1, description="the batch that learning_rate suits; the rate is scaled by global / reference"
    )
    optimizer: OptimizerName = Field(default="adam", description="adam, or sgd with momentum")
    learning_rate: float = Field(default=1e-3, gt=0, description="learning rate at reference_batch_size")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd; adam ignores it")
    schedule: Schedule = Field(default="cosine", description="cosine (to zero at the end) or constant")
    warmup_epochs: float = Field(
        default=0.5, ge=0, description="epochs over which the rate rises, step by step, to its scaled value"
    )
    loss: LossName = Field(
        default="dice_cross_entropy",
        description="dice_cross_entropy (their sum), cross_entropy or dice (soft, per sample)",
    )
    class_weights: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None,
        description="weights of the classes in the cross-entropy, background first; null: all count the same",
    )
    dtype: Literal["float32", "float64"] = Field(default="float32", description="precision of weights and arithmetic")
    seed: int = Field(default=0, ge=0, description="seeds the initial weights, the order of the slices and dropout")
    checkpoint_every_epochs: int = Field(default=1, ge=1, description="epochs between checkpoints")

    @model_validator(mode="after")
    def _warmup_within_run(self) -> TrainingSettings:
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs must not exceed epochs ({self.epochs}); received {self.warmup_epochs:g}; "
                f"use {self.epochs / 10:g}"
            )
        return self

    @model_validator(mode="after")
    def _weights_have_a_cross_entropy(self) -> TrainingSettings:
        if self.class_weights is not None and self.loss == "dice":
            raise ValueError(
                "class_weights weigh the cross-entropy, which loss dice does not have; "
                "use loss dice_cross_entropy or cross_entropy, or class_weights null"
            )
        return self

    def step_size(self, world_size: int) -> int:
        """Give the slices per step over all workers.

        Args:
            world_size: the number of workers.
        """
        return self.global_batch_size or self.batch_size_per_worker * world_size

    def resolved(self, world_size: int) -> TrainingSettings:
        """Fill in the global batch, so that the settings alone recreate the run on any number of workers.

        Args:
            world_size: the number of workers.

        Returns:
            The same settings with ``global_batch_size`` set.
        """
        return self.model_copy(update={"global_batch_size": self.step_size(world_size)})
