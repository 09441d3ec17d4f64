"""One optimizer step on all ranks, and the forward pass of validation: the only TensorFlow-specific mathematics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dist_training.architectures.sample_draws import sample_seeds
from dist_training.inference.outputs import NetworkOutputs
from dist_training.inputs.augmentation import DeviceAugmentation
from dist_training.inputs.feed import Batch, rank_share
from dist_training.losses import Loss, OwnLoss, PenalisedLoss
from dist_training.optimizers import momentum_correction
from dist_training.ranks.synchronised import sample_weights
from dist_training.settings import TrainingSettings
from dist_training.stopping.control import VOTES
from r2d2_base.errors import ConfigurationError

__all__ = ["StepOutcome", "TrainingStep", "build_predict", "build_probabilities"]


@dataclass(frozen=True)
class StepOutcome:
    """What a step gives, equal on every rank.

    Attributes:
        loss: mean over the step's slices of all ranks.
        votes: (VOTES,), the ranks' votes, summed.
        exchanged_s: seconds in which this rank had its gradients and waited for their sums; of this rank alone, 0 where
            that is not told.
    """

    loss: float
    votes: np.ndarray
    exchanged_s: float = 0.0


class TrainingStep:
    """Data-parallel synchronous descent: the loss is the sum over all real slices divided by their number.

    Args:
        model: the network.
        loss: of its logits.
        optimizer: a built `DistributedOptimizer` that sums over the ranks.
        settings: precision and accumulation.
        input_shape: (height, width, channels) of every batch, of volumes (depth, height, width, channels).
        augmentation: what is done to a batch before the network sees it; None: nothing.
        is_timed: whether to tell how long the exchange takes.
    """

    def __init__(
        self,
        model: Any,
        loss: Loss | OwnLoss | PenalisedLoss,
        optimizer: Any,
        settings: TrainingSettings,
        input_shape: tuple[int, ...],
        augmentation: DeviceAugmentation | None = None,
        is_timed: bool = False,
    ) -> None:
        self._is_timed = is_timed
        self._model, self._optimizer, self._augmentation = model, optimizer, augmentation
        self._dtype = np.dtype(settings.array_dtype)
        self._parts = settings.accumulation_steps
        self._has_correction = settings.momentum_correction
        self._loss = loss
        self._whole, self._part, self._apply = self._compiled(input_shape)

    def __call__(self, batch: Batch, *, learning_rate: float, votes: np.ndarray) -> StepOutcome:
        """Take one step.

        Args:
            batch: this rank's share.
            learning_rate: the rate of this step.
            votes: (VOTES,), what this rank has been asked for.
        """
        scale = self._dtype.type(1 / batch.global_count)
        cast_votes, rate = votes.astype(self._dtype), self._dtype.type(learning_rate)
        parts = _parts(batch, self._parts)
        if len(parts) == 1:
            return _outcome(self._whole(*parts[0], scale, cast_votes, rate).numpy())
        loss, gradients = self._part(*parts[0], scale)
        for part in parts[1:]:
            more, others = self._part(*part, scale)
            pairs = zip(gradients, others, strict=True)  # None where the loss does not depend on a variable
            loss, gradients = loss + more, [None if one is None else one + other for one, other in pairs]
        return _outcome(self._apply(gradients, loss, cast_votes, rate).numpy())

    def _compiled(
        self, input_shape: tuple[int, ...]
    ) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
        """Give a whole step, the gradients of a part of one, and what is done with the parts' sum."""
        import tensorflow as tf

        dtype = tf.as_dtype(self._dtype)
        drawn = self._augmentation.draw_shapes if self._augmentation is not None else ()
        part = [
            tf.TensorSpec((None, *input_shape), dtype),
            tf.TensorSpec((None, *input_shape[:-1]), tf.int32),
            tf.TensorSpec((None,), dtype),
            tf.TensorSpec((None,), tf.uint32),
            *(tf.TensorSpec((None, *shape), dtype) for shape in drawn),
        ]
        scale, votes = tf.TensorSpec((), dtype), tf.TensorSpec((VOTES,), dtype)

        def whole(*arguments: Any) -> Any:
            *arrays, inverse_count, asked, rate = arguments
            loss, gradients = self._gradients(*arrays, inverse_count)
            return self._descend(gradients, loss, asked, rate)

        return (
            _traced(whole, input_signature=[*part, scale, votes, scale]),
            _traced(self._gradients, input_signature=[*part, scale]),
            _traced(self._descend),
        )

    def _gradients(self, images: Any, classes: Any, weights: Any, seeds: Any, *rest: Any) -> tuple[Any, list[Any]]:
        """Give the part of the loss that these samples are, and its gradients."""
        import tensorflow as tf

        *draws, inverse_count = rest
        if self._augmentation is not None:
            images, classes = self._augmentation(images, classes, draws)
        variables = [variable.value for variable in self._model.trainable_variables]
        with tf.GradientTape() as tape, sample_seeds(seeds), sample_weights(weights):
            try:
                loss = self._loss(self._model(images, training=True), classes, weights, inverse_count)
            except tf.errors.OperatorNotAllowedInGraphError as error:
                raise ConfigurationError(
                    "a network or loss of your own decides by the values of a tensor, with if, while or for; use "
                    f"keras.ops.where or keras.ops.cond ({str(error).splitlines()[0]})"
                ) from error
            loss += self._added_losses(tf.reduce_sum(weights) * inverse_count, loss.dtype)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, variables)
        if all(gradient is None for gradient in gradients):
            raise ConfigurationError(
                "the loss does not change with the network's weights: argmax and rounding, for one, have no slope; use "
                "probabilities"
            )
        return loss, gradients

    def _added_losses(self, share: Any, dtype: Any) -> Any:
        """Give the part that these samples have in what the network adds to the loss: regularisers, ``add_loss``.

        Keras has these as means over a batch: weighed by its share of the step, they add up to that of the step.
        """
        import tensorflow as tf

        added = [tf.cast(tf.reduce_sum(loss), dtype) for loss in self._model.losses]
        return share * tf.add_n(added) if added else tf.zeros((), dtype)

    def _descend(self, gradients: Sequence[Any], loss: Any, votes: Any, learning_rate: Any) -> Any:
        """Sum over the ranks, change the weights, and give the summed loss and votes."""
        import tensorflow as tf

        if self._has_correction:  # the rate before lies in the optimizer's state, and so in its checkpoints
            momentum_correction(self._optimizer, self._optimizer.learning_rate, learning_rate)
        self._optimizer.learning_rate.assign(learning_rate)
        scalars = tf.concat([tf.reshape(loss, [1]), votes], axis=0)
        return self._optimizer.apply_with_scalars(
            gradients, self._model.trainable_variables, scalars, is_timed=self._is_timed
        )


