"""The DICOM series that a segmentation refers to: the headers of its files, in the order of their slices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imgmed.errors import PairMismatchError, UnsupportedFormatError
from imgmed.formats.dicom_file import checked_header, read_file
from imgmed.formats.dicom_geometry import Slice, sorted_slices
from imgmed.formats.itk import LPS_TO_RAS
from imgmed.formats.quiet import quiet
from imgmed.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "NO_PLACE", "Producer", "SourceSeries", "check_source", "derived_uid", "label_note", "label_numbers", "noted_value",
    "read_source", "segment_numbers", "series_number", "short_text",
]  # fmt: skip

NO_PLACE = "write NIfTI instead"
TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "InstanceNumber", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Type 2 in DICOM: must be there, and may be empty; programs that hide patients often leave them out."""
DATES = {"PatientBirthDate": r"\d{8}", "StudyDate": r"\d{8}", "StudyTime": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"}
LONGEST_NAME = 64
LARGEST_SERIES_NUMBER = 2**31 - 1
SEXES = ("M", "F", "O")
OFF_TOLERANCE = 0.1  # of a voxel: how far a file's position may be from where the label map has its slice


@dataclass(frozen=True)
class Producer:
    """What made a label map.

    Args:
        software: its name.
        version: its version.
        model: SHA-256 of the network, or whatever else tells it from others.
    """

    software: str
    version: str
    model: str


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """Headers of a series, without pixels, for what refers to it.

    Args:
        files: as they were given.
        images: one for each slice along k, the first with all that is known of the patient and the study; or a single
            one with a frame for each slice.
        positions: (n, 3) LPS millimetres of the slices, or frames, in their order in `images`.
    """

    files: tuple[Path, ...]
    images: tuple[Dataset, ...]
    positions: np.ndarray

    @property
    def first(self) -> Dataset:
        """What says who the patient is."""
        return self.images[0]

    @property
    def is_multi_frame(self) -> bool:
        """Whether one file holds all slices."""
        return "SharedFunctionalGroupsSequence" in self.first

    @property
    def distance_mm(self) -> float:
        """From slice to slice; of a single one its thickness."""
        if len(self) > 1:
            return float(np.linalg.norm(self.positions[-1] - self.positions[0])) / (len(self) - 1)
        return float(self.first.get("SliceThickness") or 1)

    def slice_indices(self, label_map: Volume) -> np.ndarray:
        """Return the k of each slice, or frame, within a label map (columns, rows, slices) of the series.

        Raises:
            PairMismatchError: it has other voxels than the files.
        """
        indices = (np.linalg.inv(label_map.affine) @ LPS_TO_RAS)[:3] @ np.c_[self.positions, np.ones(len(self))].T
        order = np.rint(indices[2]).astype(int)
        off = float(np.abs(indices - [[0], [0], [1]] * order).max())
        sizes = (int(self.first.Columns), int(self.first.Rows), len(self))
        if label_map.shape != sizes or off > OFF_TOLERANCE or set(order) != set(range(len(self))):
            raise PairMismatchError(
                f"{self.files[0].parent}: the label map has not the voxels of these files, of which it was made; were"
                f" they changed? Else {NO_PLACE}"
            )
        return order

    def __len__(self) -> int:
        return len(self.positions)


@quiet("pydicom")
def check_source(files: Sequence[Path]) -> None:
    """Look whether what is written of a series can refer to it.

    Raises:
        UnsupportedFormatError: something is missing in its headers; says what, and what would work.
        UnreadableFileError: a file is damaged.
    """
    read_source(files)


@quiet("pydicom")
def read_source(files: Sequence[Path]) -> SourceSeries:
    """Read the headers of the files of a series, or of one multi-frame file, in any order; raises as `check_source`."""
    paths = [Path(path) for path in files]
    with_tags = {path: _header(path, TAGS) for path in paths}
    if len(paths) == 1 and _slice_of(paths[0], with_tags[paths[0]]).is_multi_frame:
        whole = _cleaned(_header(paths[0], None))
        _check({paths[0]: whole})
        return SourceSeries(tuple(paths), (whole,), _frame_positions(paths[0], whole))
    _check(with_tags)
    slices = sorted_slices([_slice_of(path, dataset) for path, dataset in with_tags.items()])
    if any(one.position is None for one in slices):
        raise UnsupportedFormatError(f"{paths[0]}: has no place in the patient, which a segmentation needs; {NO_PLACE}")
    first = _cleaned(_header(slices[0].path, None))
    images = (first, *(with_tags[one.path] for one in slices[1:]))
    source = SourceSeries(tuple(paths), images, np.array([one.position for one in slices]))
    for image in images:
        image.SliceThickness = image.get("SliceThickness") or f"{source.distance_mm:.10g}"
    return source


def segment_numbers(labels: Mapping[str, int]) -> dict[str, int]:
    """Number labels from 1 in the order of their values, as DICOM counts segments and regions of interest (ROI).

    Args:
        labels: {name: value}; the background, 0, gets no number.

    >>> segment_numbers({"b": 300, "background": 0, "a": 4})
    {'a': 1, 'b': 2}
    """
    named = sorted((value, name) for name, value in labels.items() if value != 0)
    return {name: number for number, (_, name) in enumerate(named, start=1)}


def label_numbers(labels: Mapping[str, int], label_map: np.ndarray) -> tuple[list[tuple[str, int]], np.ndarray]:
    """Put the numbers of segments into a label map.

    Returns:
        Names and values of the labels, without the background, and the label map in their numbers.

    >>> label_numbers({"b": 300, "background": 0, "a": 4}, np.array([0, 300, 4]))
    ([('a', 4), ('b', 300)], array([0, 2, 1], dtype=uint8))
    """
    named = [(name, labels[name]) for name in segment_numbers(labels)]
    values = np.array([0, *(value for _, value in named)])
    numbers = np.zeros(int(max(values.max(), label_map.max())) + 1, np.min_scalar_type(len(named)))
    numbers[values] = np.arange(len(values))
    return named, numbers[label_map]


def label_note(value: int) -> str:
    """Return how a label's value is noted beside its segment, whose number counts from 1."""
    return f"label {value}"


def noted_value(note: object, number: int) -> int:
    """Return the label value that is noted of a segment; its number, where none is.

    >>> noted_value(label_note(300), 2), noted_value("Liver, by hand", 2)
    (300, 2)
    """
    match = re.fullmatch(r"label ([1-9]\d{0,4})", str(note or "").strip())
    return int(match[1]) if match else number


def series_number(source: SourceSeries) -> int:
    """Number a series that was derived from another."""
    number = abs(int(source.first.get("SeriesNumber") or 0)) * 100 + 1
    return number if number <= LARGEST_SERIES_NUMBER else 1


def short_text(text: str) -> str:
    r"""Cut a text to what DICOM allows in a line.

    >>> short_text("a\\b  c")
    'a/b c'
    """
    return " ".join(text.replace("\\", "/").split())[:LONGEST_NAME]


def derived_uid(*made_from: object) -> str:
    """Return a unique identifier (UID) that follows from what something was made of: the same for the same.

    Source: DICOM PS3.5, B.2 (UIDs from UUIDs).
    """
    import uuid

    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, repr(made_from)).int}"


