"""Distances between the surfaces of two masks, in mm.

They are computed once per pair of masks (`surface_distances`); every surface metric is a function of them. What the
surface of a mask is, is named: `voxel` (`segeval.surface.voxel_borders`: the border voxels, as in medpy and MONAI) or
`area_weighted` (`segeval.surface.surface_elements`: elements between the voxels, weighted by their area, as in
DeepMind's surface-distance). Distances run between the centres of border voxels, or of the cells of surface elements.
An axis along which the image is one voxel long does not count: a volume of one slice has the surfaces of its picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.by_value import ByValue
from segeval.confusion import check_same_shape
from segeval.errors import MetricArgumentError
from segeval.masks import as_mask, union_box
from segeval.surface.crop import axes_in_memory_order, pad_ends
from segeval.surface.geometry import check_spacing, extended_axes, image_diagonal_mm
from segeval.surface.nearest import SearchWindow, nearest_mm, search_window
from segeval.surface.surface_elements import element_areas, neighbour_codes
from segeval.surface.voxel_borders import padded_border

__all__ = ["Surface", "SurfaceDistances", "surface_distances"]

Surface = Literal["voxel", "area_weighted"]


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances(ByValue):
    """Distances from each element of the surface of one mask to the nearest element of the other's, in no set order.

    Attributes:
        reference_to_prediction_mm: float64 (reference elements,); empty where one mask is.
        prediction_to_reference_mm: float64 (prediction elements,); empty where one mask is.
        reference_areas: float64 (reference elements,): area of each element in mm² (in 2D, and in a volume of one
            slice, length in mm; in 1D, 1); None for the border voxels of `voxel`, which count alike.
        prediction_areas: float64 (prediction elements,) or None.
        reference_elements: number of border voxels or surface elements of the reference.
        prediction_elements: number of border voxels or surface elements of the prediction.
        diagonal_mm: diagonal of the image, the value of a distance where one mask is empty.
    """

    reference_to_prediction_mm: NDArray[np.float64]
    prediction_to_reference_mm: NDArray[np.float64]
    reference_areas: NDArray[np.float64] | None
    prediction_areas: NDArray[np.float64] | None
    reference_elements: int
    prediction_elements: int
    diagonal_mm: float

    @property
    def is_both_empty(self) -> bool:
        """Whether neither mask has a voxel."""
        return self.reference_elements == 0 and self.prediction_elements == 0

    @property
    def is_one_empty(self) -> bool:
        """Whether exactly one mask has no voxel."""
        return (self.reference_elements == 0) != (self.prediction_elements == 0)


def surface_distances(
    reference: ArrayLike,
    prediction: ArrayLike,
    spacing_mm: Sequence[float],
    *,
    surface: Surface = "voxel",
    image_shape: Sequence[int] | None = None,
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks, once for all surface metrics.

    Args:
        reference: boolean or 0/1 mask with 1 to 3 axes.
        prediction: mask of the same shape.
        spacing_mm: voxel size along each array axis, in mm.
        surface: `voxel` (border voxels) or `area_weighted` (surface elements with areas).
        image_shape: shape of the whole image where the masks are a crop of it that holds all of both
            structures; it decides the diagonal, and which axes count: those of length 1 do not. None: the masks are
            the whole image.

    Returns:
        The distances in mm; where one or both masks are empty, empty arrays and the diagonal.

    Raises:
        ShapeMismatchError: the shapes differ.
        ArrayTypeError: a mask is neither boolean nor integer with values 0 and 1.
        MetricArgumentError: a spacing is not positive and finite, or there is not one per axis; a mask has no axis
            or more than three; the surface is neither of the two; the masks are no crop of an image of this shape.

    Example:
        >>> distances = surface_distances([[1, 0, 0]], [[0, 0, 1]], spacing_mm=(1.0, 2.5))
        >>> distances.reference_to_prediction_mm.tolist()
        [5.0]
        >>> mask = [[1, 1], [0, 0]]
        >>> elements = surface_distances(mask, mask, spacing_mm=(1.0, 2.5), surface="area_weighted")
        >>> elements.reference_areas.round(3).tolist()
        [1.346, 2.5, 1.346, 1.346, 2.5, 1.346]
    """
    reference_mask, prediction_mask = as_mask(reference, "reference"), as_mask(prediction, "prediction")
    check_same_shape(reference_mask, prediction_mask)
    if not 1 <= reference_mask.ndim <= 3:
        raise MetricArgumentError(f"masks must have 1 to 3 axes; received shape {reference_mask.shape}")
    if surface not in get_args(Surface):
        raise MetricArgumentError(f"surface must be one of {', '.join(get_args(Surface))}; received {surface!r}")
    spacing = check_spacing(spacing_mm, reference_mask.ndim)
    whole = reference_mask.shape if image_shape is None else _check_image_shape(image_shape, reference_mask.shape)
    diagonal_mm = image_diagonal_mm(whole, spacing)
    extended = extended_axes(whole)
    pictures = [mask.reshape([mask.shape[axis] for axis in extended]) for mask in (reference_mask, prediction_mask)]
    axes = axes_in_memory_order(pictures[0])
    bits = [picture.transpose(axes).view(np.uint8) for picture in pictures]
    spacing = tuple(spacing[extended[axis]] for axis in axes)
    true, predicted, shape, window = _surfaces(bits[0], bits[1], spacing, axes, surface)
    to_prediction = to_reference = np.zeros(0)
    if true.points.size and predicted.points.size:
        to_prediction = nearest_mm(true.points, predicted.points, shape, window)
        to_reference = nearest_mm(predicted.points, true.points, shape, window)
    return SurfaceDistances(
        to_prediction,
        to_reference,
        true.areas,
        predicted.areas,
        true.points.size,
        predicted.points.size,
        diagonal_mm,
    )