def _outcome(figures: np.ndarray) -> StepOutcome:
    """Read what `TrainingStep._descend` gives: loss, votes, and seconds of exchange where these are told."""
    loss, votes, rest = figures[0], figures[1 : 1 + VOTES], figures[1 + VOTES :]
    return StepOutcome(float(loss), votes, float(rest[0]) if rest.size else 0.0)


def _parts(batch: Batch, count: int) -> list[tuple[np.ndarray, ...]]:
    """Cut a share into at most this many parts, none of them empty."""
    arrays = (batch.images, batch.classes, batch.weights, batch.sample_seeds, *batch.draws)
    size = len(batch.images)
    shares = [rank_share(size, part, min(count, size)) for part in range(min(count, size))]
    return [tuple(array[share] for array in arrays) for share in shares]


def build_predict(model: Any, outputs: NetworkOutputs) -> Callable[[np.ndarray], np.ndarray]:
    """Compile the forward pass.

    Args:
        model: a network with logits (n, height, width, num_outputs).
        outputs: what these mean.

    Returns:
        A function from images (n, height, width, channels) to class indices (n, height, width).
    """
    import tensorflow as tf

    def decode(images: Any) -> Any:
        return tf.cast(outputs.decode(model(images, training=False)), tf.int32)

    forward = _traced(decode, reduce_retracing=True)
    return lambda images: forward(tf.convert_to_tensor(images)).numpy()


def build_probabilities(model: Any, outputs: NetworkOutputs) -> Callable[[np.ndarray], np.ndarray]:
    """Compile the forward pass to what windows are blended from.

    Args:
        model: a network with logits (n, ..., num_outputs).
        outputs: what these mean.

    Returns:
        A function from images (n, ..., channels) to probabilities (n, ..., num_outputs).
    """
    import tensorflow as tf

    forward = _traced(lambda images: model(images, training=False), reduce_retracing=True)
    return lambda images: outputs.probabilities(forward(tf.convert_to_tensor(images)).numpy())


def _traced(function: Callable[..., Any], **options: Any) -> Any:
    """Compile by running it once: rewriting its source first (AutoGraph) takes a third of the start of a training."""
    import tensorflow as tf

    return tf.function(function, autograph=False, **options)
