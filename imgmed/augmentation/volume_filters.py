"""Blur and coarsening of a patch: for each axis one matrix, so that both together cost one product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["filtered"]

REACH = 4.0
"""Standard deviations of a Gaussian that are summed, as SciPy does."""


def filtered(patch: np.ndarray, blur: Sequence[float], coarsening: Sequence[float]) -> np.ndarray:
    """Blur a patch, then coarsen its voxels and make them fine again; it goes on at its border.

    Coarse voxels take the value nearest to their centres, and fine ones lie linearly between these centres, as where
    nnU-Net 2 simulates low resolution.

    Args:
        patch: float32 (slices, rows, columns, channels); not altered.
        blur: standard deviation of a Gaussian in voxels along slices, rows, columns; 0: none.
        coarsening: factors along the same; 1: none.

    Returns:
        float32 of the same shape; `patch` itself where there is nothing to do.
    """
    for axis, (sigma, factor) in enumerate(zip(blur, coarsening, strict=True)):
        if sigma > 0 or factor != 1:
            weights = _weights(patch.shape[axis], sigma, factor)
            patch = np.moveaxis(np.tensordot(weights, patch, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(patch)


def _weights(length: int, sigma: float, factor: float) -> np.ndarray:
    """Give the weights (length, length) float32 of the voxels of an axis in each voxel that comes of them."""
    weights = np.eye(length)
    if sigma > 0:
        weights = _gaussian(length, sigma)
    if factor != 1:
        weights = _coarsening(length, factor) @ weights
    return weights.astype(np.float32)


def _gaussian(length: int, sigma: float) -> np.ndarray:
    """Weights of a Gaussian; what lies beyond the border is the voxel at it."""
    reach = int(REACH * sigma + 0.5)
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    weights = np.zeros((length, length))
    places = np.clip(np.arange(length)[:, np.newaxis] + steps, 0, length - 1)
    np.add.at(weights, (np.arange(length)[:, np.newaxis], places), kernel / kernel.sum())
    return weights


def _coarsening(length: int, factor: float) -> np.ndarray:
    """Weights of the voxels that `factor` times larger ones keep, between whose centres the others lie."""
    count = max(1, round(length / factor))
    kept = ((np.arange(count) + 0.5) * length / count).astype(np.intp)
    places = np.clip((np.arange(length) + 0.5) * count / length - 0.5, 0, count - 1)
    low = places.astype(np.intp)
    high, part = np.minimum(low + 1, count - 1), places - low
    weights, rows = np.zeros((length, length)), np.arange(length)
    np.add.at(weights, (rows, kept[low]), 1 - part)
    np.add.at(weights, (rows, kept[high]), part)
    return weights
