"""Spacing and size of an image, in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from segeval.errors import MetricArgumentError

__all__ = ["check_spacing", "image_diagonal_mm"]


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
