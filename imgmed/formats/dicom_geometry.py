"""Where the slices of a DICOM series lie: their order, and whether they make one regular stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imgmed.errors import InvalidVolumeError
from imgmed.formats.header import PICTURE_AFFINE
from imgmed.formats.itk import LPS_TO_RAS

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Slice", "normal_of", "sorted_slices", "stack_affine"]

ORIENTATION_TOLERANCE = 1e-3
SAME_POSITION_MM = 1e-3
STEP_TOLERANCE = 0.05  # of the distance between slices; positions are often rounded
STEP_TOLERANCE_MM = 0.05
TILT_TOLERANCE_DEGREES = 0.5
DRIFT_TOLERANCE_PIXELS = 0.5


@dataclass(frozen=True, eq=False)
class Slice:
    """What the header of one image file says; position and orientation are DICOM's (LPS, mm), None where absent."""

    path: Path
    rows: int
    columns: int
    samples: int
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing_mm: tuple[float, float]  # between rows, between columns
    thickness_mm: float
    number: int
    slope: float
    intercept: float
    has_table: bool
    bits: int
    bytes_stored: int
    is_signed: bool
    photometric: str
    modality: str
    body_part: str
    transfer_syntax: str
    transfer_syntax_name: str
    is_compressed: bool
    is_multi_frame: bool

    @classmethod
    def of(cls, path: Path, dataset: Dataset) -> Slice:
        """Collect it from a pydicom dataset."""
        position, orientation = dataset.get("ImagePositionPatient"), dataset.get("ImageOrientationPatient")
        is_placed = bool(position) and bool(orientation)
        spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing") or (1.0, 1.0)
        thickness = dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 1.0
        syntax = dataset.file_meta.TransferSyntaxUID
        return cls(
            path=path,
            rows=int(dataset.Rows),
            columns=int(dataset.Columns),
            samples=int(dataset.get("SamplesPerPixel") or 1),
            position=np.array(position, np.float64).reshape(3) if is_placed else None,
            orientation=np.array(orientation, np.float64).reshape(2, 3) if is_placed else None,
            spacing_mm=(float(spacing[0]), float(spacing[1])),
            thickness_mm=abs(float(thickness)),
            number=int(dataset.get("InstanceNumber") or 0),
            slope=float(dataset.get("RescaleSlope") or 1),
            intercept=float(dataset.get("RescaleIntercept") or 0),
            has_table=bool(dataset.get("ModalityLUTSequence")),
            bits=int(dataset.get("BitsStored") or dataset.BitsAllocated),
            bytes_stored=max(1, int(dataset.BitsAllocated) // 8),
            is_signed=bool(dataset.get("PixelRepresentation") or 0),
            photometric=str(dataset.get("PhotometricInterpretation", "")),
            modality=str(dataset.get("Modality", "")),
            body_part=str(dataset.get("BodyPartExamined") or ""),
            transfer_syntax=str(syntax),
            transfer_syntax_name=syntax.name,
            is_compressed=bool(syntax.is_compressed),
            is_multi_frame=int(dataset.get("NumberOfFrames") or 1) > 1 or "SharedFunctionalGroupsSequence" in dataset,
        )


def normal_of(slices: list[Slice]) -> np.ndarray | None:
    """The unit vector across the first slice, in LPS; None where a slice has no position."""
    if any(one.position is None or one.orientation is None for one in slices):
        return None
    row, column = slices[0].orientation  # type: ignore[misc]
    normal = np.cross(row, column)
    length = np.linalg.norm(normal)
    return normal / length if length > 0 else None


def sorted_slices(slices: list[Slice]) -> list[Slice]:
    """Return slices by position along the normal; without positions by instance number, then name."""
    normal = normal_of(slices)
    if normal is None:
        return sorted(slices, key=lambda one: (one.number, one.path))
    return sorted(slices, key=lambda one: (float(normal @ one.position), one.number, one.path))


def stack_affine(slices: list[Slice]) -> np.ndarray:
    """Return the (4, 4) affine (column, row, slice) -> RAS millimetres of sorted slices.

    Raises:
        InvalidVolumeError: sizes, spacings or orientations differ, or the positions make no regular stack of
            slices across their normal; says which file.

    Source: DICOM PS3.3, C.7.6.2.1.1 (Image Plane).
    """
    first = slices[0]
    _check_alike(slices)
    if first.position is None or first.orientation is None:
        return PICTURE_AFFINE * [*first.spacing_mm, 1, 1]
    affine = np.eye(4)
    row, column = first.orientation
    normal = normal_of(slices)
    if normal is None or min(first.spacing_mm) <= 0 or abs(row @ column) > ORIENTATION_TOLERANCE:
        raise InvalidVolumeError(f"{first.path}: its image orientation or pixel spacing is not usable")
    affine[:3, 0] = row * first.spacing_mm[1]
    affine[:3, 1] = column * first.spacing_mm[0]
    affine[:3, 2] = _step(slices, normal)
    affine[:3, 3] = first.position
    return LPS_TO_RAS @ affine


def _check_alike(slices: list[Slice]) -> None:
    first = slices[0]
    for one in slices[1:]:
        if (one.rows, one.columns, one.samples) != (first.rows, first.columns, first.samples):
            raise InvalidVolumeError(
                f"{one.path}: a slice of {one.rows} x {one.columns} among slices of {first.rows} x {first.columns};"
                " all slices of a volume need one size (a scout view among them?)"
            )
        if not np.allclose(one.spacing_mm, first.spacing_mm, rtol=1e-4):
            raise InvalidVolumeError(
                f"{one.path}: pixel spacing {one.spacing_mm} mm among slices of {first.spacing_mm} mm"
            )
        turns = None if one.orientation is None or first.orientation is None else one.orientation - first.orientation
        if turns is not None and np.abs(turns).max() > ORIENTATION_TOLERANCE:
            raise InvalidVolumeError(
                f"{one.path}: its orientation differs from that of {first.path.name}; a volume needs parallel"
                " slices (a scout view, or several planes in one series?)"
            )


def _step(slices: list[Slice], normal: np.ndarray) -> np.ndarray:
    """The vector from one slice to the next, in LPS millimetres."""
    if len(slices) == 1:
        return normal * (slices[0].thickness_mm or 1.0)
    positions = np.array([one.position for one in slices])
    along = positions @ normal
    gaps = np.diff(along)
    _check_no_duplicates(slices, gaps)
    _check_even(slices, gaps)
    _check_no_tilt(slices, positions, along, normal)
    return (positions[-1] - positions[0]) / (len(slices) - 1)


def _check_no_duplicates(slices: list[Slice], gaps: np.ndarray) -> None:
    same = np.flatnonzero(gaps < SAME_POSITION_MM)
    if not len(same):
        return
    places = len(gaps) + 1 - len(same)
    at = int(same[0])
    if len(slices) % places == 0 and len(slices) // places > 1 and places > 1:
        raise InvalidVolumeError(
            f"{slices[at].path.parent}: {len(slices)} slices at {places} positions, {len(slices) // places} at each:"
            " several volumes (time points, echoes, repeats) in one series; put each volume's files in a"
            " folder of its own, or convert the series to one 4D NIfTI with its maker's or a dedicated converter"
        )
    raise InvalidVolumeError(
        f"{slices[at + 1].path}: lies at the same position as {slices[at].path.name}; remove the copy"
    )


def _check_even(slices: list[Slice], gaps: np.ndarray) -> None:
    usual = float(np.median(gaps))
    even = np.linspace(0, float(gaps.sum()), len(slices))
    off = np.abs(np.concatenate([[0.0], np.cumsum(gaps)]) - even).max()
    if off <= max(STEP_TOLERANCE * usual, STEP_TOLERANCE_MM):
        return
    usual = float(np.min(gaps)) if len(gaps) < 3 else usual
    wide = int(np.argmax(gaps))
    missing = gaps[wide] / usual
    where = f"between {slices[wide].path.name} and {slices[wide + 1].path.name}"
    folder = slices[0].path.parent
    lost = round(missing) - 1
    if lost > 0 and abs(missing - round(missing)) < 2 * STEP_TOLERANCE:
        counted = "1 slice is" if lost == 1 else f"{lost} slices are"
        raise InvalidVolumeError(
            f"{folder}: {counted} missing {where} (a gap of {gaps[wide]:.4g} mm where the others are {usual:.4g} mm);"
            " copy the series again, or resample it with a tool that fills gaps knowingly"
        )
    raise InvalidVolumeError(
        f"{folder}: its slices are unevenly spaced, {gaps.min():.4g} to {gaps.max():.4g} mm, the widest {where};"
        " a volume needs one spacing"
    )


def _check_no_tilt(slices: list[Slice], positions: np.ndarray, along: np.ndarray, normal: np.ndarray) -> None:
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    drift = np.linalg.norm(sideways, axis=1)
    angle = float(np.degrees(np.arctan2(drift[-1], along[-1] - along[0])))
    if angle > TILT_TOLERANCE_DEGREES or drift.max() > DRIFT_TOLERANCE_PIXELS * min(slices[0].spacing_mm):
        raise InvalidVolumeError(
            f"{slices[0].path.parent}: its slices are shifted against each other by up to {drift.max():.4g} mm (gantry"
            f" tilt of {angle:.3g} degrees); a volume needs slices stacked along their normal: correct the tilt"
            " with a converter that resamples, such as dcm2niix"
        )
