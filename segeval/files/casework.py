"""The work on one case: both files read, compared, and scored as a whole or slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segeval.conventions import Conventions
from segeval.errors import SegEvalError, UnreadableLabelMapError
from segeval.evaluate import CaseEvaluation, evaluate, evaluate_missing
from segeval.files.label_map import LabelMap, corner_shift, read_label_map
from segeval.files.pairing import CasePair
from segeval.labels import Label, class_values_of

__all__ = [
    "AFFINE_TOLERANCE_VOXELS",
    "SPACING_TOLERANCE",
    "CaseOutcome",
    "CaseTask",
    "ScoringOptions",
    "labels_in",
    "score_case",
]

AFFINE_TOLERANCE_VOXELS = 0.05
"""How far apart, in units of the smallest spacing, two affines may put a corner of the image."""

SPACING_TOLERANCE = 0.01
"""By which share of itself a spacing may differ, where the image is too thin for its corners to tell."""

_LISTED = 8
"""How many labels a message names."""


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """What is asked of every case.

    Attributes:
        labels: from `check_labels`.
        ignore_label: integer of the reference that is not judged; or None.
        conventions: how the numbers are made.
        on_missing: "error", or "worst": a prediction without a file is scored worst on every label.
        unit: what a score is of, a "volume" or a "slice" of it.
        slice_axis: the axis that slices follow each other along.
        spacing_mm: pixel size of pictures; or None.
    """

    labels: dict[str, Label]
    ignore_label: int | None
    conventions: Conventions
    on_missing: Literal["error", "worst"]
    unit: Literal["volume", "slice"]
    slice_axis: int
    spacing_mm: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class CaseTask:
    """A case to be scored.

    Attributes:
        pair: its files.
        options: what is asked of it.
        is_check: only look for faults: nothing will be reported but those.
    """

    pair: CasePair
    options: ScoringOptions
    is_check: bool = False


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """What became of a case.

    Attributes:
        faults: everything wrong with its files, a sentence each.
        scored: index of a slice, None for the whole image, with its scores; nothing where there are faults.
        has_spacing: whether distances are in mm; otherwise in pixels.
        is_sheared: whether the axes of the reference are not at right angles, which distances and volumes take them to
            be.
    """

    faults: tuple[str, ...]
    scored: tuple[tuple[int | None, CaseEvaluation], ...] = ()
    has_spacing: bool = True
    is_sheared: bool = False


def score_case(task: CaseTask) -> CaseOutcome:
    """Read both files of a case, compare and score them.

    Args:
        task: the case.

    Returns:
        The scores, or all faults of this case.

    Example:
        >>> options = ScoringOptions({"a": 1}, None, Conventions(), "error", "volume", -1, None)
        >>> score_case(CaseTask(CasePair("a", Path("r/a.nii"), Path("p/a.nii")), options)).faults
        ('case a: reference r/a.nii: no such file', 'case a: prediction p/a.nii: no such file')
    """
    pair, options = task.pair, task.options
    faults: list[str] = []
    is_missing = options.on_missing == "worst" and not Path(pair.prediction).exists()
    reference = _read(pair.reference, "reference", options, faults)
    prediction = None if is_missing else _read(pair.prediction, "prediction", options, faults)
    if reference is not None and prediction is not None:
        reference, prediction = _same_axes(reference, prediction)
        faults += _compare_grids(pair, reference, prediction)
    if not faults and reference is not None and not task.is_check:
        try:
            scored = tuple(_score_units(reference, prediction, options))
            return CaseOutcome((), scored, reference.has_spacing, reference.is_sheared)
        except SegEvalError as error:
            faults = _undeclared(pair, reference, prediction, options) or [str(error)]
    else:
        faults += _undeclared(pair, reference, prediction, options)
    return CaseOutcome(tuple(f"case {pair.case_id}: {fault}" for fault in faults))


def labels_in(pair: CasePair) -> frozenset[int]:
    """Collect the integers in both files of a case.

    Args:
        pair: the files; one that cannot be read is passed over, since scoring it names the fault.

    Returns:
        The integers, 0 among them.

    Example:
        >>> labels_in(CasePair("a", Path("r/a.nii"), Path("p/a.nii")))
        frozenset()
    """
    found: set[int] = set()
    for path in (pair.reference, pair.prediction):
        try:
            found |= set(_count_labels(read_label_map(path).array))
        except UnreadableLabelMapError:
            continue
    return frozenset(found)


def _read(path: Path | str, role: str, options: ScoringOptions, faults: list[str]) -> LabelMap | None:
    try:
        return read_label_map(path, spacing_mm=options.spacing_mm)
    except UnreadableLabelMapError as error:
        faults.append(f"{role} {error}")
        return None


def _score_units(
    reference: LabelMap, prediction: LabelMap | None, options: ScoringOptions
) -> Iterator[tuple[int | None, CaseEvaluation]]:
    """Score the whole image, or each slice of a volume; an image of two axes is one slice already."""
    predicted = None if prediction is None else prediction.array
    if options.unit == "volume" or reference.array.ndim == 2:
        yield None, _score(reference.array, predicted, reference.spacing_mm, options)
        return
    axis = options.slice_axis % reference.array.ndim
    spacing = reference.spacing_mm[:axis] + reference.spacing_mm[axis + 1 :]
    for index in range(reference.array.shape[axis]):
        plane = (slice(None),) * axis + (index,)
        yield index, _score(reference.array[plane], None if predicted is None else predicted[plane], spacing, options)


def _score(
    reference: NDArray[np.unsignedinteger],
    prediction: NDArray[np.unsignedinteger] | None,
    spacing_mm: tuple[float, ...],
    options: ScoringOptions,
) -> CaseEvaluation:
    labels, ignore_label, conventions = options.labels, options.ignore_label, options.conventions
    if prediction is None:
        return evaluate_missing(reference, labels, spacing_mm, ignore_label=ignore_label, conventions=conventions)
    return evaluate(reference, prediction, labels, spacing_mm, ignore_label=ignore_label, conventions=conventions)


def _same_axes(reference: LabelMap, prediction: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Take a volume of one slice as an image of two axes where the other one is such an image."""
    if reference.array.ndim == prediction.array.ndim:
        return reference, prediction
    return _as_plane(reference), _as_plane(prediction)


