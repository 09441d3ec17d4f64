"""Distances between the surfaces of two masks, in mm.

The surface of a mask is the set of its border voxels: those with at least one of the 2 × ndim face neighbours
outside the mask, where everything beyond the image counts as outside (as in medpy and MONAI). A structure
that is one voxel thick along some axis is therefore all surface. Distances run between voxel centres. They
are computed once per pair of masks (`surface_distances`); every metric is a function of them.

Convention for empty masks: both empty, NaN; one empty, the worst value: the diagonal of the image in mm (the
norm of shape × spacing) for a distance, 0 for `nsd`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from segeval.confusion import check_same_shape
from segeval.errors import ArrayTypeError, MetricArgumentError

__all__ = [
    "SurfaceDistances",
    "assd_mm",
    "border_voxels",
    "check_spacing",
    "hausdorff_mm",
    "hd95_mm",
    "image_diagonal_mm",
    "nsd",
    "surface_distances",
]


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distances from each border voxel of one mask to the nearest border voxel of the other.

    Attributes:
        reference_to_prediction_mm: float64 (reference border voxels,); see `reference_voxels` where one mask
            is empty.
        prediction_to_reference_mm: float64 (prediction border voxels,).
        reference_voxels: number of border voxels of the reference.
        prediction_voxels: number of border voxels of the prediction.
        diagonal_mm: diagonal of the image, the value of a distance where one mask is empty.
    """

    reference_to_prediction_mm: NDArray[np.float64]
    prediction_to_reference_mm: NDArray[np.float64]
    reference_voxels: int
    prediction_voxels: int
    diagonal_mm: float

    @property
    def is_both_empty(self) -> bool:
        """Whether neither mask has a voxel."""
        return self.reference_voxels == 0 and self.prediction_voxels == 0

    @property
    def is_one_empty(self) -> bool:
        """Whether exactly one mask has no voxel."""
        return (self.reference_voxels == 0) != (self.prediction_voxels == 0)


