"""DICOM RTSTRUCT of a label map: closed contours through the centres of each structure's outermost voxels."""

from __future__ import annotations

import colorsys
import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from imgmed.errors import UnsupportedFormatError
from imgmed.formats.dicom_source import (
    MAY_BE_EMPTY,
    Producer,
    SourceSeries,
    derived_uid,
    label_note,
    label_numbers,
    read_source,
    series_number,
    short_text,
)
from imgmed.formats.itk import LPS_TO_RAS
from imgmed.formats.quiet import quiet
from imgmed.volume import Volume
from r2d2_base.files import written_beside

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["write_structures"]

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, retired: what RTSTRUCT files name studies by
FEWEST_POINTS = 3
GOLDEN_RATIO = 0.618033988749895


@quiet("pydicom")
def write_structures(
    path: Path, label_map: Volume, labels: Mapping[str, int], series: Sequence[Path], producer: Producer
) -> None:
    """Write a label map as RTSTRUCT of its series: for each label the contours of its parts, slice by slice.

    Contours run through the centres of the outermost voxels, as OpenCV and rt-utils draw them, in steps along rows,
    columns and diagonals; a contour within another is a hole. Whoever fills them with the voxels on the line (rt-utils,
    R2D2) gets the same mask back; whoever takes what they enclose misses half a voxel all round, and single voxels.

    Written by pydicom, not by rt-utils: that swaps the spacings of rows and columns (1.2.7), and names its own makers.

    Args:
        path: target, in a folder that exists.
        label_map: (columns, rows, slices) in the voxels of the series.
        labels: name to label value; the background, 0, gets no region.
        series: the files of the series, in any order; no multi-frame file.
        producer: what made the label map.

    Raises:
        UnsupportedFormatError: the series lacks what must be referred to; says what, and what would work.
        PairMismatchError: the label map has other voxels.
        NotWritableError: nothing can be written there.
    """
    source = read_source(series)
    if source.is_multi_frame:
        raise UnsupportedFormatError(
            f"{source.files[0]}: an RTSTRUCT refers to files of one slice each; write a SEG (--dicom-output seg)"
        )
    named, numbers = label_numbers(labels, label_map.array)
    order = source.slice_indices(label_map)
    uids = [str(dataset.SOPInstanceUID) for dataset in source.images]
    digest = hashlib.sha256(np.ascontiguousarray(numbers).data).hexdigest()
    made_from = (*map(str, (producer, named, digest)), uids)
    structures = _new(source, producer, made_from)
    for number, (name, value) in enumerate(named, start=1):
        contours = [
            _contour(points, source.images[index])
            for index, k in enumerate(order)
            for points in _contours(numbers[:, :, k] == number, int(k), label_map.affine)
        ]
        structures.StructureSetROISequence.append(_region(source, number, name, value))
        structures.ROIContourSequence.append(_region_contours(number, contours))
        structures.RTROIObservationsSequence.append(_observation(number))
    with written_beside(path) as (beside,):
        structures.save_as(beside, enforce_file_format=True)


def _contours(mask: np.ndarray, k: int, affine: np.ndarray) -> Iterator[np.ndarray]:
    """(points, 3) LPS millimetres of each contour of a mask (columns, rows)."""
    if not mask.any():
        return
    found, _ = cv2.findContours(np.ascontiguousarray(mask.T, np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for pixels in found:
        points = pixels.reshape(-1, 2).astype(np.float64)
        points = np.pad(points, ((0, max(0, FEWEST_POINTS - len(points))), (0, 0)), mode="edge")
        voxels = np.c_[points, np.full(len(points), k), np.ones(len(points))]
        yield (voxels @ (LPS_TO_RAS @ affine).T)[:, :3]


def _new(source: SourceSeries, producer: Producer, made_from: tuple[object, ...]) -> Dataset:
    """A structure set without structures: patient, study, series, and the frame of reference."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    now = datetime.datetime.now()
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    for keyword in ("StudyInstanceUID", "StudyDescription", "FrameOfReferenceUID", *MAY_BE_EMPTY):
        if keyword in source.first:
            setattr(made, keyword, source.first[keyword].value)
    made.PositionReferenceIndicator = source.first.get("PositionReferenceIndicator") or ""
    made.SOPClassUID, made.SOPInstanceUID = UID(RTSTRUCT), derived_uid("instance", *made_from)
    made.SeriesInstanceUID, made.SeriesNumber = derived_uid("series", *made_from), series_number(source)
    made.Modality, made.InstanceNumber = "RTSTRUCT", 1
    made.SeriesDescription = f"{producer.software} structures"
    made.Manufacturer = made.ManufacturerModelName = producer.software
    made.SoftwareVersions, made.DeviceSerialNumber = producer.version, producer.model
    made.OperatorsName = ""
    made.StructureSetLabel = producer.software
    made.InstanceCreationDate = made.StructureSetDate = now.strftime("%Y%m%d")
    made.InstanceCreationTime = made.StructureSetTime = now.strftime("%H%M%S")
    made.ApprovalStatus = "UNAPPROVED"
    made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
    made.StructureSetROISequence, made.ROIContourSequence, made.RTROIObservationsSequence = [], [], []
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = (
        UID(RTSTRUCT),
        made.SOPInstanceUID,
    )
    return made


def _frame_of_reference(source: SourceSeries) -> Dataset:
    series = _dataset(
        SeriesInstanceUID=source.first.SeriesInstanceUID, ContourImageSequence=[_refer(one) for one in source.images]
    )
    study = _dataset(
        ReferencedSOPClassUID=STUDY,
        ReferencedSOPInstanceUID=source.first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _dataset(FrameOfReferenceUID=source.first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _region(source: SourceSeries, number: int, name: str, value: int) -> Dataset:
    return _dataset(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=source.first.FrameOfReferenceUID,
        ROIName=short_text(name) or label_note(value),
        ROIDescription=label_note(value),
        ROIGenerationAlgorithm="AUTOMATIC",
    )


def _region_contours(number: int, contours: list[Dataset]) -> Dataset:
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN_RATIO % 1, 0.8, 1.0)
    colour = [round(255 * part) for part in (red, green, blue)]
    region = _dataset(ROIDisplayColor=colour, ReferencedROINumber=number)
    if contours:
        region.ContourSequence = contours
    return region


def _observation(number: int) -> Dataset:
    return _dataset(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="", ROIInterpreter="")


def _contour(points: np.ndarray, image: Dataset) -> Dataset:
    return _dataset(
        ContourImageSequence=[_refer(image)],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
        ContourData=[f"{value:.4f}".rstrip("0").rstrip(".") for value in points.ravel()],
    )


def _refer(image: Dataset) -> Dataset:
    return _dataset(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)


def _dataset(**values: Any) -> Dataset:
    from pydicom import Dataset

    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made
