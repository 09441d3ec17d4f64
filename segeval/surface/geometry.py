"""Spacing and size of an image, in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from segeval.errors import MetricArgumentError

__all__ = ["check_spacing", "extended_axes", "image_diagonal_mm"]


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
    try:
        spacing = tuple(float(value) for value in spacing_mm)
    except (TypeError, ValueError):
        spacing = ()
    is_words = isinstance(spacing_mm, str | bytes)
    if is_words or len(spacing) != axes or not all(math.isfinite(value) and value > 0 for value in spacing):
        raise MetricArgumentError(
            f"spacing_mm must be {axes} positive numbers, one for each array axis; received {spacing or spacing_mm!r}"
        )
    return spacing


def extended_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """Axes along which an image has more than one voxel: those in which a surface can bend.

    A volume of one slice is a picture. Its voxels have no neighbours across the slice, neither inside nor outside, so
    that its structures have the contour that they have in the picture and no faces besides.

    Args:
        shape: number of voxels along each axis.

    Returns:
        The axes in ascending order; the first one where the image is a single voxel.

    Example:
        >>> extended_axes((32, 32, 1)), extended_axes((1, 1, 1))
        ((0, 1), (0,))
    """
    return tuple(axis for axis, length in enumerate(shape) if length != 1) or (0,)


def image_diagonal_mm(shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """Diagonal of an image, the norm of shape × spacing over its extended axes.

    Args:
        shape: number of voxels along each axis.
        spacing_mm: voxel size along each array axis, in mm.

    Returns:
        mm.

    Raises:
        MetricArgumentError: a spacing is not positive and finite, or there is not one per axis.

    Example:
        >>> image_diagonal_mm((3, 4), (1.0, 1.0)), image_diagonal_mm((3, 4, 1), (1.0, 1.0, 9.0))
        (5.0, 5.0)
    """
    spacing = check_spacing(spacing_mm, len(shape))
    return float(np.linalg.norm([shape[axis] * spacing[axis] for axis in extended_axes(shape)]))