def surface_distances(
    reference: ArrayLike,
    prediction: ArrayLike,
    spacing_mm: Sequence[float],
    *,
    surface: str = "voxel",
    image_shape: Sequence[int] | None = None,
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks, once for all surface metrics.

    Args:
        reference: boolean or 0/1 mask with 1 to 3 axes.
        prediction: mask of the same shape.
        spacing_mm: voxel size along each array axis, in mm.
        image_shape: shape of the whole image where the masks are a crop of it that holds all of both
            structures; it decides the diagonal only. None: the masks are the whole image.

    Returns:
        The distances in mm; where one or both masks are empty, empty arrays and the diagonal.

    Raises:
        ShapeMismatchError: the shapes differ.
        ArrayTypeError: a mask is neither boolean nor integer with values 0 and 1.
        MetricArgumentError: a spacing is not positive and finite, or there is not one per axis.

    Example:
        >>> distances = surface_distances([[1, 0, 0]], [[0, 0, 1]], spacing_mm=(1.0, 2.5))
        >>> distances.reference_to_prediction_mm.tolist()
        [5.0]
    """
    reference_mask, prediction_mask = _as_mask(reference, "reference"), _as_mask(prediction, "prediction")
    check_same_shape(reference_mask, prediction_mask)
    spacing = check_spacing(spacing_mm, reference_mask.ndim)
    diagonal_mm = image_diagonal_mm(reference_mask.shape if image_shape is None else image_shape, spacing)
    box = _union_box(reference_mask, prediction_mask)
    reference_border, prediction_border = (
        border_voxels(reference_mask[box]),
        border_voxels(prediction_mask[box]),
    )
    reference_voxels, prediction_voxels = int(reference_border.sum()), int(prediction_border.sum())
    if reference_voxels and prediction_voxels:
        to_prediction = _distance_to(prediction_border, spacing)[reference_border]
        to_reference = _distance_to(reference_border, spacing)[prediction_border]
    else:
        to_prediction = to_reference = np.zeros(0)
    return SurfaceDistances(to_prediction, to_reference, reference_voxels, prediction_voxels, diagonal_mm)


def hausdorff_mm(distances: SurfaceDistances) -> float:
    """Hausdorff distance: the largest distance from either surface to the other.

    Args:
        distances: from `surface_distances`.

    Returns:
        mm; NaN where both masks are empty, the image diagonal where one is.

    Example:
        >>> hausdorff_mm(surface_distances([1, 1, 0, 0], [1, 0, 0, 1], spacing_mm=(2.0,)))
        4.0
    """
    return _worst_of_directed(distances, 100.0)


def hd95_mm(distances: SurfaceDistances, variant: str = "max_of_directed") -> float:
    """95 % Hausdorff distance: the larger of the two directed 95th percentiles.

    Percentiles interpolate linearly. (medpy pools both directions before it takes one percentile; that is
    another number.)

    Args:
        distances: from `surface_distances`.

    Returns:
        mm; NaN where both masks are empty, the image diagonal where one is.

    Example:
        >>> hd95_mm(surface_distances([1, 1, 0, 0], [0, 0, 1, 1], spacing_mm=(1.0,))).__round__(2)
        1.95
    """
    return _worst_of_directed(distances, 95.0)


def assd_mm(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance: the mean over the border voxels of both surfaces together.

    (medpy's `assd` averages the two directed means instead, which is elsewhere called MASD.)

    Args:
        distances: from `surface_distances`.

    Returns:
        mm; NaN where both masks are empty, the image diagonal where one is.

    Example:
        >>> assd_mm(surface_distances([1, 1, 0, 0], [0, 0, 1, 1], spacing_mm=(1.0,)))
        1.5
    """
    if distances.is_both_empty:
        return math.nan
    if distances.is_one_empty:
        return distances.diagonal_mm
    total_mm = distances.reference_to_prediction_mm.sum() + distances.prediction_to_reference_mm.sum()
    return float(total_mm / (distances.reference_voxels + distances.prediction_voxels))


def masd_mm(distances: SurfaceDistances) -> float:
    if distances.is_both_empty:
        return math.nan
    if distances.is_one_empty:
        return distances.diagonal_mm
    return float((distances.reference_to_prediction_mm.mean() + distances.prediction_to_reference_mm.mean()) / 2)


def nsd(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Normalised surface Dice: the share of both surfaces that lies within a tolerance of the other.

    Border voxels are counted (Nikolov et al. 2021 weigh surface elements by their area instead).

    Args:
        distances: from `surface_distances`.
        tolerance_mm: distance that still counts as agreement, in mm, not negative; the limit itself agrees.

    Returns:
        A number in [0, 1]; NaN where both masks are empty, 0 where one is.

    Raises:
        MetricArgumentError: the tolerance is negative or not finite.

    Example:
        >>> nsd(surface_distances([1, 1, 0, 0], [0, 0, 1, 1], spacing_mm=(1.0,)), tolerance_mm=1.0)
        0.5
    """
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise MetricArgumentError(f"tolerance_mm must be finite and not negative; received {tolerance_mm}")
    if distances.is_both_empty:
        return math.nan
    if distances.is_one_empty:
        return 0.0
    within = np.count_nonzero(distances.reference_to_prediction_mm <= tolerance_mm) + np.count_nonzero(
        distances.prediction_to_reference_mm <= tolerance_mm
    )
    return float(within / (distances.reference_voxels + distances.prediction_voxels))


def border_voxels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the voxels of a mask with a face neighbour outside it; beyond the image is outside.

    Args:
        mask: boolean, any number of axes.

    Returns:
        boolean of the same shape.

    Example:
        >>> border_voxels(np.ones((3, 3), bool)).astype(int).tolist()
        [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    interior = mask.copy()
    for axis in range(mask.ndim):
        along = np.moveaxis(mask, axis, 0)
        inside = np.moveaxis(interior, axis, 0)
        inside[1:] &= along[:-1]
        inside[:-1] &= along[1:]
        inside[:1] = False
        inside[-1:] = False
    return mask & ~interior


def image_diagonal_mm(shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """Diagonal of an image, the norm of shape × spacing.

    Args:
        shape: number of voxels along each axis.
        spacing_mm: voxel size along each array axis, in mm.

    Returns:
        mm.

    Raises:
        MetricArgumentError: a spacing is not positive and finite, or there is not one per axis.

    Example:
        >>> image_diagonal_mm((3, 4), (1.0, 1.0))
        5.0
    """
    spacing = check_spacing(spacing_mm, len(shape))
    return float(np.linalg.norm(np.multiply(shape, spacing)))


def check_spacing(spacing_mm: Sequence[float], axes: int) -> tuple[float, ...]:
    """Refuse a spacing that is not one positive, finite number of mm per array axis.

    Args:
        spacing_mm: voxel size along each array axis, in mm.
        axes: number of axes of the image.

    Returns:
        The spacing as plain floats.

    Raises:
        MetricArgumentError: the rule is broken.

    Example:
        >>> check_spacing((3, 0.7), axes=2)
        (3.0, 0.7)
    """
    spacing = tuple(float(value) for value in spacing_mm)
    if len(spacing) != axes or not all(math.isfinite(value) and value > 0 for value in spacing):
        raise MetricArgumentError(
            f"spacing_mm must be {axes} positive numbers, one for each array axis; received {spacing}"
        )
    return spacing


def _as_mask(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind not in "iu" or (array.size and (array.min() < 0 or array.max() > 1)):
        raise ArrayTypeError(
            f"{name} must be a mask, boolean or with the values 0 and 1; received dtype {array.dtype}"
            + (f" with values {array.min()} to {array.max()}" if array.size else "")
            + "; compare a label map with one label first (label_map == 2)"
        )
    return array.astype(bool)


def _union_box(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Find the smallest box that holds both masks; empty slices where there is nothing."""
    box = []
    for axis in range(reference.ndim):
        others = tuple(other for other in range(reference.ndim) if other != axis)
        occupied = np.flatnonzero(reference.any(axis=others) | prediction.any(axis=others))
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else slice(0, 0))
    return tuple(box)


def _distance_to(border: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    return ndimage.distance_transform_edt(~border, sampling=spacing_mm)


def _worst_of_directed(distances: SurfaceDistances, percentile: float) -> float:
    if distances.is_both_empty:
        return math.nan
    if distances.is_one_empty:
        return distances.diagonal_mm
    return float(
        max(
            np.percentile(distances.reference_to_prediction_mm, percentile),
            np.percentile(distances.prediction_to_reference_mm, percentile),
        )
    )
