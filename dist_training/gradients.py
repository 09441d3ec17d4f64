"""Summing gradients over the ranks: one flat buffer, one collective a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dist_training.communicator import Communicator

__all__ = ["sum_over_ranks"]


def sum_over_ranks(communicator: Communicator, gradients: Sequence[Any], scalars: Any) -> tuple[list[Any], Any]:
    """Sum a step's gradients and scalars over the ranks, in one collective; works inside ``tf.function``.

    One buffer keeps the order of additions fixed (Horovod's own fusion lays tensors out by when they are
    ready) and is faster than a reduction for each variable.

    Args:
        communicator: the ranks.
        gradients: dense tensors of one dtype, of the same shapes on every rank.
        scalars: tensor (k,) of the same dtype: figures that the ranks agree on in the same exchange.

    Returns:
        The summed gradients, in the shapes received, and the summed scalars (k,).
    """
    import tensorflow as tf

    if communicator.world_size == 1:
        return list(gradients), scalars
    sizes = [gradient.shape.num_elements() for gradient in gradients]
    flat = tf.concat([*(tf.reshape(gradient, [-1]) for gradient in gradients), scalars], axis=0)
    parts = tf.split(communicator.sum_tensor(flat), [*sizes, scalars.shape[0]])
    summed = [tf.reshape(part, gradient.shape) for part, gradient in zip(parts, gradients, strict=False)]
    return summed, parts[-1]
