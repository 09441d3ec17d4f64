"""Surfaces of masks and the distances between them, in mm."""

from segeval.surface.distances import Surface, SurfaceDistances, surface_distances
from segeval.surface.geometry import check_spacing, image_diagonal_mm
from segeval.surface.metrics import HD95Variant, assd_mm, hausdorff_mm, hd95_mm, masd_mm, nsd
from segeval.surface.surface_elements import element_areas
from segeval.surface.voxel_borders import border_voxels

__all__ = [
    "HD95Variant",
    "Surface",
    "SurfaceDistances",
    "assd_mm",
    "border_voxels",
    "check_spacing",
    "element_areas",
    "hausdorff_mm",
    "hd95_mm",
    "image_diagonal_mm",
    "masd_mm",
    "nsd",
    "surface_distances",
]
