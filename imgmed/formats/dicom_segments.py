"""DICOM SEG through highdicom: each segment as a mask on the grid of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgmed.errors import UnsupportedFormatError
from imgmed.formats.dicom_file import checked_header, read_file
from imgmed.formats.dicom_frames import REFUSALS, place_frames
from imgmed.formats.dicom_source import noted_value
from imgmed.formats.header import check_size, damaged
from imgmed.formats.itk import LPS_TO_RAS
from imgmed.formats.mask_files import placed_mask
from imgmed.volume import Volume

if TYPE_CHECKING:
    import highdicom as hd

__all__ = ["read_segments", "read_valued_segments", "segment_values"]

OFF_SLICE = 0.1  # of a voxel: how far a frame may lie from where a regular stack has its slice
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
    return ((name, mask) for _, name, mask in read_valued_segments(path, image, max_values))


def read_valued_segments(path: Path, image: Volume, max_values: int) -> Iterator[tuple[int, str, np.ndarray]]:
    """Give the label value of each segment too: as R2D2 notes it, else the segment's number; as `read_segments`."""
    segmentation, image = _opened(path, image)
    with checked_header(path):
        sizes = (segmentation.Columns, segmentation.Rows, int(segmentation.NumberOfFrames))
        numbers = segmentation.segment_numbers
        described = [segmentation.get_segment_description(number) for number in numbers]
        names = [str(one.segment_label).strip() for one in described]
        values = [noted_value(one.get("SegmentDescription"), n) for n, one in zip(numbers, described, strict=True)]
    check_size(path, sizes, 1, 0, max_values, None)
    for number, value, label in zip(numbers, values, names, strict=True):
        name = label or f"segment {number}"
        array, affine = _segment(segmentation, number, path)
        yield value, name, placed_mask(array, affine, image, f"{path}: segment {name}")


def segment_values(path: Path) -> list[int]:
    """Return the label values of all segments that are described, of which some may be empty."""
    with checked_header(path):
        dataset = read_file(path, ["SegmentSequence"])
        values = [noted_value(one.get("SegmentDescription"), int(one.SegmentNumber)) for one in dataset.SegmentSequence]
        return [value for value in values if value]  # 0 is the background of those stored as a label map


def _opened(path: Path, image: Volume) -> tuple[Any, Volume]:
    """The segmentation, told the distance of the scan's slices: its own may be missing or wrong, positions are not.

    Slices of scans may lie a little off a regular stack. Frames that lie on them are put on one, and so is the scan
    that is returned.
    """
    import highdicom as hd

    with checked_header(path):
        dataset = read_file(path)
        groups = [*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence]
        planes = [group.PlaneOrientationSequence[0] for group in groups if "PlaneOrientationSequence" in group]
        if not planes:
            raise UnsupportedFormatError(
                f"{path}: a DICOM SEG whose frames have no place in the patient (no PlaneOrientationSequence), as those"
                " of microscopy and of single pictures; convert it, and the image, to PNG or TIFF"
            )
        axis = _slice_axis(image, planes[0].ImageOrientationPatient)
        for measures in (group.PixelMeasuresSequence[0] for group in groups if "PixelMeasuresSequence" in group):
            measures.SpacingBetweenSlices = f"{image.spacing_mm[axis]:.10g}"
            if not measures.get("SliceThickness"):
                measures.SliceThickness = measures.SpacingBetweenSlices
        places = [group.PlanePositionSequence[0] for group in groups if "PlanePositionSequence" in group]
        positions = np.array([place.ImagePositionPatient for place in places], np.float64).reshape(-1, 3)
        voxels = (np.linalg.inv(image.affine) @ LPS_TO_RAS)[:3] @ np.c_[positions, np.ones(len(positions))].T
        if np.abs(voxels - np.rint(voxels)).max(initial=0) <= OFF_SLICE:
            image = Volume(image.array, _upright(image.affine, axis), Path(image.origin))
            exact = LPS_TO_RAS[:3] @ image.affine @ np.r_[np.rint(voxels), np.ones((1, len(positions)))]
            for place, position in zip(places, exact.T, strict=True):
                place.ImagePositionPatient = [f"{value:.10g}" for value in position]
        return hd.seg.Segmentation.from_dataset(dataset, copy=False), image


def _upright(affine: np.ndarray, axis: int) -> np.ndarray:
    """An affine whose slices along `axis` are stacked along their normal, as far from each other as before."""
    first, second = (affine[:3, other] for other in range(3) if other != axis)
    across = np.cross(first, second)
    across /= np.linalg.norm(across)
    upright = np.array(affine)
    upright[:3, axis] = across * (across @ affine[:3, axis])
    return upright


def _slice_axis(image: Volume, orientation: Sequence[float]) -> int:
    """The axis of `image` that is nearest to the normal of a frame."""
    normal = np.cross(orientation[:3], orientation[3:]) * np.diag(LPS_TO_RAS)[:3]
    return int(np.argmax(np.abs(normal @ image.affine[:3, :3]) / image.spacing_mm))


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
