"""Surface metrics: pure functions of the distances between two surfaces.

Where surface elements have areas, each counts by its area; border voxels count alike.

Convention for empty masks: both empty, NaN; one empty, the worst value: the diagonal of the image in mm (the norm of
shape × spacing) for a distance, 0 for `nsd`.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segeval.errors import MetricArgumentError
from segeval.surface.distances import SurfaceDistances

__all__ = ["HD95Variant", "assd_mm", "hausdorff_mm", "hd95_mm", "masd_mm", "nsd"]

_ROUNDING = 1e-6
"""Share of a tolerance by which a distance may exceed it: headers hold spacings and directions in single precision, so
that a step of 1 mm along a tilted axis of a NIfTI file is 1.00000001 mm."""

HD95Variant = Literal["max_of_directed", "pooled"]
Areas = NDArray[np.float64] | None


def hausdorff_mm(distances: SurfaceDistances) -> float:
    """Hausdorff distance: the largest distance from either surface to the other.

    Args:
        distances: from `surface_distances`.

    Returns:
        mm; NaN where both masks are empty, the image diagonal where one is.

    Source: Huttenlocher et al., Comparing images using the Hausdorff distance, IEEE TPAMI 1993, equations 1 and 2.

    Example:
        >>> from segeval.surface import surface_distances
        >>> hausdorff_mm(surface_distances([1, 1, 0, 0], [1, 0, 0, 1], spacing_mm=(2.0,)))
        4.0
    """
    if not _is_measured(distances):
        return _of_empty(distances)
    return float(max(distances.reference_to_prediction_mm.max(), distances.prediction_to_reference_mm.max()))


def hd95_mm(distances: SurfaceDistances, variant: HD95Variant = "max_of_directed") -> float:
    """95 % Hausdorff distance.

    Args:
        distances: from `surface_distances`.
        variant: `max_of_directed`, the larger of the 95th percentiles of the two directions (MONAI, DeepMind), or
            `pooled`, one percentile of both directions together (medpy).

    Returns:
        mm; NaN where both masks are empty, the image diagonal where one is. Percentiles of border voxels interpolate
        linearly between order statistics (NumPy's default). With areas, the percentile is the smallest distance
        within which at least 95 % of the area lies (surface-distance 0.1, `compute_robust_hausdorff`).

    Raises:
        MetricArgumentError: the variant is neither of the two.

    Example:
        >>> from segeval.surface import surface_distances
        >>> distances = surface_distances([1, 1, 0, 0], [0, 0, 1, 1], spacing_mm=(1.0,))
        >>> round(hd95_mm(distances), 2), round(hd95_mm(distances, variant="pooled"), 2)
        (1.95, 2.0)
    """
    if variant not in get_args(HD95Variant):
        raise MetricArgumentError(f"variant must be one of {', '.join(get_args(HD95Variant))}; received {variant!r}")
    if not _is_measured(distances):
        return _of_empty(distances)
    there, back = distances.reference_to_prediction_mm, distances.prediction_to_reference_mm
    if variant == "max_of_directed":
        return max(
            _percentile(there, distances.reference_areas, 0.95), _percentile(back, distances.prediction_areas, 0.95)
        )
    areas = None
    if distances.reference_areas is not None and distances.prediction_areas is not None:
        areas = np.concatenate([distances.reference_areas, distances.prediction_areas])
    return _percentile(np.concatenate([there, back]), areas, 0.95)


def assd_mm(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance: the mean over both surfaces together (medpy's `assd`, MONAI's symmetric).

    Args:
        distances: from `surface_distances`.

    Returns:
        mm; NaN where both masks are empty, the image diagonal where one is.

    Source: Maier-Hein et al., Metrics reloaded, Nature Methods 2024 (ASSD).

    Example:
        >>> from segeval.surface import surface_distances
        >>> assd_mm(surface_distances([1, 1, 1, 0], [0, 0, 0, 1], spacing_mm=(1.0,)))
        1.6666666666666667
    """
    if not _is_measured(distances):
        return _of_empty(distances)
    (there, reference_size), (back, prediction_size) = _weighted_sums(distances)
    return float((there + back) / (reference_size + prediction_size))


def masd_mm(distances: SurfaceDistances) -> float:
    """Mean average surface distance: the mean of the two directed means, whatever the size of each surface.

    Args:
        distances: from `surface_distances`.

    Returns:
        mm; NaN where both masks are empty, the image diagonal where one is.

    Source: Maier-Hein et al., Metrics reloaded, Nature Methods 2024 (MASD).

    Example:
        >>> from segeval.surface import surface_distances
        >>> masd_mm(surface_distances([1, 1, 1, 0], [0, 0, 0, 1], spacing_mm=(1.0,)))
        1.5
    """
    if not _is_measured(distances):
        return _of_empty(distances)
    (there, reference_size), (back, prediction_size) = _weighted_sums(distances)
    return float((there / reference_size + back / prediction_size) / 2)


def nsd(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Normalised surface Dice: the share of both surfaces that lies within a tolerance of the other.

    Args:
        distances: from `surface_distances`; Nikolov et al. weigh by area (`surface="area_weighted"`), MONAI counts
            border voxels.
        tolerance_mm: distance that still counts as agreement, in mm, not negative; the limit itself agrees, and what
            exceeds it by no more than a millionth, as spacings from files are rounded.

    Returns:
        A number in [0, 1]; NaN where both masks are empty, 0 where one is.

    Raises:
        MetricArgumentError: the tolerance is negative or not finite.

    Source: Nikolov et al., Clinically applicable segmentation of head and neck anatomy for radiotherapy, JMIR 2021.

    Example:
        >>> from segeval.surface import surface_distances
        >>> nsd(surface_distances([1, 1, 0, 0], [0, 0, 1, 1], spacing_mm=(1.0,)), tolerance_mm=1.0)
        0.5
    """
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise MetricArgumentError(f"tolerance_mm must be finite and not negative; received {tolerance_mm}")
    if not _is_measured(distances):
        return math.nan if distances.is_both_empty else 0.0
    limit_mm = tolerance_mm * (1 + _ROUNDING)
    there = distances.reference_to_prediction_mm <= limit_mm
    back = distances.prediction_to_reference_mm <= limit_mm
    if distances.reference_areas is None or distances.prediction_areas is None:
        return float((np.count_nonzero(there) + np.count_nonzero(back)) / (there.size + back.size))
    within = distances.reference_areas[there].sum() + distances.prediction_areas[back].sum()
    return float(within / (distances.reference_areas.sum() + distances.prediction_areas.sum()))


def _is_measured(distances: SurfaceDistances) -> bool:
    return not (distances.is_both_empty or distances.is_one_empty)


def _of_empty(distances: SurfaceDistances) -> float:
    return math.nan if distances.is_both_empty else distances.diagonal_mm


def _weighted_sums(distances: SurfaceDistances) -> tuple[tuple[float, float], tuple[float, float]]:
    """Sum of distance × area and of area, for the reference and for the prediction."""
    there, back = (
        (float(mm.sum()), float(mm.size)) if areas is None else (float(mm @ areas), float(areas.sum()))
        for mm, areas in (
            (distances.reference_to_prediction_mm, distances.reference_areas),
            (distances.prediction_to_reference_mm, distances.prediction_areas),
        )
    )
    return there, back


def _percentile(distances_mm: NDArray[np.float64], areas: Areas, share: float) -> float:
    if areas is not None:
        return _percentile_by_area(distances_mm, areas, share)
    rank = share * (distances_mm.size - 1)
    below = math.floor(rank)
    above = min(below + 1, distances_mm.size - 1)
    ordered = np.partition(distances_mm, (below, above))
    low, high = float(ordered[below]), float(ordered[above])
    return low + (rank - below) * (high - low)


def _percentile_by_area(distances_mm: NDArray[np.float64], areas: NDArray[np.float64], share: float) -> float:
    order = np.lexsort((areas, distances_mm))
    shares = np.cumsum(areas[order]) / areas.sum()
    return float(distances_mm[order[min(int(np.searchsorted(shares, share)), order.size - 1)]])
