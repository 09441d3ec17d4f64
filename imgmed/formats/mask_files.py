"""Label maps that name their structures: 3D Slicer's segmentations (.seg.nrrd), and one file for each structure.

Source of the header's keys: https://slicer.readthedocs.io, Segmentations, "Segmentations file format".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from imgmed.errors import LabelError, PairMismatchError
from imgmed.formats import itk, pictures, read_volume
from imgmed.formats.units import SpatialUnits
from imgmed.geometry import place_on_grid
from imgmed.study import VolumeSource
from imgmed.volume import Volume

__all__ = ["is_slicer_segmentation", "placed_mask", "read_slicer_segments", "read_structure_masks"]

NRRD = (".nrrd", ".nhdr")
MOST_LISTED = 6


def is_slicer_segmentation(files: Sequence[Path]) -> bool:
    """Tell whether the header of one NRRD file names segments."""
    return len(files) == 1 and files[0].name.lower().endswith(NRRD) and bool(itk.segments(files[0]))


def read_slicer_segments(
    path: Path, image: Volume, max_values: int, spatial_units: SpatialUnits = "header"
) -> Iterator[tuple[str, np.ndarray]]:
    """Give the name and the (i, j, k) bool mask of each segment, on the grid of a scan.

    The file may hold a part of the scan, as Slicer crops it; a segment is one value in one layer (channel) of the
    file. Raises as `read_label` does.
    """
    volume = read_volume(path, max_values, spatial_units)
    layers = volume.array if volume.array.ndim == 4 else volume.array[..., np.newaxis]
    for segment in itk.segments(path):
        if segment.layer >= layers.shape[3]:
            raise LabelError(f"{path}: segment {segment.name} lies in layer {segment.layer}, of {layers.shape[3]}")
        mask = layers[..., segment.layer] == segment.value
        yield segment.name, placed_mask(mask, volume.affine, image, f"{path}: segment {segment.name}")


def read_structure_masks(
    source: VolumeSource,
    image: Volume,
    max_values: int,
    spatial_units: SpatialUnits = "header",
    mask_threshold: float | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Give the name and the (i, j, k) bool mask of each structure of a label map, from a file for each.

    Raises:
        LabelError: a file with several values beside 0, which is no mask of one structure, without a threshold.
        Exceptions of `read_label`.
    """
    for path, name in zip(source.files, source.structures, strict=True):
        if path.name.lower().endswith(pictures.SUFFIXES):
            volume = pictures.read_indices((path,), max_values, will_be_cut=mask_threshold is not None)
        else:
            volume = read_volume(path, max_values, spatial_units)
        array = volume.array.max(axis=3) if volume.array.ndim == 4 else volume.array
        is_numbered = is_slicer_segmentation((path,))
        if mask_threshold is None and not is_numbered:
            _check_one_value(array, path)
        mask = array != 0 if mask_threshold is None or is_numbered else array >= mask_threshold
        yield name, placed_mask(mask, volume.affine, image, str(path))


def _check_one_value(array: np.ndarray, path: Path) -> None:
    values = np.unique(array[array != 0])
    if len(values) > 1 or not (values > 0).all():
        shown = ", ".join(f"{value:g}" for value in values[:MOST_LISTED].tolist())
        more = " ..." if len(values) > MOST_LISTED else ""
        raise LabelError(
            f"{path}: the mask of one structure has one value beside 0, above it; this one has {shown}{more}"
            " (mask_threshold takes soft edges)"
        )


def placed_mask(mask: np.ndarray, affine: np.ndarray, image: Volume, origin: str) -> np.ndarray:
    """Return a mask (i, j, k) bool on the grid of a scan, of which it may cover a part.

    Raises:
        PairMismatchError: another grid, or voxels of the mask outside the scan.
    """
    try:
        placed = place_on_grid(mask, affine, image.shape, image.affine, fill=False)
    except PairMismatchError as error:
        raise PairMismatchError(
            f"{origin} and image {image.origin} must lie on the same voxel grid: {error};"
            " name the image that it was drawn on"
        ) from error
    outside = int(np.count_nonzero(mask)) - int(np.count_nonzero(placed))
    if outside:
        raise PairMismatchError(
            f"{origin}: {outside} of its voxels lie outside the image {image.origin}; name the image that it was"
            " drawn on, whole"
        )
    return placed
