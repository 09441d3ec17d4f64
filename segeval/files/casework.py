"""The work on one case: both files read, compared, and scored as a whole or slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segeval.errors import SegEvalError, ShapeMismatchError, UnreadableLabelMapError
from segeval.files.grids import on_grid_of, same_axes
from segeval.files.label_map import LabelMap, is_placed_by_another, read_label_map, segment_values
from segeval.files.pairing import CasePair
from segeval.labels import label_classes, label_integers
from segeval.scoring import CaseScores, evaluate, evaluate_missing
from segeval.settings import EvaluationSettings, SpatialUnits

__all__ = ["CaseOutcome", "CaseTask", "labels_in", "score_case"]

_LISTED = 8
"""How many labels a message names."""


@dataclass(frozen=True, slots=True)
class CaseTask:
    """A case to be scored.

    Attributes:
        pair: its files.
        settings: what is scored and how; its labels are known.
        is_check: only look for faults: nothing will be reported but those.
    """

    pair: CasePair
    settings: EvaluationSettings
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
    scored: tuple[tuple[int | None, CaseScores], ...] = ()
    has_spacing: bool = True
    is_sheared: bool = False


def score_case(task: CaseTask) -> CaseOutcome:
    """Read both files of a case, compare and score them.

    Args:
        task: the case.

    Returns:
        The scores, or all faults of this case.

    Example:
        >>> settings = EvaluationSettings(labels={"a": 1})
        >>> score_case(CaseTask(CasePair("a", Path("r/a.nii"), Path("p/a.nii")), settings)).faults
        ('case a: reference r/a.nii: no such file', 'case a: prediction p/a.nii: no such file')
    """
    pair, settings = task.pair, task.settings
    faults: list[str] = []
    is_missing = settings.on_missing == "worst" and not Path(pair.prediction).exists()
    reference, prediction = _read_both(pair, settings, is_missing, faults)
    if reference is not None and prediction is not None:
        reference, prediction = same_axes(reference, prediction)
        try:
            prediction = on_grid_of(reference, prediction)
        except ShapeMismatchError as error:
            faults.append(_mismatch(pair, reference, prediction, error))
    if not faults and reference is not None and not task.is_check:
        try:
            scored = tuple(_score_units(reference, prediction, settings))
            return CaseOutcome((), scored, reference.has_spacing, reference.is_sheared)
        except SegEvalError as error:
            faults = _undeclared(pair, reference, prediction, settings) or [str(error)]
    else:
        faults += _undeclared(pair, reference, prediction, settings)
    return CaseOutcome(tuple(f"case {pair.case_id}: {fault}" for fault in faults))


def labels_in(pair: CasePair, spatial_units: SpatialUnits = "header") -> frozenset[int]:
    """Collect the integers in both files of a case.

    Args:
        pair: the files; one that cannot be read is passed over, since scoring it names the fault.
        spatial_units: as for `read_label_map`.

    Returns:
        The integers, 0 among them.

    Example:
        >>> labels_in(CasePair("a", Path("r/a.nii"), Path("p/a.nii")))
        frozenset()
    """
    values: set[int] = set()
    for path in (pair.reference, pair.prediction):
        try:
            if is_placed_by_another(path):
                values |= segment_values(path)
            else:
                values |= set(_count_labels(read_label_map(path, spatial_units=spatial_units).array))
        except UnreadableLabelMapError:
            continue
    return frozenset(values)


def _read_both(
    pair: CasePair, settings: EvaluationSettings, is_missing: bool, faults: list[str]
) -> tuple[LabelMap | None, LabelMap | None]:
    """Read the reference and the prediction; a SEG or RTSTRUCT last, on the voxels of the other one."""
    if is_placed_by_another(pair.reference) and not is_placed_by_another(pair.prediction) and not is_missing:
        grid = _read(pair.prediction, "prediction", settings, pair.is_picture, faults)
        return None if grid is None else _read(pair.reference, "reference", settings, None, faults, grid), grid
    reference = _read(pair.reference, "reference", settings, pair.is_picture, faults)
    is_picture = pair.is_picture or (None if reference is None or not reference.is_picture else True)
    if is_missing or (reference is None and is_placed_by_another(pair.prediction)):
        return reference, None
    return reference, _read(pair.prediction, "prediction", settings, is_picture, faults, reference)


def _read(
    path: Path | str,
    role: str,
    settings: EvaluationSettings,
    is_picture: bool | None,
    faults: list[str],
    placed_on: LabelMap | None = None,
) -> LabelMap | None:
    try:
        return read_label_map(
            path,
            spacing_mm=settings.spacing_mm,
            spatial_units=settings.spatial_units,
            is_picture=is_picture,
            placed_on=placed_on,
        )
    except UnreadableLabelMapError as error:
        faults.append(f"{role} {error}")
        return None


def _score_units(
    reference: LabelMap, prediction: LabelMap | None, settings: EvaluationSettings
) -> Iterator[tuple[int | None, CaseScores]]:
    """Score the whole image, or each slice of a volume; an image of two axes is one slice already."""
    predicted = None if prediction is None else prediction.array
    if settings.unit == "volume" or reference.array.ndim == 2:
        yield None, _score(reference.array, predicted, reference.spacing_mm, settings)
        return
    axis = settings.slice_axis % reference.array.ndim
    spacing = reference.spacing_mm[:axis] + reference.spacing_mm[axis + 1 :]
    for index in range(reference.array.shape[axis]):
        plane = (slice(None),) * axis + (index,)
        yield index, _score(reference.array[plane], None if predicted is None else predicted[plane], spacing, settings)


def _score(
    reference: NDArray[np.unsignedinteger],
    prediction: NDArray[np.unsignedinteger] | None,
    spacing_mm: tuple[float, ...],
    settings: EvaluationSettings,
) -> CaseScores:
    labels, choices = settings.labels or {}, settings.model_dump(include={"ignore_label", "other_labels"})
    if prediction is None:
        return evaluate_missing(reference, labels, spacing_mm, conventions=settings.conventions, **choices)
    return evaluate(reference, prediction, labels, spacing_mm, conventions=settings.conventions, **choices)


def _mismatch(pair: CasePair, reference: LabelMap, prediction: LabelMap, error: ShapeMismatchError) -> str:
    shapes = prediction.array.shape, reference.array.shape
    differs = f"does not lie on the voxels of reference {pair.reference}: {error}"
    if sorted(shapes[0]) != sorted(shapes[1]):
        differs = f"has shape {shapes[0]} but reference {pair.reference} has {shapes[1]}"
    return f"prediction {pair.prediction} {differs}; resample the prediction onto the reference's grid"


def _undeclared(
    pair: CasePair, reference: LabelMap | None, prediction: LabelMap | None, settings: EvaluationSettings
) -> list[str]:
    """Say which labels of either file are not declared, and how many voxels have each."""
    if settings.other_labels == "background":
        return []
    ignore_label = settings.ignore_label
    declared = sorted(value for label in label_classes(settings.labels or {}) for value in label_integers(label))
    faults = []
    judged = None if reference is None or ignore_label is None else reference.array != ignore_label
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
        known = {*declared, ignore_label} if role == "reference" else {*declared}
        unknown = [
            f"{value} ({count} voxel{'s' if count != 1 else ''})"
            for value, count in counts.items()
            if value not in known
        ]
        if unknown:
            faults.append(
                f"{role} {path} holds label {_listed(unknown)}, not among the declared labels"
                f" {_listed([str(value) for value in declared])}; declare it, or let other labels be background"
                " (other_labels=background)"
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
