"""Surfaces of masks and the distances between them, in mm."""

from segeval.surface.distances import (
    SurfaceDistances,
    assd_mm,
    check_spacing,
    hausdorff_mm,
    hd95_mm,
    image_diagonal_mm,
    masd_mm,
    nsd,
    surface_distances,
)

__all__ = [
    "SurfaceDistances",
    "assd_mm",
    "check_spacing",
    "hausdorff_mm",
    "hd95_mm",
    "image_diagonal_mm",
    "masd_mm",
    "nsd",
    "surface_distances",
]
