"""Labels of a scan, from whatever keeps them, on the voxel grid of the scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imgmed.errors import PairMismatchError
from imgmed.formats import dicom, dicom_segments, files_of, mask_files, pictures, read_volume, rtstruct
from imgmed.formats.dicom_file import is_dicom
from imgmed.formats.quiet import quiet
from imgmed.formats.units import SpatialUnits
from imgmed.geometry import place_on_grid
from imgmed.labels import above_threshold, to_label_map
from imgmed.masks import Masks
from imgmed.volume import MAX_VALUES, Volume

if TYPE_CHECKING:
    from imgmed.study import VolumeSource

__all__ = ["LabelMap", "Segments", "read_label", "read_numbers"]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """One integer for each voxel of a scan: `array` is (i, j, k) uint8 or uint16; `origin` names the file."""

    array: np.ndarray
    origin: str


@dataclass(frozen=True, eq=False)
class Segments:
    """Named masks that may overlap, on the grid of a scan, without empty ones; `origin` names the file."""

    masks: Masks
    origin: str


@quiet("pydicom")
def read_label(
    source: Path | str | VolumeSource,
    image: Volume,
    max_values: int = MAX_VALUES,
    spatial_units: SpatialUnits = "header",
    mask_threshold: float | None = None,
) -> LabelMap | Segments:
    """Read the labels of a scan, put on its voxel grid without interpolation.

    A label map may have its axes in another order or direction than the scan, but must cover the same voxels.
    What names its structures (SEG, RTSTRUCT, .seg.nrrd, a mask for each) may cover a part; the rest is background.

    Args:
        source: a label map of any format that `read_volume` knows, JPEG only with a threshold (a palette picture: its
            numbers count, not its colours), a DICOM SEG (fractional ones: from 0.5 on), a DICOM RTSTRUCT, a
            segmentation of 3D Slicer (.seg.nrrd), or a mask for each structure.
        image: the scan, as `read_volume` gave it.
        max_values: as for `read_volume`.
        spatial_units: as for `read_volume`.
        mask_threshold: for masks with soft edges and probabilities: values from this on are label 1, others 0.

    Returns:
        Integers for label maps, named masks for all others.

    Raises:
        PairMismatchError: the labels do not lie on the scan's grid, or not within it; says how, or how many voxels.
        LabelError: not a map of whole numbers within 0 to 65535.
        UnsupportedFormatError: a JPEG without a threshold, or a package that is missing.
        Exceptions of `read_volume`.
    """
    files, entry = files_of(source)
    kind = _dicom_kind(files) if entry is None else None
    if kind == "segmentation":
        named = dicom_segments.read_segments(files[0], image, max_values)
        return Segments(Masks(image.shape, named), str(files[0]))
    if kind == "structures":
        named = rtstruct.read_structures(files[0], image)
        return Segments(Masks(image.shape, named), str(files[0]))
    if not isinstance(source, Path | str) and source.structures:
        named = mask_files.read_structure_masks(source, image, max_values, spatial_units, mask_threshold)
        return Segments(Masks(image.shape, named), str(files[0]))
    if entry is None and mask_files.is_slicer_segmentation(files):
        named = mask_files.read_slicer_segments(files[0], image, max_values, spatial_units)
        return Segments(Masks(image.shape, named), str(files[0]))
    label = read_numbers(source, max_values, spatial_units, will_be_cut=mask_threshold is not None)
    return LabelMap(_on_grid_of(image, label, mask_threshold), label.origin)


def read_numbers(
    source: Path | str | VolumeSource,
    max_values: int = MAX_VALUES,
    spatial_units: SpatialUnits = "header",
    *,
    will_be_cut: bool = False,
) -> Volume:
    """Read a label map alone, in its own voxel order: its numbers as they are stored, also those of a palette picture.

    Raises:
        UnsupportedFormatError: a JPEG, unless a threshold `will_be_cut`.
        Exceptions of `read_volume`.
    """
    files, entry = files_of(source)
    if entry is None and files[0].name.lower().endswith(pictures.SUFFIXES):
        return pictures.read_indices(files, max_values, will_be_cut=will_be_cut)
    return read_volume(source, max_values, spatial_units)


def _dicom_kind(files: tuple[Path, ...]) -> str | None:
    """What a single DICOM file is; None for anything else."""
    if len(files) > 1 or not (files[0].name.lower().endswith(dicom.SUFFIXES) or is_dicom(files[0])):
        return None
    series = dicom.find_series(files)
    return series[0].kind if series else None


def _on_grid_of(image: Volume, label: Volume, mask_threshold: float | None) -> np.ndarray:
    if mask_threshold is None:
        array = to_label_map(label.array, label.origin)
    else:
        array = above_threshold(label.array, mask_threshold, label.origin)
    try:
        return place_on_grid(array, label.affine, image.shape, image.affine, fill=None)
    except PairMismatchError as error:
        has_no_place = (label.affine == np.eye(4)).all()  # what is written without the affine of its scan
        advice = "write it with the affine of its scan" if has_no_place else "resample the label map onto the image"
        raise PairMismatchError(
            f"{image.origin}: image and its label {label.origin} must lie on the same voxel grid: {error}; {advice}"
        ) from error
