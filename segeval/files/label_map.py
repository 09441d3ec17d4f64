"""Reading label maps from files."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray

from segeval.errors import UnreadableLabelMapError
from segeval.labels import LARGEST_LABEL

__all__ = ["LabelMap", "corner_shift", "read_label_map"]


@dataclass(frozen=True, slots=True)
class LabelMap:
    """A label map as it lies in its file.

    Attributes:
        array: integers with 2 or 3 axes.
        affine: float64 (4, 4), voxel indices to RAS mm.
        spacing_mm: voxel size along each array axis.
    """

    array: NDArray[np.integer]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, ...]


def read_label_map(path: Path) -> LabelMap:
    """Read a label map from a NIfTI file; integers stored as floats are taken as integers.

    Args:
        path: a `.nii` or `.nii.gz` file with 2 or 3 axes; trailing axes of length 1 are dropped.

    Returns:
        The array, its affine and its spacing.

    Raises:
        UnreadableLabelMapError: no such file, damaged, not 2D or 3D, without a valid geometry, or not labels
            (NaN, infinite or fractional values).

    Example:
        >>> import nibabel, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.nii.gz")
        ...     image = nibabel.Nifti1Image(np.ones((4, 3, 2), np.uint8), np.diag([1, 1, 3, 1]))
        ...     nibabel.save(image, path)
        ...     read_label_map(path).spacing_mm
        (1.0, 1.0, 3.0)
    """
    if not path.is_file():
        raise UnreadableLabelMapError(f"{path}: no such file")
    try:
        image = nibabel.load(path)
        if not isinstance(image, SpatialImage):
            raise UnreadableLabelMapError(f"{path}: not an image; a NIfTI label map is needed")
        array = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        if isinstance(error, UnreadableLabelMapError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableLabelMapError(f"{path}: unreadable or truncated ({reason}); write it again") from error
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or array.size == 0:
        raise UnreadableLabelMapError(f"{path}: a label map must have 2 or 3 axes; received shape {array.shape}")
    affine = np.asarray(image.affine, dtype=np.float64)
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0)[: array.ndim].tolist())
    if not np.isfinite(affine).all() or min(spacing) <= 0:
        raise UnreadableLabelMapError(f"{path}: its affine gives no positive spacing; received {spacing} mm")
    return LabelMap(_as_integers(array, path), affine, spacing)


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


def _as_integers(array: NDArray[np.generic], path: Path) -> NDArray[np.integer]:
    if array.dtype.kind in "iu":
        return array  # type: ignore[return-value]
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind != "f":
        raise UnreadableLabelMapError(f"{path}: labels must be integers; received dtype {array.dtype}")
    if not np.isfinite(array).all():
        raise UnreadableLabelMapError(f"{path}: labels must be integers; the file holds NaN or infinite voxels")
    rounded = np.rint(array)
    fractional = array != rounded
    if fractional.any():
        example = float(array[fractional].flat[0])
        raise UnreadableLabelMapError(
            f"{path}: labels must be integers; {int(fractional.sum())} voxels are not, such as {example:g}"
            " (probabilities, or labels resampled with interpolation?)"
        )
    if np.abs(rounded).max() > 2**31:
        raise UnreadableLabelMapError(f"{path}: labels must be at most {LARGEST_LABEL}; received {rounded.max():g}")
    return rounded.astype(np.int32)
