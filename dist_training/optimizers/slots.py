"""What is done to an optimizer's slots between steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from dist_training.optimizers.lars import Lars

__all__ = ["averaged_weights", "momentum_correction"]


def momentum_correction(optimizer: Any, old_rate: Any, new_rate: Any) -> None:
    """Scale the momentum to a new learning rate, before the first step at that rate.

    The velocities of Keras's SGD and of LARS contain the rate: v = m v + rate * g. Where the rate changes, they are
    multiplied by new / old, so that the velocity is what it would be had all gradients come at the new rate
    (Goyal et al. 2017, arXiv 1706.02677, section 3, remark 2). Other optimizers keep their moments free of the rate:
    nothing happens to them. Nor does it after a rate of 0, which has left no velocity to scale.

    Args:
        optimizer: a built Keras optimizer, or one within a ``LossScaleOptimizer``; its slots change.
        old_rate: the rate of the step before, at least 0: a number or, in a compiled step (which takes a quarter of
            the time), a scalar tensor or variable.
        new_rate: the rate of the step to come, likewise.

    >>> import keras
    >>> optimizer, weight = keras.optimizers.SGD(0.1, momentum=0.9), keras.Variable([0.0])
    >>> optimizer.apply([keras.ops.convert_to_tensor([1.0])], [weight])
    >>> momentum_correction(optimizer, old_rate=0.1, new_rate=0.2)
    >>> round(float(optimizer.momentums[0][0]), 3)
    -0.2
    """
    inner = _innermost(optimizer)
    if not isinstance(inner, keras.optimizers.SGD | Lars):
        return
    for momentum in inner.momentums:
        old, new = (ops.convert_to_tensor(rate, dtype=momentum.dtype) for rate in (old_rate, new_rate))
        had_rate = ops.greater(old, 0)
        factor = ops.where(had_rate, new / ops.where(had_rate, old, 1), 1)
        momentum.assign(momentum * factor)


@contextmanager
def averaged_weights(optimizer: Any, variables: Sequence[Any]) -> Iterator[None]:
    """Put the moving average of the weights into the network for as long as the context lasts.

    What is validated and saved as the model is the average; what is trained on, and goes into a checkpoint, are the
    weights themselves, which come back bit for bit. Without ``use_ema``, or before the first step, nothing changes.
    Moving statistics of batch normalisation stay those of the weights: the optimizer averages trainable variables only.

    Args:
        optimizer: one that was built with these variables.
        variables: those of the network that the optimizer was built with; some may be frozen by now.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    >>> optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.75)
    >>> for gradient in (1.0, 4.0):
    ...     optimizer.apply([keras.ops.full((1, 1), gradient)], model.trainable_variables)
    >>> with averaged_weights(optimizer, model.trainable_variables):  # 0.75 * -1 + 0.25 * -5
    ...     print(float(model.weights[0][0, 0]))
    -2.0
    >>> float(model.weights[0][0, 0])
    -5.0
    """
    inner = _innermost(optimizer)
    if not inner.use_ema or int(inner.iterations) == 0:
        yield
        return
    kept = [ops.convert_to_numpy(variable).copy() for variable in variables]
    inner.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)


def _innermost(optimizer: Any) -> Any:
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer
