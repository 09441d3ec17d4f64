"""Label maps as they lie in files, whatever the format: one array order, one world. The readers are ImgMed's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segeval.class_maps import as_integers
from segeval.errors import ArrayTypeError, UnreadableLabelMapError
from segeval.labels import LARGEST_LABEL
from segeval.settings import SpatialUnits
from segeval.surface import check_spacing

__all__ = ["LabelMap", "case_id_of", "is_placed_by_another", "label_map_suffixes", "read_label_map", "segment_values"]

_NO_LABEL_MAPS = (".jpg", ".jpeg")
"""Files of volumes that hold no label maps here: compression that changes numbers."""

_DICOM = ".dcm"

_SHEAR = 1e-3
"""Cosine of the angle between two axes from which an affine is sheared: 0.06 degrees off, far above rounding."""


@dataclass(frozen=True, slots=True)
class LabelMap:
    """A label map as it lies in its file.

    Attributes:
        array: uint8 or uint16 in index order: (i, j) or (i, j, k) of a scan, (rows, columns) of a picture.
        affine: float64 (4, 4), voxel indices to RAS mm.
        spacing_mm: voxel size along each array axis.
        has_spacing: False for a picture whose voxel size nobody has given: it counts as 1, and distances are
            in pixels.
        is_picture: whether it is one of a picture, which has no place in a patient.
    """

    array: NDArray[np.unsignedinteger]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, ...]
    has_spacing: bool = True
    is_picture: bool = False

    @property
    def is_sheared(self) -> bool:
        """Whether the axes are not at right angles in the world, as a tilted gantry leaves them."""
        axes = self.affine[:3, : self.array.ndim] / self.spacing_mm
        return bool(np.abs(axes.T @ axes - np.eye(self.array.ndim)).max() > _SHEAR)


@cache
def label_map_suffixes() -> tuple[str, ...]:
    """Give the endings of the names of label maps: those of all volumes that ImgMed reads, but JPEG.

    Of DICOM, a SEG and an RTSTRUCT are label maps.

    Example:
        >>> label_map_suffixes()
        ('.nii.gz', '.nhdr', '.nrrd', '.tiff', '.dcm', '.mha', '.mhd', '.nii', '.png', '.tif')
    """
    from imgmed.formats import known_suffixes

    return tuple(suffix for suffix in known_suffixes() if suffix not in _NO_LABEL_MAPS)


def case_id_of(path: Path) -> str | None:
    """Give the name of a label map's file without its suffix; None where the suffix is no label map's.

    Example:
        >>> case_id_of(Path("labels/la_003.nii.gz")), case_id_of(Path("la_003.MHA")), case_id_of(Path("notes.txt"))
        ('la_003', 'la_003', None)
    """
    suffix = next((suffix for suffix in label_map_suffixes() if path.name.lower().endswith(suffix)), None)
    return None if suffix is None else path.name[: -len(suffix)]


def is_placed_by_another(path: Path | str) -> bool:
    """Tell whether a label map says where its labels are, and not how far its scan reaches: SEG and RTSTRUCT.

    Example:
        >>> is_placed_by_another("a.dcm"), is_placed_by_another("a.nii.gz")
        (True, False)
    """
    return str(path).lower().endswith(_DICOM)


def segment_values(path: Path | str) -> frozenset[int]:
    """Collect the integers of all segments of a SEG or RTSTRUCT, and 0.

    Raises:
        UnreadableLabelMapError: it is neither, or damaged.
    """
    from imgmed.errors import ImgMedError
    from imgmed.formats.dicom_labels import dicom_label_values

    try:
        return frozenset({0, *dicom_label_values(Path(path))})
    except (ImgMedError, OSError) as error:
        raise UnreadableLabelMapError(str(error)) from error


def read_label_map(
    path: Path | str,
    *,
    spacing_mm: Sequence[float] | None = None,
    spatial_units: SpatialUnits = "header",
    is_picture: bool | None = None,
    placed_on: LabelMap | None = None,
) -> LabelMap:
    """Read a label map from a NIfTI, NRRD, MetaImage, PNG or TIFF file, or a DICOM SEG or RTSTRUCT.

    A volume gives the same array, affine and spacing whichever format it is stored in. Integers stored as real
    numbers are taken as integers; trailing axes of length 1 beyond the third are dropped. In a picture the grey
    levels, or the indices of a palette, are the labels.

    Args:
        path: a file whose name ends with one of `label_map_suffixes`.
        spacing_mm: size of a picture's pixels along rows and columns, as (between rows, between columns);
            other formats state their own.
        spatial_units: what the sizes that these state count in: "header" as each says, or "mm", "um" or "m".
        is_picture: whether the label map is one of a picture, whatever format it is stored in: then sizes in its
            header mean nothing. None: the format tells.

        placed_on: a label map of the same scan, on whose voxels a SEG or RTSTRUCT is put, which covers a part of it.

    Returns:
        The array, its affine and its spacing.

    Raises:
        UnreadableLabelMapError: no such file, another format, damaged, not 2D or 3D, without a valid geometry,
            or not labels (NaN, infinite or fractional values, colours, integers outside 0 to 65535).
        MetricArgumentError: `spacing_mm` is not two positive numbers.

    Example:
        >>> import nibabel, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.nii.gz")
        ...     image = nibabel.Nifti1Image(np.ones((4, 3, 2), np.uint8), np.diag([1, 1, 3, 1]))
        ...     nibabel.save(image, path)
        ...     read_label_map(path).spacing_mm
        (1.0, 1.0, 3.0)
    """
    from imgmed.errors import ImgMedError
    from imgmed.formats import pictures, read_header, read_volume

    path = Path(path)
    if case_id_of(path) is None:
        raise UnreadableLabelMapError(f"{path}: a label map's name must end with one of {_listed_suffixes()}")
    if not path.is_file():
        is_link = " (a link to what is not there)" if path.is_symlink() else ""
        raise UnreadableLabelMapError(f"{path}: no such file{is_link}")
    if is_placed_by_another(path):
        return _placed(path, placed_on)
    is_stored_as_picture = path.name.lower().endswith(pictures.SUFFIXES)
    is_picture = is_stored_as_picture if is_picture is None else is_picture
    spatial_units = "mm" if is_picture else spatial_units
    try:
        volume = (
            pictures.read_indices((path,)) if is_stored_as_picture else read_volume(path, spatial_units=spatial_units)
        )
        is_plane = volume.shape[2] == 1 and (is_picture or read_header(path, spatial_units).axes == 2)
    except ImgMedError as error:
        raise UnreadableLabelMapError(str(error)) from error
    array, affine = _without_channels(volume.array, path), volume.affine
    if is_stored_as_picture and not is_plane:
        raise UnreadableLabelMapError(f"{path}: a picture must have one page; received {array.shape[2]}")
    if is_picture and spacing_mm is not None:
        affine = affine * [*check_spacing(spacing_mm, 2), 1.0, 1.0]
    array = array[..., 0] if is_plane else array
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0)[: array.ndim].tolist())
    return LabelMap(_as_labels(array, path), affine, spacing, not is_picture or spacing_mm is not None, is_picture)


def _placed(path: Path, grid: LabelMap | None) -> LabelMap:
    """Read a SEG or RTSTRUCT on the voxels of another label map."""
    from imgmed.errors import ImgMedError
    from imgmed.formats.dicom_labels import read_dicom_label_map

    if grid is None:
        raise UnreadableLabelMapError(
            f"{path}: a DICOM SEG or RTSTRUCT does not say how far its scan reaches; compare it with a label map that"
            " covers the scan (NIfTI, NRRD, MetaImage)"
        )
    i, j, k = (*grid.array.shape, 1)[:3]
    try:
        array = read_dicom_label_map(path, (i, j, k), grid.affine)
    except (ImgMedError, OSError) as error:
        raise UnreadableLabelMapError(str(error)) from error
    return LabelMap(array.reshape(grid.array.shape), grid.affine, grid.spacing_mm)


def _without_channels(array: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    """Refuse several numbers a voxel, of which a label map has one."""
    if array.ndim == 3 or array.shape[3] == 1:
        return array.reshape(array.shape[:3])
    is_other = (array != array[..., :1]).any(axis=-1)
    example = tuple(array[is_other][0].tolist()) if is_other.any() else tuple(array[0, 0, 0].tolist())
    raise UnreadableLabelMapError(
        f"{path}: a label map has one integer for each voxel; received {array.shape[3]}, such as {example} (colours,"
        " or segments that overlap?); save the label numbers as grey levels, or with a palette"
    )


def _as_labels(array: NDArray[np.generic], path: Path) -> NDArray[np.unsignedinteger]:
    """Store labels in the narrowest unsigned integers; refuse what is no label."""
    try:
        labels = as_integers(array, str(path))
    except ArrayTypeError as error:
        raise UnreadableLabelMapError(str(error)) from error
    low, high = labels.min(), labels.max()
    if low < 0 or high > LARGEST_LABEL:
        raise UnreadableLabelMapError(
            f"{path}: labels must be integers from 0 to {LARGEST_LABEL}; received {low:g} to {high:g}"
        )
    return labels.astype(np.uint8 if high <= 255 else np.uint16, copy=False)


def _listed_suffixes() -> str:
    return ", ".join(label_map_suffixes())
