"""DICOM SEG of a label map, through highdicom: a segment for each label, referring to the series of its scan."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgmed.errors import UnsupportedFormatError
from imgmed.formats.dicom_codes import coded_name
from imgmed.formats.dicom_frames import REFUSALS
from imgmed.formats.dicom_source import (
    NO_PLACE,
    Producer,
    SourceSeries,
    derived_uid,
    label_note,
    label_numbers,
    read_source,
    series_number,
    short_text,
)
from imgmed.formats.quiet import quiet
from imgmed.volume import Volume
from r2d2_base.files import written_beside

if TYPE_CHECKING:
    import highdicom as hd

__all__ = ["write_segmentation"]

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


@quiet("pydicom")
@quiet("highdicom")
def write_segmentation(
    path: Path,
    label_map: Volume,
    labels: Mapping[str, int],
    series: Sequence[Path],
    producer: Producer,
    codes: Mapping[str, str] | None = None,
) -> None:
    """Write a label map as DICOM SEG (binary segments; frames without a voxel are left out) of its series.

    Segments are numbered from 1 in the order of the label values, which are noted in SegmentDescription. UIDs follow
    from the content; date and time are those of the writing. It names the patient as the series does.

    Args:
        path: target, in a folder that exists.
        label_map: (columns, rows, slices) in the voxels of the series, as `read_volume` gives it.
        labels: name to label value; the background, 0, gets no segment.
        series: the files of the series, in any order, or the one multi-frame file.
        producer: what made the label map.
        codes: {label: code} of those whose names do not tell, see `coded_name`.

    Raises:
        UnsupportedFormatError: the series lacks what a SEG must refer to; says what, and what would work.
        PairMismatchError: the label map has other voxels.
        NotWritableError: nothing can be written there.
    """
    source = read_source(series)
    named, numbers = label_numbers(labels, label_map.array)
    order = source.slice_indices(label_map)
    planes = np.ascontiguousarray(numbers.T[order])
    digest = hashlib.sha256(planes.data).hexdigest()
    uids = [str(dataset.SOPInstanceUID) for dataset in source.images]
    given = {name: code for name, _ in named if (code := (codes or {}).get(name)) is not None}
    made_from = (*map(str, (producer, named, given, digest)), uids)
    try:
        segmentation = _built(source, planes, _descriptions(named, producer, given), producer, made_from)
    except REFUSALS as error:
        raise UnsupportedFormatError(
            f"{source.files[0].parent}: cannot be referred to by a DICOM SEG ({type(error).__name__} in its headers);"
            f" {NO_PLACE}"
        ) from None  # its message may quote the patient
    with written_beside(path) as (beside,):
        segmentation.save_as(beside)


def _built(
    source: SourceSeries,
    planes: np.ndarray,
    descriptions: Sequence[hd.seg.SegmentDescription],
    producer: Producer,
    made_from: tuple[object, ...],
) -> Any:
    """The data set; where no voxel is labelled, it has the first slice alone, since it must have a frame."""
    import highdicom as hd

    images, others, positions = list(source.images), [], None
    if not planes.any():
        planes, images, others = planes[:1], images[:1], images[1:]
    if source.is_multi_frame:
        places = source.positions[: len(planes)]
        positions = [hd.PlanePositionSequence("PATIENT", place.tolist()) for place in places]
    segmentation = hd.seg.Segmentation(
        source_images=images,
        pixel_array=planes,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=derived_uid("series", *made_from),
        series_number=series_number(source),
        sop_instance_uid=derived_uid("instance", *made_from),
        instance_number=1,
        manufacturer=producer.software,
        manufacturer_model_name=producer.software,
        software_versions=producer.version,
        device_serial_number=producer.model,
        content_label="SEGMENTATION",
        series_description=f"{producer.software} segmentation",
        plane_positions=positions,
        pixel_measures=None if source.is_multi_frame else _measures(source),
        omit_empty_frames=bool(planes.any()),
        further_source_images=others or None,
    )
    _settle_dimensions(segmentation, derived_uid("dimensions", *made_from))
    return segmentation


def _measures(source: SourceSeries) -> hd.PixelMeasuresSequence:
    import highdicom as hd

    return hd.PixelMeasuresSequence(
        pixel_spacing=[float(value) for value in source.first.PixelSpacing],
        slice_thickness=float(source.first.SliceThickness),
        spacing_between_slices=source.distance_mm,
    )


def _settle_dimensions(segmentation: Any, uid: str) -> None:
    """Give the order of frames a UID that follows from the content; highdicom draws one."""
    for dimension in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        dimension.DimensionOrganizationUID = uid


def _descriptions(
    named: Sequence[tuple[str, int]], producer: Producer, codes: Mapping[str, str]
) -> list[hd.seg.SegmentDescription]:
    import highdicom as hd
    from pydicom.sr.codedict import codes as dictionary

    algorithm = hd.AlgorithmIdentificationSequence(
        name=producer.software,
        family=dictionary.DCM.ArtificialIntelligence,
        version=producer.version,
        parameters={"model_sha256": producer.model},
    )
    described = []
    for number, (name, value) in enumerate(named, start=1):
        coded = coded_name(name, codes.get(name))
        turn = number * GOLDEN_ANGLE
        segment = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=short_text(name) or label_note(value),
            segmented_property_category=coded.category,
            segmented_property_type=coded.type,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            anatomic_regions=None if coded.region is None else [coded.region],
            display_color=hd.color.CIELabColor(65.0, 55 * math.cos(turn), 55 * math.sin(turn)),
        )
        if coded.side is not None:
            side = hd.sr.CodedConcept.from_code(coded.side)
            segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
        segment.SegmentDescription = label_note(value)
        described.append(segment)
    return described
