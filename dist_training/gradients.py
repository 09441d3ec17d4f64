"""Summing gradients over the ranks: two flat buffers a step, the first on its way while the second is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dist_training.communicator import Communicator

__all__ = ["early_count", "sum_over_ranks"]

EARLY_SHARE = 0.75


def early_count(sizes: Sequence[int], share: float = EARLY_SHARE) -> int:
    """Count the first variables, whose gradients backpropagation reaches last, that go into the second buffer.

    Args:
        sizes: elements of each gradient, in the order of the forward pass.
        share: the least part of all elements that the first buffer, of the last variables, holds.

    Returns:
        A number of variables, less than all of them.

    >>> early_count([10, 10, 60, 20], share=0.75)
    2
    """
    wanted, held = share * sum(sizes), 0
    for position in reversed(range(len(sizes))):
        held += sizes[position]
        if held >= wanted:
            return position
    return 0


def sum_over_ranks(communicator: Communicator, gradients: Sequence[Any], scalars: Any) -> tuple[list[Any], Any]:
    """Sum a step's gradients and scalars over the ranks; works inside ``tf.function``.

    The gradients of the last variables, which backpropagation gives first, travel in one buffer while those of
    the first variables are still being computed; these follow in a second one, with the scalars. What lies in
    which buffer never changes, so neither does the order of additions (Horovod's own fusion, which the
    communicator turns off, lays tensors out by when they are ready).

    Args:
        communicator: the ranks.
        gradients: dense tensors of one dtype, of the same shapes on every rank, in the order of the forward pass.
        scalars: tensor (k,) of the same dtype: figures that the ranks agree on in the same exchange.

    Returns:
        The summed gradients, in the shapes received, and the summed scalars (k,).
    """
    if communicator.world_size == 1:
        return list(gradients), scalars
    cut = early_count([gradient.shape.num_elements() for gradient in gradients])
    late = _sum_flat(communicator, gradients[cut:])
    *early, scalars = _sum_flat(communicator, [*gradients[:cut], scalars])
    return [*early, *late], scalars


def _sum_flat(communicator: Communicator, tensors: Sequence[Any]) -> list[Any]:
    import tensorflow as tf

    flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)
    parts = tf.split(communicator.sum_tensor(flat), [tensor.shape.num_elements() for tensor in tensors])
    return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
