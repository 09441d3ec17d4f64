"""What a run computes with: the network, its optimizer and the step, on one rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

from dist_training.architectures import NetworkSettings, build_network, prediction_network, stages
from dist_training.architectures.precision import dtype_policy
from dist_training.errors import CheckpointError
from dist_training.inference.outputs import NetworkOutputs
from dist_training.inputs.augmentation import DeviceAugmentation
from dist_training.inputs.feed import Batch, Feed
from dist_training.learning.step import StepOutcome, TrainingStep, build_predict, build_probabilities
from dist_training.learning.transfer import TransferSettings, freeze_stages, rate_factors
from dist_training.losses import PenalisedLoss, build_loss
from dist_training.optimizers import averaged_weights, build_optimizer
from dist_training.ranks.communicator import Communicator
from dist_training.ranks.devices import has_gpu
from dist_training.ranks.distributed_optimizer import DistributedOptimizer
from dist_training.ranks.synchronised import synchronised
from dist_training.settings import TrainingSettings
from imgmed import AugmentationSettings
from r2d2_base.errors import ConfigurationError

__all__ = ["Learner"]


class Learner:
    """A network that learns: its state changes with every step, equally on every rank.

    Keras's global dtype policy stays as it is.

    Args:
        network: the architecture.
        outputs: what its logits mean.
        settings: the optimisation.
        communicator: the ranks.
        feed: gives the batches that it will learn from.
        augmentation: of the feed.
        transfer: which stages rest or learn slowly.
    """

    def __init__(
        self,
        network: NetworkSettings,
        outputs: NetworkOutputs,
        settings: TrainingSettings,
        communicator: Communicator,
        feed: Feed,
        augmentation: AugmentationSettings,
        transfer: TransferSettings,
    ) -> None:
        self._settings, self._transfer = settings, transfer
        self._batch_shape, self.outputs = feed.batch_shape, outputs
        on_device = feed.sends_draws
        self._augmentation = (
            DeviceAugmentation(augmentation, feed.input_shape, settings.array_dtype) if on_device else None
        )
        with dtype_policy(settings.dtype):  # of this network; what else is built in the process has its own
            model = build_network(network, feed.channels, outputs.num_outputs, seed=settings.seed)
            self.model = (
                synchronised(model, communicator) if communicator.world_size > 1 and _has_batch_norm(model) else model
            )
            if settings.accumulation_steps > 1 and _has_batch_norm(model):
                raise ConfigurationError(
                    f"{network.architecture} normalises over the whole batch, which training.accumulation_steps="
                    f"{settings.accumulation_steps} never has at once; use accumulation_steps=1"
                )
            _check_coarse_outputs(network, self.model, feed.input_shape[:-1])
            self.network = prediction_network(self.model)
            if settings.autoencoder:
                self.model = _with_autoencoder(self.model, feed.input_shape[:-1], settings)
            self._stages = stages(self.model) if transfer.names else {}
            self._always_resting = tuple(
                layer.name for layer in self.model.layers if layer.weights and not layer.trainable
            )  # a network of the user's own may have such
            factors = rate_factors(transfer.learning_rate_factors, self.model, self._stages)
            optimizer = build_optimizer(settings, self.model, rate_factors=factors)
            self._variables = self.model.trainable_variables  # before any is frozen
            optimizer.build(self._variables)
            self.optimizer = DistributedOptimizer(
                optimizer, communicator=communicator, reduction="sum", compression=settings.compression
            )
            loss = build_loss(
                settings.loss,
                outputs.num_outputs,
                class_weights=settings.class_weights,
                focal_gamma=settings.focal_gamma,
                tversky_alpha=settings.tversky_alpha,
                tversky_beta=settings.tversky_beta,
                regions=outputs.loss_regions,
                communicator=communicator,
                options=settings.loss_options,
            )
            self._loss = PenalisedLoss(loss) if settings.autoencoder else loss
            self.predict = build_predict(self.network, outputs)
            self.probabilities = build_probabilities(self.network, outputs)
        # on a GPU a sum that is asked for is not one that is waited for: there compute and exchange are told together
        self._is_timed = communicator.world_size > 1 and not has_gpu()
        self._resting: tuple[str, ...] | None = None
        self._step: TrainingStep | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Let the stages rest that do so in this epoch.

        Args:
            epoch: 0-based.
        """
        resting = self._transfer.frozen_in(epoch)
        if self._step is not None and resting == self._resting:
            return
        if self._transfer.frozen_stages:
            freeze_stages(self.model, (*resting, *self._always_resting), self._stages)
        self._resting = resting
        self._step = TrainingStep(
            self.model,
            self._loss,
            self.optimizer,
            self._settings,
            self._batch_shape,
            self._augmentation,
            is_timed=self._is_timed,
        )

    def step(self, batch: Batch, *, learning_rate: float, votes: np.ndarray) -> StepOutcome:
        """Take one step of descent.

        Args:
            batch: this rank's share.
            learning_rate: the rate of this step.
            votes: (VOTES,), what this rank has been asked for.
        """
        if self._step is None:
            raise RuntimeError("an epoch must begin before its first step; call begin_epoch")
        return self._step(batch, learning_rate=learning_rate, votes=votes)

    def averaged(self) -> AbstractContextManager[None]:
        """Let the network have its averaged weights for a while, where there is an average."""
        return averaged_weights(self.optimizer, self._variables)

    def weights(self) -> Iterator[np.ndarray]:
        """Give the network's variables, in order; the state of Keras's random generators is among them."""
        return (np.asarray(variable.numpy()) for variable in self.model.variables)

    def slots(self) -> Iterator[np.ndarray]:
        """Give the optimizer's variables, in order."""
        return (np.asarray(variable.numpy()) for variable in self.optimizer.variables)

    def restore(self, weights: Sequence[np.ndarray], slots: Sequence[np.ndarray]) -> None:
        """Go back to a state of `weights` and `slots`.

        Raises:
            CheckpointError: they are another network's or optimizer's.
        """
        _assign(self.model.variables, weights)
        _assign(self.optimizer.variables, slots)


def _has_batch_norm(model: Any) -> bool:
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in model._flatten_layers())


def _with_autoencoder(model: Any, size: tuple[int, ...], settings: TrainingSettings) -> Any:
    """Give the network, of volumes, a branch that draws its input again."""
    from dist_training.architectures.autoencoder import with_autoencoder

    return with_autoencoder(
        model,
        size,
        settings.seed,
        kl_weight=settings.autoencoder_kl_weight,
        l2_weight=settings.autoencoder_l2_weight,
    )


def _check_coarse_outputs(network: NetworkSettings, model: Any, size: tuple[int, ...]) -> None:
    """Refuse slices that are padded to twice their size: a coarse output would be taken for a finer one."""
    for pixels, multiple in zip(size, network.size_multiples, strict=True):
        if len(model.outputs) > 1 and 2 * pixels <= multiple:
            raise ConfigurationError(
                f"deep supervision needs slices of more than {multiple // 2} pixels, as this network pads them to a "
                f"multiple of {multiple}; received {' x '.join(map(str, size))}; use fewer network.blocks, or "
                "network.deep_supervision=false"
            )


def _assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    if [tuple(v.shape) for v in variables] != [tuple(a.shape) for a in values]:
        raise CheckpointError("the checkpoint's arrays have other shapes than this network; train anew")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
