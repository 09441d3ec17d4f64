"""Label maps as they lie in files, whatever the format: one array order, one world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segeval.errors import MetricArgumentError, UnreadableLabelMapError
from segeval.files import itk, nifti, pictures
from segeval.labels import LARGEST_LABEL

__all__ = ["SUFFIXES", "LabelMap", "case_id_of", "check_picture_spacing", "corner_shift", "read_label_map"]

SUFFIXES: tuple[str, ...] = (*nifti.SUFFIXES, *itk.SUFFIXES, *pictures.SUFFIXES)
"""Endings of the names of label maps: NIfTI, NRRD, MetaImage, PNG and TIFF."""

_SHEAR = 1e-3
"""Cosine of the angle between two axes from which an affine is sheared: 0.06 degrees off, far above rounding."""

_PICTURE_AFFINE = np.array([[0.0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""Rows run to posterior, columns to the left: as R2D2 writes label maps that it predicted for pictures."""


@dataclass(frozen=True, slots=True)
class LabelMap:
    """A label map as it lies in its file.

    Attributes:
        array: uint8 or uint16 in index order: (i, j) or (i, j, k) of a scan, (rows, columns) of a picture.
        affine: float64 (4, 4), voxel indices to RAS mm.
        spacing_mm: voxel size along each array axis.
        has_spacing: False for a picture whose voxel size nobody has given: it counts as 1, and distances are
            in pixels.
    """

    array: NDArray[np.unsignedinteger]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, ...]
    has_spacing: bool = True

    @property
    def is_sheared(self) -> bool:
        """Whether the axes are not at right angles in the world, as a tilted gantry leaves them."""
        axes = self.affine[:3, : self.array.ndim] / self.spacing_mm
        return bool(np.abs(axes.T @ axes - np.eye(self.array.ndim)).max() > _SHEAR)


def case_id_of(path: Path) -> str | None:
    """Give the name of a label map's file without its suffix; None where the suffix is no label map's.

    Example:
        >>> case_id_of(Path("labels/la_003.nii.gz")), case_id_of(Path("la_003.MHA")), case_id_of(Path("notes.txt"))
        ('la_003', 'la_003', None)
    """
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)
    return None if suffix is None else path.name[: -len(suffix)]


def read_label_map(path: Path | str, *, spacing_mm: Sequence[float] | None = None) -> LabelMap:
    """Read a label map from a NIfTI, NRRD, MetaImage, PNG or TIFF file.

    A volume gives the same array, affine and spacing whichever format it is stored in. Integers stored as
    floats are taken as integers; trailing axes of length 1 beyond the third are dropped. In a picture the grey
    levels, or the indices of a palette, are the labels.

    Args:
        path: a file whose name ends with one of `SUFFIXES`.
        spacing_mm: size of a picture's pixels along rows and columns, as (between rows, between columns);
            other formats state their own.

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
    path = Path(path)
    if case_id_of(path) is None:
        raise UnreadableLabelMapError(f"{path}: a label map's name must end with one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        is_link = " (a link to what is not there)" if path.is_symlink() else ""
        raise UnreadableLabelMapError(f"{path}: no such file{is_link}")
    name = path.name.lower()
    if name.endswith(pictures.SUFFIXES):
        array = pictures.read(path)
        affine = _PICTURE_AFFINE * [
            *((1.0, 1.0) if spacing_mm is None else check_picture_spacing(spacing_mm)),
            1.0,
            1.0,
        ]
        has_spacing = spacing_mm is not None
    else:
        array, affine = (nifti if name.endswith(nifti.SUFFIXES) else itk).read(path)
        has_spacing = True
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or array.size == 0:
        raise UnreadableLabelMapError(f"{path}: a label map must have 2 or 3 axes; received shape {array.shape}")
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0)[: array.ndim].tolist())
    if not np.isfinite(affine).all() or min(spacing) <= 0:
        raise UnreadableLabelMapError(f"{path}: its affine gives no positive spacing; received {spacing} mm")
    return LabelMap(_as_labels(array, path), affine, spacing, has_spacing)


def corner_shift(first: LabelMap, second: LabelMap) -> float:
    """Measure how far apart two affines put the same voxels.

    Args:
        first: a label map.
        second: one of the same shape.

    Returns:
        The largest distance between equal corners of the two images, in units of the first one's smallest
        spacing.

    Example:
        >>> array = np.zeros((3, 3, 3), np.uint8)
        >>> moved = np.eye(4)
        >>> moved[0, 3] = 0.5
        >>> corner_shift(LabelMap(array, np.eye(4), (1.0,) * 3), LabelMap(array, moved, (1.0,) * 3))
        0.5
    """
    ends = [(0, size - 1) for size in first.array.shape] + [(0, 0)] * (3 - first.array.ndim)
    corners = np.array([(i, j, k, 1) for i in ends[0] for j in ends[1] for k in ends[2]], dtype=np.float64)
    moved = corners @ (first.affine - second.affine).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max() / min(first.spacing_mm))


def check_picture_spacing(spacing_mm: Sequence[float]) -> tuple[float, float]:
    """Refuse what cannot be the pixel size of a picture.

    Args:
        spacing_mm: distance between rows and between columns, in mm.

    Returns:
        The two as floats.

    Raises:
        MetricArgumentError: not two positive numbers.

    Example:
        >>> check_picture_spacing([1, 0.5])
        (1.0, 0.5)
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (2,) or not np.isfinite(spacing).all() or spacing.min() <= 0:
        raise MetricArgumentError(f"spacing_mm of a picture must be two positive numbers; received {spacing_mm}")
    return float(spacing[0]), float(spacing[1])


def _as_labels(array: NDArray[np.generic], path: Path) -> NDArray[np.unsignedinteger]:
    """Store labels in the narrowest unsigned integers; refuse what is no label."""
    if array.dtype.kind not in "iubf":
        raise UnreadableLabelMapError(f"{path}: labels must be integers; received dtype {array.dtype}")
    if array.dtype.kind == "f":
        _check_whole(array, path)
    low, high = array.min(), array.max()
    if low < 0 or high > LARGEST_LABEL:
        raise UnreadableLabelMapError(
            f"{path}: labels must be integers from 0 to {LARGEST_LABEL}; received {low:g} to {high:g}"
        )
    return array.astype(np.uint8 if high <= 255 else np.uint16, copy=False)


def _check_whole(array: NDArray[np.generic], path: Path) -> None:
    if not np.isfinite(array).all():
        raise UnreadableLabelMapError(f"{path}: labels must be integers; the file holds NaN or infinite voxels")
    fractional = array != np.rint(array)
    if fractional.any():
        example = float(array[fractional].flat[0])
        raise UnreadableLabelMapError(
            f"{path}: labels must be integers; {int(fractional.sum())} voxels are not, such as {example:g}"
            " (probabilities, or labels resampled with interpolation?)"
        )
