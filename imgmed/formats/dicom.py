"""DICOM images: finding series among files, and one series, or one multi-frame file, as a volume."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imgmed.errors import (
    SourceLayoutError,
    SourceNotFoundError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from imgmed.formats import dicom_frames, dicom_voxels
from imgmed.formats.dicom_file import checked_header, is_dicom, read_file
from imgmed.formats.dicom_geometry import Slice, normal_of, sorted_slices, stack_affine
from imgmed.formats.dicom_series import FEWEST_SLICES, joined_slices, without_copies
from imgmed.formats.header import VolumeHeader, check_size, damaged, stored_bytes
from imgmed.formats.quiet import quiet
from imgmed.formats.units import SpatialUnits
from imgmed.volume import MAX_VALUES, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

    from imgmed.study import VolumeSource

__all__ = ["SUFFIXES", "DicomSeries", "PatientIdentity", "find_series", "is_capture", "read", "read_header"]

SUFFIXES: tuple[str, ...] = (".dcm",)
DIRECTORY = "1.2.840.10008.1.3.10"
SEGMENTATION = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and the multi-frame kinds that begin so
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
IDENTITY = ("PatientName", "PatientID", "PatientBirthDate")
TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "SeriesDescription",
    *IDENTITY, "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices", "InstanceNumber", "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence", "SharedFunctionalGroupsSequence", "BodyPartExamined",
]  # fmt: skip


@dataclass(frozen=True, repr=False)
class PatientIdentity:
    """Who the patient is: kept in memory for grouping by patient, never shown by accident.

    >>> PatientIdentity("Doe^Jane", "4711", "19700101")
    PatientIdentity(hidden)
    """

    name: str
    patient_id: str
    birth_date: str

    def __repr__(self) -> str:
        return "PatientIdentity(hidden)"

    __str__ = __repr__


@dataclass(frozen=True)
class DicomSeries:
    """The files of one series, or one segmentation or structure set.

    Args:
        files: sorted along the normal of the slices where they have one, else by number and name.
        series_uid: SeriesInstanceUID; identifies the series, and with it the patient: do not publish.
        study_uid: StudyInstanceUID, likewise.
        modality: such as "CT" or "MR"; "" where the files do not say.
        description: SeriesDescription, free text of the scanner's operator.
        kind: "image", "segmentation" (DICOM SEG), "structures" (RTSTRUCT) or "other" (reports, plans ...).
        referenced_series: series_uid of the images that a segmentation or structure set belongs to.
        identity: who the patient is.
    """

    files: tuple[Path, ...]
    series_uid: str
    study_uid: str
    modality: str
    description: str
    kind: str
    referenced_series: tuple[str, ...]
    identity: PatientIdentity = field(repr=False)

    @property
    def source(self) -> VolumeSource:
        """The files as `read_volume` takes them."""
        from imgmed.study import VolumeSource

        return VolumeSource(self.files)


@quiet("pydicom")
def is_capture(path: Path) -> bool:
    """Tell whether a DICOM image was captured from a screen or a page and has no place in the patient.

    Raises:
        UnreadableFileError: the file is damaged, or no DICOM.
    """
    dataset = _read_dataset(path)
    return _sop_class(dataset).startswith(CAPTURE) and not dataset.get("ImagePositionPatient")


@quiet("pydicom")
def find_series(source: Path | str | Sequence[Path]) -> tuple[DicomSeries, ...]:
    """Find the DICOM series in a folder and its subfolders, or among files; only headers are read.

    Files count as DICOM by their content, whatever their names; others, hidden ones and directories of media
    (DICOMDIR) are passed over, and so are copies of a file. Slices of one volume that were given a series each are
    one series. Whether a series makes a proper volume shows when it is read.

    Args:
        source: a folder, a file or several files.

    Returns:
        One for each series; segmentations and structure sets one for each file. By their first file's name.

    Raises:
        SourceNotFoundError: no such file or folder.
        UnreadableFileError: files that end in .dcm and are no DICOM, or are broken; all of them are named.
    """
    groups: dict[tuple[str, str, str], list[tuple[Path, Dataset]]] = defaultdict(list)
    broken = []
    for path in _candidates(source):
        try:
            dataset = _read_dataset(path)
        except UnreadableFileError as error:
            broken.append(str(error))
            continue
        kind = _kind_of(dataset)
        if kind is not None:
            own = "" if kind == "image" else str(path)
            groups[kind, str(dataset.get("SeriesInstanceUID", "")), own].append((path, dataset))
    if broken:
        raise UnreadableFileError("\n".join(broken))
    images = [without_copies(members) for (kind, *_), members in groups.items() if kind == "image"]
    series = [_series_of("image", members) for members in joined_slices(images)]
    series += [_series_of(kind, members) for (kind, *_), members in groups.items() if kind != "image"]
    return tuple(sorted(series, key=lambda one: one.files[0]))


@quiet("pydicom")
def read(files: tuple[Path, ...], max_values: int = MAX_VALUES, spatial_units: SpatialUnits = "header") -> Volume:
    """Return a series (one file a slice), or one multi-frame file, as (columns, rows, slices), in RAS millimetres.

    Slices are put in order by their positions. Rescale slope and intercept of each slice are applied (CT: HU);
    the number type is int16 where that holds every possible value, else a larger one or float32. Colour gives
    channels. One picture without a place in the patient (a chest X-ray) is (rows, columns, 1), placed like any
    picture but for its spacing. DICOM is in millimetres always: `spatial_units` changes nothing.

    Raises:
        UnreadableFileError: a file is truncated, damaged or no DICOM.
        UnsupportedFormatError: no image, or an image of a kind that is no volume (says which).
        InvalidVolumeError: slices that are missing, duplicate, unevenly spaced, tilted, or of several sizes,
            orientations or series.
    """
    if _is_multi_frame(files):
        return dicom_frames.read(files[0], max_values)
    slices, affine = _stack(files, max_values)
    array = dicom_voxels.read_slices(slices)
    if slices[0].position is None:
        array = np.swapaxes(array, 0, 1)
    return Volume(array, affine, _origin(files))


@quiet("pydicom")
def read_header(files: tuple[Path, ...], spatial_units: SpatialUnits = "header") -> VolumeHeader:
    """Return shape, number type, affine and facts of a series or multi-frame file from its headers."""
    if _is_multi_frame(files):
        return dicom_frames.read_header(files[0])
    slices, affine = _stack(files, MAX_VALUES)
    first = slices[0]
    shape = (first.columns, first.rows, len(slices))
    if first.position is None:
        shape = (first.rows, first.columns, 1)
    facts = {
        "format": "DICOM",
        "modality": first.modality,
        **({"body_part": first.body_part} if first.body_part else {}),
        "transfer_syntax": first.transfer_syntax_name,
        "photometric": first.photometric,  # MONOCHROME1: low values are shown bright; they are kept as stored
    }
    return VolumeHeader(shape, first.samples, dicom_voxels.dtype_for(slices), affine, facts)


def _candidates(source: Path | str | Sequence[Path]) -> Iterator[Path]:
    if isinstance(source, Path | str):
        root = Path(source)
        if root.is_dir():
            yield from (path for path in _files_below(root) if path.name.lower().endswith(SUFFIXES) or is_dicom(path))
            return
        source = (root,)
    for path in source:
        if not Path(path).is_file():
            raise SourceNotFoundError(f"no such file or folder: {path}")
        yield Path(path)


def _files_below(root: Path) -> Iterator[Path]:
    """Every file that is not hidden, linked folders included, each folder once (links can make circles)."""
    seen = set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        below[:] = [] if real in seen else sorted(name for name in below if not name.startswith("."))
        if real not in seen:
            paths = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
            yield from (path for path in paths if path.is_file())
        seen.add(real)


def _read_dataset(path: Path) -> Dataset:
    """The tags that are used here; pixels are left aside."""
    from pydicom.uid import UID

    with checked_header(path):
        dataset = read_file(path, TAGS)
        for tag in TAGS:
            dataset.get(tag)  # values are converted on first use; a broken one shows here
        if "Image Storage" in UID(_sop_class(dataset)).name and not dataset.get("Rows"):
            raise damaged(path, "an image whose header ends early")
        return dataset


def _kind_of(dataset: Dataset) -> str | None:
    sop_class = _sop_class(dataset)
    modality = str(dataset.get("Modality", ""))
    if sop_class == DIRECTORY:
        return None
    if sop_class in SEGMENTATION or modality == "SEG":
        return "segmentation"
    if sop_class == STRUCTURES or modality == "RTSTRUCT":
        return "structures"
    return "image" if dataset.get("Rows") and modality not in ("RTDOSE", "PR") else "other"


def _sop_class(dataset: Dataset) -> str:
    return str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")


def _series_of(kind: str, members: list[tuple[Path, Dataset]]) -> DicomSeries:
    path, first = members[0]
    with checked_header(path):
        referenced = _referenced_series(first)
    files = tuple(path for path, _ in members)
    if kind == "image" and len(members) > 1:
        files = tuple(one.path for one in sorted_slices([_slice_of(path, dataset) for path, dataset in members]))
    return DicomSeries(
        files=files,
        series_uid=str(first.get("SeriesInstanceUID", "")),
        study_uid=str(first.get("StudyInstanceUID", "")),
        modality=str(first.get("Modality", "")),
        description=str(first.get("SeriesDescription", "")),
        kind=kind,
        referenced_series=referenced,
        identity=PatientIdentity(*(str(first.get(tag) or "") for tag in IDENTITY)),
    )


def _referenced_series(dataset: Dataset) -> tuple[str, ...]:
    found = list(dataset.get("ReferencedSeriesSequence") or ())
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            found += study.get("RTReferencedSeriesSequence") or ()
    return tuple(str(one.get("SeriesInstanceUID", "")) for one in found)


def _is_multi_frame(files: tuple[Path, ...]) -> bool:
    """Whether a single file is all of the volume, with a place for each of its frames."""
    return len(files) == 1 and _slice_of(files[0], _image_dataset(files[0])).is_multi_frame


def _image_dataset(path: Path) -> Dataset:
    dataset = _read_dataset(path)
    kind = _kind_of(dataset)
    if kind in ("segmentation", "structures"):
        name = "DICOM SEG" if kind == "segmentation" else "RTSTRUCT"
        raise UnsupportedFormatError(f"{path}: a {name} holds labels, no image; name it as the label of its series")
    if kind != "image":
        raise UnsupportedFormatError(f"{path}: a DICOM object without an image ({dataset.get('Modality', 'unknown')})")
    return dataset


def _stack(files: tuple[Path, ...], max_values: int) -> tuple[list[Slice], np.ndarray]:
    """The slices in order and their affine, after every check that needs no pixels."""
    pairs = [(path, _image_dataset(path)) for path in files]
    series = {str(dataset.get("SeriesInstanceUID", "")) for _, dataset in pairs}
    has_a_series_each = len(series) == len(files) >= FEWEST_SLICES  # as `find_series` joins them
    if len(series) > 1 and not has_a_series_each:
        raise SourceLayoutError(
            f"{_origin(files)}: these {len(files)} files belong to {len(series)} series; find_series tells them apart"
        )
    slices = sorted_slices([_slice_of(path, dataset) for path, dataset in pairs])
    first = slices[0]
    sizes = (first.columns, first.rows, len(slices), first.samples)
    expansion = None if first.is_compressed else 1
    check_size(_origin(files), sizes, first.bytes_stored, stored_bytes(files), max_values, expansion)
    if normal_of(slices) is None and len(slices) > 1:
        raise UnsupportedFormatError(
            f"{first.path}: {len(slices)} pictures without position in the patient are no volume; name one of them"
        )
    for one in slices:
        dicom_voxels.check_kind(one)
    return slices, stack_affine(slices)


def _slice_of(path: Path, dataset: Dataset) -> Slice:
    with checked_header(path):
        return Slice.of(path, dataset)


def _origin(files: tuple[Path, ...]) -> Path:
    """What messages name: the file, or the folder of a series."""
    return files[0] if len(files) == 1 else files[0].parent
