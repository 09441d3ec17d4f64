"""Batch normalisation with the statistics of the whole batch, however it is spread over the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

from dist_training.ranks.communicator import Communicator, join_job
from r2d2_base.errors import ConfigurationError

__all__ = ["SyncBatchNormalisation", "sample_weights", "synchronised"]

_SAMPLE_WEIGHTS: ContextVar[Any] = ContextVar("sample_weights", default=None)


@contextmanager
def sample_weights(weights: Any) -> Iterator[None]:
    """Say which samples of a batch are real, for the time of a call of the network.

    A rank whose share is empty sends a batch of padding through the network, so that it can join every exchange.
    Padding is left out of all ``SyncBatchNormalisation`` within.

    Args:
        weights: tensor (N,) of the batch that the network is called on: 0 for padding, any other number for a sample.

    >>> layer = SyncBatchNormalisation(epsilon=0.0)
    >>> with sample_weights(ops.array([1.0, 1.0, 0.0])):
    ...     print(layer(ops.array([[1.0], [3.0], [99.0]]), training=True).numpy()[:2, 0])
    [-1.  1.]
    """
    token = _SAMPLE_WEIGHTS.set(weights)
    try:
        yield
    finally:
        _SAMPLE_WEIGHTS.reset(token)


class SyncBatchNormalisation(keras.layers.BatchNormalization):
    """``keras.layers.BatchNormalization`` over the samples of all ranks (Ioffe and Szegedy 2015), forward and backward.

    Each rank gives the count, mean and sum of squared deviations of its real values; those of the whole batch follow
    from them (Chan, Golub and LeVeque 1983, equation 2.1) with one exchange forward and one backward. The variance is
    the biased one, as in Keras; values that Keras's ``mask`` argument or ``sample_weights`` exclude are not in it.
    With several ranks the gradients must be summed or averaged over them afterwards, as ``DistributedOptimizer`` does.

    It is saved as the ``keras.layers.BatchNormalization`` that it is on one rank, with the same weights, and loads
    without this package; ``synchronised`` gives a loaded model this layer again.

    Args:
        communicator: the ranks; None joins the job that this process was started in.
        options: of ``keras.layers.BatchNormalization``: axis, momentum, epsilon ...

    >>> layer = SyncBatchNormalisation(momentum=0.5, epsilon=0.0)
    >>> print(layer(ops.array([[1.0], [3.0]]), training=True).numpy()[:, 0], layer.moving_mean.numpy())
    [-1.  1.] [1.]
    """

    def __init__(self, *, communicator: Communicator | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._communicator = communicator or join_job()

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The layer that Keras saves, and names its weights after."""
        return keras.layers.BatchNormalization

    def _moments(self, inputs: Any, mask: Any) -> tuple[Any, Any]:
        """Give the mean and biased variance (channels,) over the ranks; Keras's layer asks for them here."""
        real, axes = self._real(inputs, mask), self._reduction_axes
        values = inputs if real is None else ops.where(real, inputs, 0)
        count = ops.sum(ops.ones_like(inputs) if real is None else ops.cast(real, inputs.dtype), axes)
        mean = ops.sum(values, axes) / ops.maximum(count, 1)
        deviations = values - self._along_channels(mean, inputs)
        deviations = deviations if real is None else ops.where(real, deviations, 0)
        counts, means, squares = self._gather(ops.stack([count, mean, ops.sum(deviations * deviations, axes)]))
        total = ops.maximum(ops.sum(counts, 0), 1)
        global_mean = ops.sum(counts * means, 0) / total
        between = ops.sum(counts * ops.square(means - global_mean), 0)
        return global_mean, (ops.sum(squares, 0) + between) / total

    def _gather(self, statistics: Any) -> list[Any]:
        """Give (3, channels) of every rank as three tensors (ranks, channels): a sum with zeros, so exact."""
        rank, world_size = self._communicator.rank, self._communicator.world_size
        row = ops.reshape(ops.one_hot(rank, world_size, dtype=statistics.dtype), (world_size, 1, 1))
        with keras.name_scope("gather_statistics"):  # see gradients.sum_over_ranks
            rows = self._communicator.sum_tensor(row * statistics)
        return [rows[:, number] for number in range(3)]

    def _real(self, inputs: Any, mask: Any) -> Any:
        """Tell which values count, as booleans of the inputs' shape; None: all do."""
        weights = _SAMPLE_WEIGHTS.get()
        if weights is None and mask is None:
            return None
        real = ops.ones((1,) * len(inputs.shape), "bool")
        if weights is not None:
            per_sample = ops.reshape(ops.not_equal(weights, 0), (-1,) + (1,) * (len(inputs.shape) - 1))
            real = ops.logical_and(real, per_sample)
        if mask is not None:
            real = ops.logical_and(real, ops.expand_dims(ops.cast(mask, "bool"), -1))
        return ops.broadcast_to(real, ops.shape(inputs))

    def _along_channels(self, values: Any, inputs: Any) -> Any:
        shape = [1] * len(inputs.shape)
        shape[self.axis] = inputs.shape[self.axis]
        return ops.reshape(values, shape)


def synchronised(model: Any, communicator: Communicator | None = None) -> Any:
    """Copy a network with every batch normalisation in it synchronised over the ranks.

    Args:
        model: a functional or sequential Keras model.
        communicator: the ranks; None joins the job that this process was started in.

    Returns:
        A new network with the same weights; compile it, for a copy of a compiled one has a plain optimizer.

    Raises:
        ConfigurationError: a layer of the user's own makes a batch normalisation within, where none can be put instead.

    >>> plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    >>> [type(layer).__name__ for layer in synchronised(plain).layers]
    ['Dense', 'SyncBatchNormalisation']
    """
    ranks = communicator or join_job()

    def copy(layer: Any) -> Any:
        if isinstance(layer, keras.layers.BatchNormalization):
            return SyncBatchNormalisation(communicator=ranks, **layer.get_config())
        return layer.__class__.from_config(layer.get_config())

    made = keras.models.clone_model(model, clone_function=copy, recursive=True)
    made.set_weights(model.get_weights())
    for layer in made.layers:
        norms = (part for part in layer._flatten_layers() if isinstance(part, keras.layers.BatchNormalization))
        if not all(type(norm) is SyncBatchNormalisation for norm in norms):
            raise ConfigurationError(
                f"the layer {layer.name} makes a BatchNormalization of its own, which several workers would each "
                "compute from their part of a batch; make a dist_training.SyncBatchNormalisation there "
                "(alone, and saved, it is Keras's), or use GroupNormalization or one worker"
            )
    return made
