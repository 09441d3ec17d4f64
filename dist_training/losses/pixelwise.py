"""Losses that compare pixel by pixel: cross-entropy and focal loss."""

from __future__ import annotations

from typing import Any

from dist_training.losses.comparison import Comparison

__all__ = ["pixelwise_loss"]

_LEAST_DOUBT = 1e-30
"""Below this, 1 - p is nothing; at 0 itself, a power of less than 1 would have an infinite slope."""


def pixelwise_loss(comparison: Comparison, gamma: float) -> Any:
    """Mean over a sample's real pixels of -w (1 - p)^gamma log p.

    p is the probability of the reference class and w the weight of that class. gamma = 0 is the cross-entropy;
    otherwise it is the focal loss (Lin et al. 2017, equation 5), whose alpha is w. The sum is divided by the number of
    pixels, not by the sum of their weights: so a pixel counts the same whichever others share its slice or batch, the
    loss stays a sum over samples, and weights that are 1 on the average pixel keep its size. With regions, the mean
    over them, each a binary task.

    Args:
        comparison: N samples.
        gamma: how much less a pixel counts that is predicted well, at least 0.

    Returns:
        (N,), 0 where a sample has no real pixel.
    """
    from keras import ops

    reference = comparison.reference
    surprise = -ops.sum(reference * comparison.log_probabilities, axis=1)
    if gamma > 0:
        # Summed over the other classes, 1 - p keeps its digits where p is almost 1.
        doubt = ops.sum((1 - reference) * comparison.probabilities, axis=1)
        surprise = ops.power(ops.maximum(doubt, _LEAST_DOUBT), gamma) * surprise
    total = ops.sum(surprise * comparison.weights, axis=1)
    means = total / ops.maximum(ops.sum(comparison.real, axis=1), 1)
    if comparison.decisions == 1:
        return means
    samples = ops.shape(means)[0] // comparison.decisions
    return ops.mean(ops.reshape(means, (samples, comparison.decisions)), axis=1)
