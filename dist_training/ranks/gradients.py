"""Summing gradients over the ranks: a few flat buffers a step, whose layout never changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dist_training.ranks.communicator import Communicator
from dist_training.settings import Compression

__all__ = ["ExchangeClock", "buffer_layout", "early_count", "sum_over_ranks"]

EARLY_SHARE = 0.75

FP16_LIMIT = 2.0**15
"""What no compressed sum exceeds: half of the largest number in half precision, the other half is for rounding."""

_LEAST_BOUND = 1e-30
"""Gradients below this are not scaled: the factor would overflow."""


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


def buffer_layout(sizes: Sequence[int], dtypes: Sequence[str]) -> list[list[int]]:
    """Say which gradients travel together: two buffers for each dtype, the one of the last variables first.

    Args:
        sizes: elements of each gradient, in the order of the forward pass.
        dtypes: the dtype in which each of them travels.

    Returns:
        The positions of the gradients in each buffer, in the order of their sending.

    >>> buffer_layout([10, 10, 60, 20, 5], ["float32", "float32", "float32", "float32", "float64"])
    [[2, 3], [0, 1], [4]]
    """
    buffers = []
    for dtype in sorted(set(dtypes)):
        group = [position for position, other in enumerate(dtypes) if other == dtype]
        cut = early_count([sizes[position] for position in group])
        buffers += [group[cut:], group[:cut]]
    return [buffer for buffer in buffers if buffer]


class ExchangeClock:
    """How long a rank waits for the sums of a step: from its last buffer's being ready to the last sum's being there.

    What travels while gradients are still being computed costs no time, and is none. It only looks: what is computed,
    and in which order, stays as it is.
    """

    def __init__(self) -> None:
        self._buffers: list[Any] = []
        self._sums: list[Any] = []

    def watch(self, buffer: Any, total: Any) -> None:
        """Take note of a buffer, and of its sum."""
        self._buffers.append(buffer)
        self._sums.append(total)

    def added_to(self, scalars: Any) -> Any:
        """Give scalars (k,) with the seconds behind them (k + 1,); 0 where nothing was exchanged."""
        import tensorflow as tf

        if not self._sums:
            return tf.concat([scalars, tf.zeros([1], scalars.dtype)], axis=0)
        with tf.control_dependencies(self._buffers):
            begin = tf.timestamp()
        with tf.control_dependencies([begin, *self._sums]):
            seconds = tf.timestamp() - begin
        return tf.concat([scalars, tf.reshape(tf.cast(seconds, scalars.dtype), [1])], axis=0)


def sum_over_ranks(
    communicator: Communicator,
    gradients: Sequence[Any],
    scalars: Any = None,
    *,
    compression: Compression = "none",
    clock: ExchangeClock | None = None,
) -> tuple[list[Any], Any]:
    """Sum a step's gradients and scalars over the ranks; works inside ``tf.function``.

    The gradients of the last variables, which backpropagation gives first, travel in one buffer while those of
    the first variables are still being computed; these follow in a second one, with the scalars. What lies in
    which buffer never changes, so neither does the order of additions (Horovod's own fusion, which the
    communicator turns off, lays tensors out by when they are ready).

    With ``compression`` "fp16" the gradients travel in half precision. Each is first scaled so that no sum can
    overflow and little is lost below: by the sum over the ranks of its largest magnitudes, which takes an exchange of
    one number a gradient, with the scalars, before. A gradient that is not finite stays so, on every rank.

    Args:
        communicator: the ranks.
        gradients: dense tensors of fully known shapes, the same on every rank, in the order of the forward pass;
            None for a variable that the loss does not depend on. 16-bit ones are summed in float32.
        scalars: tensor (k,), float32 or float64: figures that the ranks agree on in the same exchange, never
            compressed; None: there are none.
        compression: "none" or "fp16".
        clock: watches the exchange.

    Returns:
        The summed gradients, in the shapes and dtypes received, and the summed scalars (k,) or None.
    """
    if communicator.world_size == 1:
        return list(gradients), scalars
    import tensorflow as tf

    present = [gradient for gradient in gradients if gradient is not None]
    # Horovod pairs tensors by name: in a scope of their own, names do not depend on what else the graph holds,
    # which may differ between ranks (a last batch of another size is traced again on its rank alone).
    with tf.name_scope("sum_over_ranks"):
        add = _sum_compressed if compression == "fp16" else _sum_exactly
        summed, scalars = add(communicator, present, scalars, clock)
    results = iter(summed)
    return [None if gradient is None else next(results) for gradient in gradients], scalars


def _sum_exactly(
    communicator: Communicator, tensors: Sequence[Any], scalars: Any, clock: ExchangeClock | None
) -> tuple[list[Any], Any]:
    # First, because the scalars are ready late, as the gradients of the first variables are.
    tensors = [*([] if scalars is None else [scalars]), *tensors]
    dtypes = ["float64" if tensor.dtype == "float64" else "float32" for tensor in tensors]
    summed: list[Any] = [None] * len(tensors)
    for buffer in buffer_layout([tensor.shape.num_elements() for tensor in tensors], dtypes):
        sums = _sum_flat(communicator, [tensors[position] for position in buffer], dtypes[buffer[0]], clock)
        for position, total in zip(buffer, sums, strict=True):
            summed[position] = total
    return (summed, None) if scalars is None else (summed[1:], summed[0])


def _sum_compressed(
    communicator: Communicator, tensors: Sequence[Any], scalars: Any, clock: ExchangeClock | None
) -> tuple[list[Any], Any]:
    import tensorflow as tf

    if not tensors:
        return _sum_exactly(communicator, tensors, scalars, clock)
    bounds = tf.stack([tf.cast(tf.reduce_max(tf.abs(tensor)), tf.float32) for tensor in tensors])
    (bounds,), scalars = _sum_exactly(communicator, [bounds], scalars, None)
    # A division, which rounds alike everywhere; a power of two by tf.pow need not, and ranks would drift apart.
    scales = tf.unstack(FP16_LIMIT / tf.where(bounds > _LEAST_BOUND, bounds, FP16_LIMIT))
    scaled = [tensor * tf.cast(scale, tensor.dtype) for tensor, scale in zip(tensors, scales, strict=True)]
    summed = _sum_flat(communicator, scaled, "float16", clock)
    return [total / tf.cast(scale, total.dtype) for total, scale in zip(summed, scales, strict=True)], scalars


def _sum_flat(communicator: Communicator, tensors: Sequence[Any], dtype: str, clock: ExchangeClock | None) -> list[Any]:
    """Sum tensors in one buffer of a dtype, and give them back in their own."""
    import tensorflow as tf

    flat = tf.concat([tf.reshape(tf.cast(tensor, dtype), [-1]) for tensor in tensors], axis=0)
    total = communicator.sum_tensor(flat)
    if clock is not None:
        clock.watch(flat, total)
    parts = tf.split(total, [tensor.shape.num_elements() for tensor in tensors])
    return [tf.reshape(tf.cast(part, tensor.dtype), tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
