"""What a training run can be asked for: frozen, validated, each default in this one place."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dist_training.own_code import is_own_name
from dist_training.schedules import LearningRateScaling, Schedule, learning_rate_at, scaled_learning_rate

__all__ = ["WHOLE_BATCH_LOSSES", "Compression", "LossName", "OptimizerName", "Precision", "TrainingSettings"]

LossName = Literal[
    "dice_cross_entropy",
    "cross_entropy",
    "dice",
    "batch_dice",
    "batch_dice_cross_entropy",
    "focal",
    "dice_focal",
    "tversky",
    "tversky_cross_entropy",
]
OptimizerName = Literal["adam", "adamw", "sgd", "lamb", "lars"]
Compression = Literal["none", "fp16"]
Precision = Literal["float32", "float64", "mixed_float16", "mixed_bfloat16"]

WHOLE_BATCH_LOSSES = frozenset({"batch_dice", "batch_dice_cross_entropy"})
"""Losses that divide sums over the whole batch, which a worker must then have before it at once."""


_Positive = Annotated[int, Field(ge=1)]


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
    patch_size: tuple[_Positive, _Positive, _Positive] | None = Field(
        default=None,
        description="slices, rows and columns of the patches that a network of volumes learns from and predicts by; "
        "null: by the size of the volumes",
    )
    foreground_share: float = Field(
        default=1 / 3, ge=0, le=1, description="share of a network of volumes' patches that lie around foreground"
    )
    reference_batch_size: int = Field(
        default=16, ge=1, description="the batch that learning_rate suits; the rate is scaled by global / reference"
    )
    accumulation_steps: int = Field(
        default=1,
        ge=1,
        description="parts in which a worker computes its share of a step, one by one: less memory, same result",
    )
    optimizer: OptimizerName = Field(default="adam", description="adam, adamw, sgd with momentum, lamb or lars")
    learning_rate: float = Field(default=1e-3, gt=0, description="learning rate at reference_batch_size")
    learning_rate_scaling: LearningRateScaling = Field(
        default="linear", description="how the rate grows with global / reference batch: linear, sqrt or none"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd and lars; the others ignore it")
    nesterov: bool = Field(default=False, description="Nesterov's form of the momentum of sgd")
    momentum_correction: bool = Field(
        default=True,
        description="scale the momentum of sgd and lars when the learning rate changes (Goyal et al. 2017)",
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        description="decoupled weight decay; biases and normalisation are left alone; without it adamw is adam",
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="largest norm of the whole gradient, summed over workers; null: any"
    )
    compression: Compression = Field(
        default="none", description="none, or fp16: gradients travel between workers in half precision"
    )
    ema_momentum: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="momentum of an exponential moving average of the weights, which is validated and kept; null: none",
    )
    schedule: Schedule = Field(
        default="cosine", description="cosine or polynomial (to schedule_floor at the end), step, constant"
    )
    schedule_floor: float = Field(
        default=0.0, ge=0, lt=1, description="share of the highest rate that schedules cosine and polynomial end at"
    )
    schedule_milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.5, 0.75), description="shares of the run after which the rate of schedule step falls"
    )
    schedule_factor: float = Field(default=0.1, gt=0, lt=1, description="factor of each fall of schedule step")
    schedule_power: float = Field(default=0.9, gt=0, description="exponent of schedule polynomial")
    warmup_epochs: float = Field(
        default=0.5, ge=0, description="epochs over which the rate rises, step by step, to its scaled value"
    )
    loss: str = Field(
        default="dice_cross_entropy",
        description="dice_cross_entropy (their sum), cross_entropy, dice (soft, per slice), batch_dice (over the "
        "whole batch), batch_dice_cross_entropy, focal, dice_focal, tversky or tversky_cross_entropy; or "
        "module:function, one of your own",
        examples=list(get_args(LossName)),
    )
    loss_options: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of a loss of your own, by name"
    )
    focal_gamma: float = Field(default=2.0, ge=0, description="how much less the focal loss counts easy pixels")
    tversky_alpha: float = Field(default=0.3, ge=0, description="weight of false positives in the tversky loss")
    tversky_beta: float = Field(default=0.7, ge=0, description="weight of false negatives in the tversky loss")
    autoencoder: bool = Field(
        default=False,
        description="whether a network of volumes is trained beside a variational autoencoder, which draws each patch "
        "again from what the encoder found and is no part of what is saved",
    )
    autoencoder_kl_weight: float = Field(
        default=0.2,
        ge=0,
        description="weight of the divergence of the autoencoder's numbers from the normal distribution in the loss",
    )
    autoencoder_l2_weight: float = Field(
        default=0.3,
        ge=0,
        description="weight of the mean square by which a patch that is drawn again differs in the loss",
    )
    class_weights: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None,
        description="weights of the classes in the cross-entropy, background first; null: all count the same",
    )
    region_outputs: bool = Field(
        default=False,
        description="one sigmoid output for each region of overlapping labels, instead of a softmax over all labels",
    )
    dtype: Precision = Field(
        default="float32",
        description="precision: float32, float64, or mixed_float16 and mixed_bfloat16 (16 bits; weights 32)",
    )
    seed: int = Field(default=0, ge=0, description="seeds the initial weights, the order of the slices and dropout")
    checkpoint_every_epochs: int = Field(default=1, ge=1, description="epochs between checkpoints")
    checkpoint_every_steps: int | None = Field(default=None, ge=1, description="steps between checkpoints; null: none")
    checkpoint_every_minutes: float | None = Field(
        default=None, gt=0, description="minutes between checkpoints; null: none"
    )
    checkpoints_kept: int = Field(default=2, ge=1, description="newest checkpoints kept")
    sample_predictions: int = Field(
        default=3,
        ge=0,
        le=24,
        description="validation slices of which the label maps after each epoch are kept, to be looked at; 0: none",
    )
    early_stopping_patience: int | None = Field(
        default=None, ge=1, description="epochs without a better validation Dice after which the run ends; null: never"
    )
    early_stopping_min_delta: float = Field(
        default=0.0, ge=0, description="how much better a validation Dice must be to count as better for early stopping"
    )
    max_minutes: float | None = Field(
        default=None, gt=0, description="minutes of training after which the run stops, with a checkpoint; null: any"
    )
    divergence_factor: float = Field(
        default=100.0,
        gt=1,
        description="the run has diverged when a step's loss exceeds the first one's this many times",
    )

    @model_validator(mode="after")
    def _warmup_within_run(self) -> TrainingSettings:
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs must not exceed epochs ({self.epochs}); received {self.warmup_epochs:g}; "
                f"use {self.epochs / 10:g}"
            )
        return self

    @model_validator(mode="after")
    def _nesterov_has_a_momentum(self) -> TrainingSettings:
        if self.nesterov and self.optimizer != "sgd":
            raise ValueError(
                f"nesterov is a form of the momentum of sgd, and optimizer {self.optimizer} has none; "
                "use optimizer sgd, or nesterov false"
            )
        return self

    @field_validator("loss")
    @classmethod
    def _loss_is_known(cls, value: str) -> str:
        if value not in get_args(LossName) and not is_own_name(value):
            raise ValueError(
                f"loss must be one of {', '.join(get_args(LossName))}, or module:function like my_losses:tversky; "
                f"received {value!r:.60}"
            )
        return value

    @model_validator(mode="after")
    def _options_have_a_loss(self) -> TrainingSettings:
        if self.loss_options and not is_own_name(self.loss):
            raise ValueError(
                f"loss_options are those of a loss of your own (module:function); received some with loss {self.loss}"
            )
        return self

    @model_validator(mode="after")
    def _weights_have_a_cross_entropy(self) -> TrainingSettings:
        has_weights = any(term in self.loss for term in ("cross_entropy", "focal"))
        if self.class_weights is not None and (is_own_name(self.loss) or not has_weights):
            raise ValueError(
                f"class_weights weigh the cross-entropy, which loss {self.loss} does not have; "
                "use loss dice_cross_entropy or cross_entropy, or class_weights null"
            )
        return self

    @model_validator(mode="after")
    def _mistakes_cost_something(self) -> TrainingSettings:
        if self.loss in ("tversky", "tversky_cross_entropy") and self.tversky_alpha == self.tversky_beta == 0:
            raise ValueError(
                "tversky_alpha and tversky_beta must not both be 0: no mistake would cost anything; use 0.3 and 0.7"
            )
        return self

    @model_validator(mode="after")
    def _batch_is_not_computed_in_parts(self) -> TrainingSettings:
        if self.accumulation_steps > 1 and self.loss in WHOLE_BATCH_LOSSES:
            raise ValueError(
                f"loss {self.loss} divides sums over the whole batch, which accumulation_steps > 1 never has at once; "
                f"use accumulation_steps=1, or loss {self.loss.removeprefix('batch_')}"
            )
        return self

    @model_validator(mode="after")
    def _milestones_ascend(self) -> TrainingSettings:
        if list(self.schedule_milestones) != sorted(set(self.schedule_milestones)):
            raise ValueError(f"schedule_milestones must ascend; received {list(self.schedule_milestones)}")
        return self

    @property
    def array_dtype(self) -> Literal["float32", "float64"]:
        """Precision of weights, images and losses; that of the arithmetic in between may be half."""
        return "float64" if self.dtype == "float64" else "float32"

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

    def scheduled_rate(self, step: int, *, global_batch_size: int, steps_per_epoch: int) -> float:
        """Give the learning rate that the schedule has for a step.

        Args:
            step: 0-based number of the step in the whole run.
            global_batch_size: slices that a step really takes over all workers.
            steps_per_epoch: steps of an epoch.

        >>> TrainingSettings(warmup_epochs=0).scheduled_rate(10, global_batch_size=32, steps_per_epoch=1)
        0.001
        """
        return learning_rate_at(
            step,
            peak=scaled_learning_rate(
                self.learning_rate, global_batch_size, self.reference_batch_size, self.learning_rate_scaling
            ),
            base=self.learning_rate,
            warmup_steps=round(self.warmup_epochs * steps_per_epoch),
            total_steps=self.epochs * steps_per_epoch,
            schedule=self.schedule,
            milestones=self.schedule_milestones,
            factor=self.schedule_factor,
            power=self.schedule_power,
            floor=self.schedule_floor,
        )