def _check_image_shape(image_shape: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    whole = tuple(image_shape)
    if len(whole) != len(shape) or any(length < part for length, part in zip(whole, shape, strict=True)):
        raise MetricArgumentError(
            f"image_shape must be that of an image which the masks {shape} are cut from; received {whole}"
        )
    return whole


@dataclass(frozen=True, slots=True)
class _SurfacePoints:
    points: NDArray[np.intp]
    areas: NDArray[np.float64] | None


def _surfaces(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    spacing_mm: tuple[float, ...],
    axes: tuple[int, ...],
    surface: Surface,
) -> tuple[_SurfacePoints, _SurfacePoints, tuple[int, ...], SearchWindow]:
    """Find both surfaces on one grid, cropped to the masks and with the margins that the search needs; its shape."""
    box = union_box(reference, prediction)
    # surface elements lie between voxels: there is one more of them along every axis
    shape = tuple(along.stop - along.start + (surface == "area_weighted") for along in box)
    window = search_window(shape, spacing_mm)
    padded_shape = tuple(length + margin for length, margin in zip(shape, window.margins, strict=True))
    in_array_order = tuple(spacing_mm[axes.index(axis)] for axis in range(len(axes)))
    surfaces = []
    for mask in (reference, prediction):  # one after the other, so that one grid is held at a time
        padded = pad_ends(mask[box], padded_shape)
        if surface == "voxel":
            surfaces.append(_SurfacePoints(np.flatnonzero(padded_border(padded).view(bool)), None))
        else:
            surfaces.append(_elements(neighbour_codes(padded, axes), element_areas(in_array_order)))
    return surfaces[0], surfaces[1], padded_shape, window


def _elements(codes: NDArray[np.uint8], areas: NDArray[np.float64]) -> _SurfacePoints:
    # neither 0, which wraps around, nor the last code
    points = np.flatnonzero(codes - np.uint8(1) < areas.size - 2)
    return _SurfacePoints(points, areas.take(codes.ravel().take(points)))