def _as_plane(label_map: LabelMap) -> LabelMap:
    if label_map.array.ndim == 2 or label_map.array.shape[2] != 1:
        return label_map
    return replace(label_map, array=label_map.array[..., 0], spacing_mm=label_map.spacing_mm[:2])


def _compare_grids(pair: CasePair, reference: LabelMap, prediction: LabelMap) -> list[str]:
    if reference.array.shape != prediction.array.shape:
        return [
            f"prediction {pair.prediction} has shape {prediction.array.shape} but reference "
            f"{pair.reference} has {reference.array.shape}; resample the prediction onto the reference's grid"
        ]
    spacings = np.array([reference.spacing_mm, prediction.spacing_mm])
    difference = float((np.abs(spacings[1] - spacings[0]) / spacings[0]).max())
    if difference > SPACING_TOLERANCE:
        return [
            f"prediction {pair.prediction} has spacing {_written(prediction)} mm but reference {pair.reference} has"
            f" {_written(reference)}, which differs by {difference:.2g} of it, more than {SPACING_TOLERANCE:g};"
            " resample the prediction onto the reference's grid, or write it with the affine of its image"
        ]
    shift = corner_shift(reference, prediction)
    if shift > AFFINE_TOLERANCE_VOXELS:
        return [
            f"the affines of prediction {pair.prediction} and reference {pair.reference} put a corner of the "
            f"image {shift:.3g} voxels apart, more than {AFFINE_TOLERANCE_VOXELS:g}; resample the prediction "
            "onto the reference's grid, or write it with the affine of its image"
        ]
    return []


def _written(label_map: LabelMap) -> str:
    return f"({', '.join(f'{value:.6g}' for value in label_map.spacing_mm)})"


def _undeclared(
    pair: CasePair, reference: LabelMap | None, prediction: LabelMap | None, options: ScoringOptions
) -> list[str]:
    """Say which labels of either file are not declared, and how many voxels have each."""
    declared = class_values_of(options.labels)
    faults = []
    judged = None if reference is None or options.ignore_label is None else reference.array != options.ignore_label
    for role, path, label_map in (
        ("reference", pair.reference, reference),
        ("prediction", pair.prediction, prediction),
    ):
        if label_map is None:
            continue
        array = label_map.array
        if judged is not None and judged.shape == array.shape:
            array = np.where(judged, array, 0)
        counts = _count_labels(array)
        known = {*declared, options.ignore_label} if role == "reference" else {*declared}
        unknown = [
            f"{value} ({count} voxel{'s' if count != 1 else ''})"
            for value, count in counts.items()
            if value not in known
        ]
        if unknown:
            faults.append(
                f"{role} {path} holds label {_listed(unknown)}, not among the declared labels"
                f" {_listed([str(value) for value in declared])}"
            )
    return faults


def _count_labels(array: NDArray[np.unsignedinteger]) -> dict[int, int]:
    """Count the voxels of each label, plane by plane, since `bincount` turns what it counts into 64-bit integers."""
    counts = np.zeros(int(array.max()) + 1, np.int64)
    for plane in array.T:
        counts += np.bincount(plane.ravel(order="K"), minlength=len(counts))
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(items[:_LISTED]) + more
