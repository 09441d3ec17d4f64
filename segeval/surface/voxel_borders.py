"""Border voxels of a mask: the surface that medpy and MONAI measure.

A border voxel has at least one of the 2 × ndim face neighbours outside the mask; everything beyond the image is
outside. A structure that is one voxel thick along some axis of a larger image is therefore all surface. An axis along
which the image itself is one voxel long has no neighbours: a volume of one slice has the border of its picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segeval.surface.crop import pad_ends
from segeval.surface.geometry import extended_axes

__all__ = ["border_voxels", "padded_border"]


def border_voxels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the voxels of a mask with a face neighbour outside it; beyond the image is outside.

    Args:
        mask: boolean, any number of axes, of which those of length 1 have no neighbours.

    Returns:
        boolean of the same shape.

    Example:
        >>> border_voxels(np.ones((3, 3), bool)).astype(int).tolist()
        [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    picture = mask.reshape([mask.shape[axis] for axis in extended_axes(mask.shape)])
    padded = pad_ends(picture, np.add(picture.shape, 1))
    inside = tuple(slice(0, length) for length in picture.shape)
    return padded_border(padded)[inside].astype(bool).reshape(mask.shape)


def padded_border(padded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Find border voxels by shifting the flat array: with an empty end on every axis, no neighbour is a wrong one.

    Args:
        padded: C-ordered 0/1 mask whose last index along every axis is empty.

    Returns:
        uint8 0/1 of the same shape.

    Example:
        >>> padded_border(np.array([1, 1, 1, 0], np.uint8)).tolist()
        [1, 0, 1, 0]
    """
    mask = padded.ravel()
    interior = mask.copy()
    for stride in padded.strides:
        if stride < mask.size:
            interior[stride:] &= mask[:-stride]
            interior[:-stride] &= mask[stride:]
        interior[:stride] = 0
    interior ^= mask  # in its place: grids of large structures are what takes the memory
    return interior.reshape(padded.shape)
