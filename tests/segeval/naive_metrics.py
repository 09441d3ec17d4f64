"""Metrics as one would first write them down: loops and a KD-tree, sharing nothing with SegEval."""

import itertools
import math

import numpy as np
from scipy.spatial import cKDTree


def count_pairs(reference, prediction, num_classes):
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for true, predicted in zip(np.ravel(reference).tolist(), np.ravel(prediction).tolist(), strict=True):
        matrix[true][predicted] += 1
    return matrix


def overlap(reference, prediction, label):
    """Dice, Jaccard, precision, sensitivity of one label, from sets of voxel positions."""
    a = {tuple(index) for index in np.argwhere(reference == label)}
    b = {tuple(index) for index in np.argwhere(prediction == label)}
    if not a and not b:
        return (math.nan,) * 4
    if not a or not b:
        return (0.0,) * 4
    both = len(a & b)
    return 2 * both / (len(a) + len(b)), both / len(a | b), both / len(b), both / len(a)


def long_axes(shape):
    """Axes along which an image has neighbours: a slice is a picture; of a single voxel the first axis."""
    return [axis for axis, size in enumerate(shape) if size > 1] or [0]


def border(mask):
    """Positions of the voxels with a face neighbour that is outside the mask or the image."""
    found = []
    for index in itertools.product(*(range(size) for size in mask.shape)):
        if not mask[index]:
            continue
        for axis, step in itertools.product(long_axes(mask.shape), (-1, 1)):
            neighbour = list(index)
            neighbour[axis] += step
            if not 0 <= neighbour[axis] < mask.shape[axis] or not mask[tuple(neighbour)]:
                found.append(index)
                break
    return np.array(found, dtype=float).reshape(-1, mask.ndim)


def directed_distances(reference, prediction, spacing_mm):
    """Distances in mm from each border voxel to the other border, both ways."""
    a, b = border(reference) * spacing_mm, border(prediction) * spacing_mm
    return cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]


def interpolated_percentile(values, share):
    """Percentile by linear interpolation between order statistics."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def surface(reference, prediction, spacing_mm, tolerance_mm):
    """Hausdorff, HD95, ASSD in mm and NSD of two masks."""
    if not reference.any() and not prediction.any():
        return (math.nan,) * 4
    if not reference.any() or not prediction.any():
        diagonal = math.sqrt(sum((reference.shape[a] * spacing_mm[a]) ** 2 for a in long_axes(reference.shape)))
        return diagonal, diagonal, diagonal, 0.0
    there, back = directed_distances(reference, prediction, spacing_mm)
    everything = [*there, *back]
    return (
        max(everything),
        max(interpolated_percentile(there, 0.95), interpolated_percentile(back, 0.95)),
        math.fsum(everything) / len(everything),
        sum(distance <= tolerance_mm for distance in everything) / len(everything),
    )
