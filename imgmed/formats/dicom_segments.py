"""DICOM SEG through highdicom: each segment as a mask on the grid of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgmed.errors import UnsupportedFormatError
from imgmed.formats.dicom_file import checked_header, read_file
from imgmed.formats.dicom_frames import REFUSALS, place_frames
from imgmed.formats.header import check_size, damaged
from imgmed.formats.itk import LPS_TO_RAS
from imgmed.formats.mask_files import placed_mask
from imgmed.volume import Volume

if TYPE_CHECKING:
    import highdicom as hd

__all__ = ["read_segments"]

FRACTION = 0.5  # a voxel of a fractional segment belongs to it from this on


def read_segments(path: Path, image: Volume, max_values: int) -> Iterator[tuple[str, np.ndarray]]:
    """Give the label and the (i, j, k) bool mask of each segment, in the order of their numbers.

    Frames are placed by their positions in the patient; slices without a frame are background. Voxels are where
    highdicom puts them and True within the segment, whatever value a viewer shows (ITK gives 255 there).

    Raises:
        UnreadableFileError: truncated or damaged.
        UnsupportedFormatError: frames that do not lie on slices of `image`, or in no regular stack.
        PairMismatchError: off the grid of `image`, or labelled voxels outside it.
    """
    segmentation = _opened(path, image)
    with checked_header(path):
        sizes = (segmentation.Columns, segmentation.Rows, int(segmentation.NumberOfFrames))
        numbers = segmentation.segment_numbers
        names = [str(segmentation.get_segment_description(number).segment_label).strip() for number in numbers]
    check_size(path, sizes, 1, 0, max_values, None)
    for number, label in zip(numbers, names, strict=True):
        name = label or f"segment {number}"
        array, affine = _segment(segmentation, number, path)
        yield name, placed_mask(array, affine, image, f"{path}: segment {name}")


def _opened(path: Path, image: Volume) -> Any:
    """The segmentation, told the distance of the scan's slices: its own may be missing or wrong, positions are not."""
    import highdicom as hd

    with checked_header(path):
        dataset = read_file(path)
        groups = [*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence]
        planes = [group.PlaneOrientationSequence[0] for group in groups if "PlaneOrientationSequence" in group]
        distance = _distance_of_slices(image, planes[0].ImageOrientationPatient)
        for measures in (group.PixelMeasuresSequence[0] for group in groups if "PixelMeasuresSequence" in group):
            measures.SpacingBetweenSlices = f"{distance:.10g}"
            if not measures.get("SliceThickness"):
                measures.SliceThickness = measures.SpacingBetweenSlices
        return hd.seg.Segmentation.from_dataset(dataset, copy=False)


def _distance_of_slices(image: Volume, orientation: Sequence[float]) -> float:
    """Millimetres from slice to slice of `image`, along the axis that is nearest to the normal of a frame."""
    normal = np.cross(orientation[:3], orientation[3:]) * np.diag(LPS_TO_RAS)[:3]
    along = np.abs(normal @ image.affine[:3, :3]) / image.spacing_mm
    return float(np.asarray(image.spacing_mm)[np.argmax(along)])


def _segment(segmentation: hd.seg.Segmentation, number: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        volume = segmentation.get_volume(segment_numbers=[number], rescale_fractional=True)
    except (ValueError, EOFError) as error:
        raise damaged(path, error) from error
    except REFUSALS as error:
        raise UnsupportedFormatError(
            f"{path}: a DICOM SEG whose frames do not lie on slices of the scan ({' '.join(str(error).split())})"
        ) from error
    array, affine = place_frames(volume.array[..., 0], volume.affine)
    return array >= FRACTION, affine
