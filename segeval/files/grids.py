"""Two label maps on one voxel grid: turned by whole axes where one holds the voxels in another order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segeval.errors import ShapeMismatchError
from segeval.files.label_map import LabelMap

__all__ = ["SPACING_TOLERANCE", "on_grid_of", "same_axes"]

SPACING_TOLERANCE = 0.01
"""By which share of itself a spacing may differ, where the image is too thin for its corners to tell."""

_UNITS = (1.0, 1e-3, 1e3)
"""What spacings in headers may be apart as a whole: one that names no unit, beside one in micrometres or metres."""


def same_axes(reference: LabelMap, prediction: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Take a volume of one slice as an image of two axes where the other one is such an image.

    Example:
        >>> plane = LabelMap(np.zeros((2, 3), np.uint8), np.eye(4), (1.0, 1.0))
        >>> volume = LabelMap(np.zeros((2, 3, 1), np.uint8), np.eye(4), (1.0, 1.0, 5.0))
        >>> same_axes(volume, plane)[0].spacing_mm
        (1.0, 1.0)
    """
    if reference.array.ndim == prediction.array.ndim:
        return reference, prediction
    return _as_plane(reference), _as_plane(prediction)


def on_grid_of(reference: LabelMap, prediction: LabelMap) -> LabelMap:
    """Put a prediction on the voxel grid of its reference; nothing is interpolated.

    Args:
        reference: the reference.
        prediction: a label map of the same voxels, with its axes in any order and direction; as many axes.

    Returns:
        The prediction with the reference's order of voxels.

    Raises:
        ShapeMismatchError: both do not cover the same voxels, or their voxel centres or spacings differ; says how.

    Example:
        >>> reference = LabelMap(np.array([[1, 0]], np.uint8), np.eye(4), (1.0, 1.0))
        >>> flipped = np.array([[1.0, 0, 0, 0], [0, -1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]])
        >>> on_grid_of(reference, LabelMap(np.array([[0, 1]], np.uint8), flipped, (1.0, 1.0))).array.tolist()
        [[1, 0]]
    """
    from imgmed.errors import PairMismatchError
    from imgmed.geometry import place_on_grid

    shape = reference.array.shape
    i, j, k = _three_axes(reference.array).shape
    try:
        turned = place_on_grid(_three_axes(prediction.array), prediction.affine, (i, j, k), reference.affine, fill=None)
    except PairMismatchError as error:
        if sorted(shape) != sorted(prediction.array.shape):
            raise ShapeMismatchError(f"shape {prediction.array.shape} against {shape}") from error
        raise ShapeMismatchError(str(error)) from error
    ratios = np.array(reference.spacing_mm) / _spacing_along(reference, prediction)
    ratios /= min(_UNITS, key=lambda unit: abs(np.log(np.median(ratios) / unit)))
    if np.abs(ratios - 1).max() > SPACING_TOLERANCE:
        raise ShapeMismatchError(f"voxels of {_written(prediction)} mm against {_written(reference)} mm")
    return replace(prediction, array=turned.reshape(shape), affine=reference.affine, spacing_mm=reference.spacing_mm)


def _as_plane(label_map: LabelMap) -> LabelMap:
    if label_map.array.ndim == 2 or label_map.array.shape[2] != 1:
        return label_map
    return replace(label_map, array=label_map.array[..., 0], spacing_mm=label_map.spacing_mm[:2])


def _three_axes(array: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    return array[..., None] if array.ndim == 2 else array


def _spacing_along(reference: LabelMap, prediction: LabelMap) -> NDArray[np.float64]:
    """Spacing of the prediction along each axis of the reference."""
    axes = reference.array.ndim
    units = [label_map.affine[:3, :axes] / label_map.spacing_mm for label_map in (reference, prediction)]
    return np.array(prediction.spacing_mm)[np.abs(units[0].T @ units[1]).argmax(axis=1)]


def _written(label_map: LabelMap) -> str:
    return f"({', '.join(f'{value:.6g}' for value in label_map.spacing_mm)})"