def _header(path: Path, tags: list[str] | None) -> Dataset:
    with checked_header(path):
        dataset = read_file(path, tags, with_pixels=False)
        dataset.decode()
        return dataset


def _slice_of(path: Path, dataset: Dataset) -> Slice:
    with checked_header(path):
        return Slice.of(path, dataset)


def _check(images: Mapping[Path, Dataset]) -> None:
    """What refers to images needs their numbers, and one series in one place."""
    for path, dataset in images.items():
        missing = [keyword for keyword in NEEDED if not dataset.get(keyword)]
        if missing:
            raise UnsupportedFormatError(
                f"{path}: has no {', no '.join(missing)}, by which a segmentation refers to its scan; {NO_PLACE}"
            )
    for keyword, plural in (("SeriesInstanceUID", "series"), ("FrameOfReferenceUID", "frames of reference")):
        count = len({dataset[keyword].value for dataset in images.values()})
        if count > 1:
            folder = next(iter(images)).parent
            raise UnsupportedFormatError(f"{folder}: its slices are of {count} {plural}, which must be one; {NO_PLACE}")
    if len({dataset.SOPInstanceUID for dataset in images.values()}) < len(images):
        folder = next(iter(images)).parent
        raise UnsupportedFormatError(f"{folder}: several of its files have one SOPInstanceUID; {NO_PLACE}")


def _cleaned(dataset: Dataset) -> Dataset:
    """What a header leaves out and DICOM lets be empty is empty; so are dates and sexes that are none."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword in MAY_BE_EMPTY:
        if dataset.get(keyword) is None:
            setattr(dataset, keyword, "")
    for keyword, pattern in DATES.items():
        if not re.fullmatch(pattern, str(dataset.get(keyword) or "").strip()):
            setattr(dataset, keyword, "")
    if dataset.PatientSex not in SEXES:
        dataset.PatientSex = ""
    return dataset


def _frame_positions(path: Path, dataset: Dataset) -> np.ndarray:
    with checked_header(path):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        groups = [one if "PlanePositionSequence" in one else shared for one in dataset.PerFrameFunctionalGroupsSequence]
        places = [one.PlanePositionSequence[0].ImagePositionPatient for one in groups]
        return np.array(places, np.float64).reshape(-1, 3)
