"""DICOM SEG through highdicom: each segment as a mask on the grid of a scan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgmed.errors import UnsupportedFormatError
from imgmed.formats.dicom_file import checked_header, read_file
from imgmed.formats.dicom_frames import REFUSALS, place_frames
from imgmed.formats.header import check_size, damaged
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
        UnsupportedFormatError: frames that make no regular stack.
        PairMismatchError: off the grid of `image`, or labelled voxels outside it.
    """
    segmentation = _opened(path)
    with checked_header(path):
        sizes = (segmentation.Columns, segmentation.Rows, int(segmentation.NumberOfFrames))
        numbers = segmentation.segment_numbers
        names = [str(segmentation.get_segment_description(number).segment_label) for number in numbers]
    check_size(path, sizes, 1, 0, max_values, None)
    for number, name in zip(numbers, names, strict=True):
        array, affine = _spread(*_segment(segmentation, number, path), image)
        yield name, placed_mask(array, affine, image, f"{path}: segment {name}")


def _opened(path: Path) -> Any:
    import highdicom as hd

    with checked_header(path):
        return hd.seg.Segmentation.from_dataset(read_file(path), copy=False)


def _segment(segmentation: hd.seg.Segmentation, number: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        volume = segmentation.get_volume(segment_numbers=[number], rescale_fractional=True)
    except (ValueError, EOFError) as error:
        raise damaged(path, error) from error
    except REFUSALS as error:
        raise UnsupportedFormatError(
            f"{path}: a DICOM SEG whose frames make no regular stack ({' '.join(str(error).split())})"
        ) from error
    array, affine = place_frames(volume.array[..., 0], volume.affine)
    return array >= FRACTION, affine


def _spread(mask: np.ndarray, affine: np.ndarray, image: Volume) -> tuple[np.ndarray, np.ndarray]:
    """The mask with the distance between slices of the scan, where only some of these have a frame.

    Frames on every second (third ...) slice get the empty slices between them; a frame alone has no distance.
    """
    step = np.linalg.norm(affine[:3, 2])
    along = np.abs(affine[:3, 2] @ image.affine[:3, :3]) / (step * np.linalg.norm(image.affine[:3, :3], axis=0))
    ratio = step / image.spacing_mm[int(np.argmax(along))]
    times = max(1, round(ratio))
    if mask.shape[2] > 1 and (times == 1 or abs(ratio - times) > 0.01):
        return mask, affine
    finer = affine.copy()
    finer[:3, 2] /= ratio
    if mask.shape[2] == 1:
        return mask, finer
    spread = np.zeros((*mask.shape[:2], (mask.shape[2] - 1) * times + 1), bool)
    spread[:, :, ::times] = mask
    return spread, finer
