"""One optimizer step on all ranks, and the forward pass of validation: the only TensorFlow-specific mathematics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dist_training.augmentation import DeviceAugmentation
from dist_training.communicator import Communicator
from dist_training.feed import Batch
from dist_training.gradients import sum_over_ranks
from dist_training.losses import build_loss
from dist_training.outputs import NetworkOutputs
from dist_training.settings import TrainingSettings

__all__ = ["TrainingStep", "build_predict"]


class TrainingStep:
    """Data-parallel synchronous descent: the loss is the sum over all real slices divided by their number.

    Args:
        model: the network.
        optimizer: a built Keras optimizer.
        settings: loss and seed.
        communicator: the ranks.
        input_shape: (height, width, channels) of every batch.
        augmentation: what is done to a batch before the network sees it; None: nothing.
        regions: bool (classes, outputs), where each output is a region's; None: outputs are classes.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        settings: TrainingSettings,
        communicator: Communicator,
        input_shape: tuple[int, int, int],
        augmentation: DeviceAugmentation | None = None,
        regions: np.ndarray | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._communicator = communicator
        self._dtype = np.dtype(settings.dtype)
        self._seed = settings.seed
        self._generators = [g for layer in model._flatten_layers() for g in _seed_generators(layer)]
        self._function = _compile(model, optimizer, settings, communicator, input_shape, augmentation, regions)

    def __call__(self, batch: Batch, *, step: int, learning_rate: float, is_stop_requested: bool) -> tuple[float, bool]:
        """Take one step.

        Args:
            batch: this rank's share.
            step: 0-based number of the step in the run.
            learning_rate: the rate of this step.
            is_stop_requested: whether this rank has been asked to stop.

        Returns:
            The mean loss over the step's slices of all ranks, and whether any rank has been asked to stop.
        """
        self._seed_dropout(step)
        self._optimizer.learning_rate.assign(learning_rate)
        loss, stop = self._function(
            batch.images,
            batch.classes,
            batch.weights,
            self._dtype.type(1 / batch.global_count),
            self._dtype.type(is_stop_requested),
            *batch.draws,
        ).numpy()
        return float(loss), bool(stop > 0)

    def _seed_dropout(self, step: int) -> None:
        """Draw dropout from (seed, layer, step, rank): it differs between ranks and needs no saving."""
        for number, generator in enumerate(self._generators):
            state = np.random.SeedSequence([self._seed, number, step, self._communicator.rank]).generate_state(2)
            generator.state.assign(state.astype(np.uint32))


def _seed_generators(layer: Any) -> list[Any]:
    generator = getattr(layer, "seed_generator", None)
    return [generator] if generator is not None else []


def _compile(
    model: Any,
    optimizer: Any,
    settings: TrainingSettings,
    communicator: Communicator,
    input_shape: tuple[int, int, int],
    augmentation: DeviceAugmentation | None,
    regions: np.ndarray | None,
) -> Callable[..., Any]:
    import tensorflow as tf

    dtype = tf.as_dtype(settings.dtype)
    compute_loss = build_loss(
        settings.loss,
        model.output_shape[-1],
        class_weights=settings.class_weights,
        focal_gamma=settings.focal_gamma,
        tversky_alpha=settings.tversky_alpha,
        tversky_beta=settings.tversky_beta,
        regions=regions,
        communicator=communicator,
    )
    signature = [
        tf.TensorSpec((None, *input_shape), dtype),
        tf.TensorSpec((None, *input_shape[:2]), tf.int32),
        tf.TensorSpec((None,), dtype),
        tf.TensorSpec((), dtype),
        tf.TensorSpec((), dtype),
        *(tf.TensorSpec((None, *shape), dtype) for shape in (augmentation.draw_shapes if augmentation else ())),
    ]

    def step(images: Any, classes: Any, weights: Any, inverse_count: Any, stop: Any, *draws: Any) -> Any:
        if augmentation is not None:
            images, classes = augmentation(images, classes, draws)
        with tf.GradientTape() as tape:
            loss = compute_loss(model(images, training=True), classes, weights, inverse_count)
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        gradients, scalars = sum_over_ranks(communicator, gradients, tf.stack([loss, stop]))
        optimizer.apply(gradients, model.trainable_variables)
        return scalars

    return tf.function(step, input_signature=signature)


def build_predict(model: Any, outputs: NetworkOutputs | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Compile the forward pass.

    Args:
        model: a network with logits (n, height, width, outputs).
        outputs: what they mean; None: classes.

    Returns:
        A function from images (n, height, width, channels) to class indices (n, height, width).
    """
    import tensorflow as tf

    meaning = outputs or NetworkOutputs.of_classes(max(2, model.output_shape[-1]))

    @tf.function(reduce_retracing=True)
    def forward(images: Any) -> Any:
        return meaning.decode(model(images, training=False))

    return lambda images: forward(tf.convert_to_tensor(images)).numpy()
