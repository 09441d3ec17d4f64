"""The quotient of norms by which LARS and LAMB scale the step of each layer."""

from __future__ import annotations

from typing import Any

from keras import ops

__all__ = ["norm", "trust_ratio"]


def norm(tensor: Any) -> Any:
    """Give the Euclidean norm over all elements, a scalar of the tensor's dtype."""
    return ops.sqrt(ops.sum(ops.square(tensor)))


def trust_ratio(numerator: Any, denominator: Any) -> Any:
    """Divide two norms; 1 where either is 0, so that a layer that starts at zero can leave it.

    Args:
        numerator: scalar, at least 0.
        denominator: scalar of the same dtype, at least 0.

    Returns:
        A scalar of that dtype.

    >>> from keras import ops
    >>> [float(trust_ratio(ops.convert_to_tensor(a), ops.convert_to_tensor(b))) for a, b in ((3.0, 4.0), (0.0, 4.0))]
    [0.75, 1.0]
    """
    is_defined = ops.logical_and(ops.greater(numerator, 0), ops.greater(denominator, 0))
    one = ops.ones_like(denominator)
    return ops.where(is_defined, numerator / ops.where(is_defined, denominator, one), one)
