"""Losses that compare areas: Tversky's index, of which the soft Dice is a special case."""

from __future__ import annotations

from typing import Any

from dist_training.losses.comparison import Comparison

__all__ = ["DICE_SMOOTHING_PIXELS", "area_loss", "areas", "overlap_loss"]

DICE_SMOOTHING_PIXELS = 1.0
"""Added to numerator and denominator of the soft Dice; see ``overlap_loss``."""


def areas(comparison: Comparison) -> Any:
    """Measure what prediction p and reference y share, and each of them, over a sample's real pixels.

    Args:
        comparison: N samples.

    Returns:
        (N, F, 3): sum(p y), sum(p), sum(y) for each of F foreground classes or regions.
    """
    from keras import ops

    foreground, reference = comparison.probabilities[:, 1:], comparison.reference[:, 1:]
    shared = ops.sum(foreground * reference, axis=2)
    predicted = ops.sum(foreground * comparison.real[:, None], axis=2)
    sums = ops.stack([shared, predicted, ops.sum(reference, axis=2)], axis=-1)
    if comparison.decisions == 1:
        return sums
    return ops.reshape(sums, (ops.shape(sums)[0] // comparison.decisions, comparison.figures, 3))


def area_loss(comparison: Comparison, alpha: float, beta: float) -> Any:
    """``overlap_loss`` of each of N samples by itself, (N,)."""
    return overlap_loss(areas(comparison), alpha, beta)


def overlap_loss(sums: Any, alpha: float, beta: float) -> Any:
    """One minus Tversky's index of each foreground class or region, averaged over them (Salehi et al. 2017, eq. 3).

    The index is (shared + s) / (shared + alpha (predicted - shared) + beta (reference - shared) + s), s half a pixel.
    With alpha = beta = 1/2 that is the soft Dice (Milletari et al. 2016, unsquared) of smoothing 2 s. A class that the
    reference lacks thus costs nothing when it is not predicted either, and more with every pixel that is; without s
    it would cost all or nothing and teach nothing.

    Args:
        sums: (..., F, 3) as ``areas`` gives them, or their sums over samples and ranks.
        alpha: weight of false positives.
        beta: weight of false negatives.

    Returns:
        (...), from 0 to 1.
    """
    from keras import ops

    shared, predicted, reference = (sums[..., figure] for figure in range(3))
    smoothing = DICE_SMOOTHING_PIXELS / 2
    missed = alpha * (predicted - shared) + beta * (reference - shared)
    return 1 - ops.mean((shared + smoothing) / (shared + missed + smoothing), axis=-1)
