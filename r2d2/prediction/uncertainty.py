"""How sure networks are of each voxel, and one number that tells which cases to look at."""

from __future__ import annotations

import numpy as np

from dist_training.inference.outputs import NetworkOutputs

__all__ = ["case_uncertainty", "entropy"]

TINY = np.float32(1e-12)


def entropy(probabilities: np.ndarray, outputs: NetworkOutputs) -> np.ndarray:
    """Return the entropy of what a network says of each pixel, as a part of the largest that it can be.

    Args:
        probabilities: (..., outputs).
        outputs: classes, of which one is right, or regions, each of which has an entropy of its own: their mean.

    Returns:
        float32 (...), from 0 (sure) to 1 (all is equally likely).

    >>> outputs = NetworkOutputs.of_classes(4)
    >>> entropy(np.array([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]]), outputs).tolist()
    [1.0, 0.0]
    """
    if outputs.is_softmax:
        terms = probabilities * np.log(np.maximum(probabilities, TINY))
        return np.abs(terms.sum(axis=-1) / np.log(probabilities.shape[-1])).astype(np.float32)
    others = 1 - probabilities
    terms = probabilities * np.log(np.maximum(probabilities, TINY)) + others * np.log(np.maximum(others, TINY))
    return np.abs(terms.mean(axis=-1) / np.log(2)).astype(np.float32)


def case_uncertainty(uncertainty: np.ndarray, label_map: np.ndarray) -> float | None:
    """Return the uncertainty of a whole case: that of all voxels together, for each voxel of a structure.

    The voxels of doubt lie along surfaces, and are the more the larger a structure is: its voxels are what they are
    compared with.

    Args:
        uncertainty: float32 (i, j, k).
        label_map: (i, j, k), 0 for background.

    Returns:
        None where there is no structure at all.
    """
    structures = int(np.count_nonzero(label_map))
    return float(uncertainty.sum(dtype=np.float64) / structures) if structures else None
