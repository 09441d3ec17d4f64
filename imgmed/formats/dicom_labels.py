"""DICOM SEG and RTSTRUCT as label maps: one integer for each voxel of a scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imgmed.errors import LabelError, UnsupportedFormatError
from imgmed.formats import dicom, dicom_segments, rtstruct
from imgmed.formats.dicom_file import is_dicom
from imgmed.formats.quiet import quiet
from imgmed.volume import MAX_VALUES, Volume

__all__ = ["dicom_label_kind", "dicom_label_values", "read_dicom_label_map"]


@quiet("pydicom")
def dicom_label_kind(path: Path) -> str | None:
    """Tell whether a file is a DICOM "segmentation" (SEG) or "structures" (RTSTRUCT); None for anything else.

    Raises:
        UnreadableFileError: a file called .dcm that is no DICOM, or damaged.
    """
    if not (path.name.lower().endswith(dicom.SUFFIXES) or is_dicom(path)):
        return None
    series = dicom.find_series(path)
    kind = series[0].kind if series else None
    return kind if kind in ("segmentation", "structures") else None


@quiet("pydicom")
def dicom_label_values(path: Path) -> tuple[int, ...]:
    """Return the label values of a SEG or RTSTRUCT: those that R2D2 notes beside segments, else their numbers."""
    if _kind_of(path) == "segmentation":
        return tuple(dicom_segments.segment_values(path))
    return tuple(rtstruct.structure_values(path))


@quiet("pydicom")
def read_dicom_label_map(
    path: Path, shape: tuple[int, int, int], affine: np.ndarray, max_values: int = MAX_VALUES
) -> np.ndarray:
    """Read a SEG or RTSTRUCT as a label map on the voxel grid of a scan; what it does not cover is background.

    Args:
        path: the file.
        shape: number of voxels of the scan along i, j, k.
        affine: (4, 4) of the scan, voxel -> RAS millimetres.
        max_values: as for `read_volume`.

    Returns:
        (i, j, k) uint8 or uint16: label values as R2D2 notes them beside segments, else numbers of segments.

    Raises:
        LabelError: segments overlap, so that a voxel would have two labels.
        UnsupportedFormatError: neither a SEG nor an RTSTRUCT.
        Exceptions of `read_label`.
    """
    image = Volume(np.broadcast_to(np.uint8(0), shape), affine)
    if _kind_of(path) == "segmentation":
        found = dicom_segments.read_valued_segments(path, image, max_values)
    else:
        found = rtstruct.read_valued_structures(path, image)
    label_map = np.zeros(shape, np.uint16)
    names: dict[int, str] = {}
    for value, name, mask in found:
        twice = label_map[mask]
        if twice.any():
            other = names[int(twice.max())]
            raise LabelError(
                f"{path}: {other} and {name} overlap in {np.count_nonzero(twice)} voxels, where a label map would need"
                " two labels; name one file for each"
            )
        label_map[mask], names[value] = value, name
    return label_map if label_map.max() > np.iinfo(np.uint8).max else label_map.astype(np.uint8)


def _kind_of(path: Path) -> str:
    kind = dicom_label_kind(path)
    if kind is None:
        raise UnsupportedFormatError(f"{path}: a DICOM file without labels; name a SEG, an RTSTRUCT or a label map")
    return kind
