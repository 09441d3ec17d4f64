"""Evaluation of many cases that lie in files, with all faults of all cases listed together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segeval.errors import EvaluationInputError, SegEvalError, UnreadableLabelMapError
from segeval.evaluate import CaseEvaluation, evaluate
from segeval.evaluation import EvaluatedCase, Evaluation, build_evaluation
from segeval.files.label_map import LabelMap, corner_shift, read_label_map
from segeval.labels import LARGEST_LABEL, check_labels, class_indices, class_values_of

__all__ = [
    "AFFINE_TOLERANCE_VOXELS",
    "CasePair",
    "Progress",
    "evaluate_folders",
    "evaluate_pairs",
    "find_labels",
    "pair_folders",
]

Progress = Callable[[str, int, int], None]
"""Called with the name of the stage, how much is done and how much there is."""

AFFINE_TOLERANCE_VOXELS = 0.05
"""How far apart, in units of the smallest spacing, two affines may put a corner of the image."""

_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True, slots=True)
class CasePair:
    """A prediction and its reference.

    Attributes:
        case_id: name of the case, once per evaluation.
        reference: NIfTI label map.
        prediction: NIfTI label map on the same voxel grid.
        patient_id: the patient; None where each case is a patient of its own.
        note: something a reader of the scores must know, such as "training case of this model".
    """

    case_id: str
    reference: Path
    prediction: Path
    patient_id: str | None = None
    note: str | None = None


def pair_folders(reference_dir: Path, prediction_dir: Path) -> tuple[CasePair, ...]:
    """Pair the NIfTI files of two folders by name; `a.nii` and `a.nii.gz` are both case `a`.

    Args:
        reference_dir: folder of reference label maps. Hidden files and files of other types are passed over.
        prediction_dir: folder of predictions.

    Returns:
        The pairs in the order of their names.

    Raises:
        EvaluationInputError: a folder is missing or has no label maps, a reference has no prediction, a
            prediction has no reference, or two files are one case; all of it listed together.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("reference/a.nii.gz", "prediction/a.nii"):
        ...         Path(folder, name).parent.mkdir()
        ...         Path(folder, name).touch()
        ...     [pair.case_id for pair in pair_folders(Path(folder, "reference"), Path(folder, "prediction"))]
        ['a']
    """
    pairs, faults = _match_folders(reference_dir, prediction_dir)
    if faults:
        raise EvaluationInputError(faults)
    return pairs


def evaluate_folders(
    reference_dir: Path,
    prediction_dir: Path,
    labels: Mapping[str, int] | None = None,
    *,
    patient_ids: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate the predictions in one folder against the references in another.

    Unlike `pair_folders` followed by `evaluate_pairs`, it lists faults of the pairing and of the files
    together.

    Args:
        reference_dir: folder of reference label maps.
        prediction_dir: folder of predictions with the same names.
        labels: integer of each name; None: every integer other than 0 that occurs in the files.
        patient_ids: patient of each case, where known.
        notes: note of each case, where there is one.
        seed: seed of the bootstrap.
        progress: called as cases are done.

    Returns:
        The evaluation.

    Raises:
        EvaluationInputError: anything wrong with the folders or the files.
        MetricArgumentError: the labels break their rules.

    Example:
        >>> evaluate_folders(Path("nowhere"), Path("nothing"), {"lesion": 1})
        Traceback (most recent call last):
            ...
        segeval.errors.EvaluationInputError: 2 faults; nothing was evaluated:
          - nowhere: no such folder of reference label maps
          - nothing: no such folder of prediction label maps
    """
    pairs, faults = _match_folders(reference_dir, prediction_dir)
    patients, remarks = patient_ids or {}, notes or {}
    pairs = tuple(
        replace(pair, patient_id=patients.get(pair.case_id), note=remarks.get(pair.case_id)) for pair in pairs
    )
    return _evaluate(pairs, labels, faults, seed, progress)


def evaluate_pairs(
    pairs: Iterable[CasePair],
    labels: Mapping[str, int] | None,
    progress: Progress | None = None,
    *,
    seed: int = 0,
) -> Evaluation:
    """Evaluate predictions against references, file by file.

    Args:
        pairs: what belongs together.
        labels: integer of each name; 0 is the background, may be named, and is not scored. None: every
            integer other than 0 that occurs in the files.
        progress: called as cases are done, with the stage "evaluate".
        seed: seed of the bootstrap over patients.

    Returns:
        The evaluation, its cases in the order of the pairs.

    Raises:
        EvaluationInputError: no pairs, a case twice, a file that is missing or unreadable, two grids that
            differ, or values that are not declared labels: all faults of all cases in one error.
        MetricArgumentError: the labels break their rules.

    Example:
        >>> evaluate_pairs([CasePair("a", Path("r/a.nii.gz"), Path("p/a.nii.gz"))], {"lesion": 1})
        Traceback (most recent call last):
            ...
        segeval.errors.EvaluationInputError: 2 faults; nothing was evaluated:
          - case a: reference r/a.nii.gz: no such file
          - case a: prediction p/a.nii.gz: no such file
    """
    return _evaluate(tuple(pairs), labels, [], seed, progress)


def find_labels(pairs: Iterable[CasePair]) -> dict[str, int]:
    """Collect the labels that occur in references or predictions, named "label 1" and so on.

    Args:
        pairs: the files to look into; those that cannot be read are passed over (evaluating them names the
            fault).

    Returns:
        Integer of each name, without 0, in ascending order.

    Example:
        >>> find_labels([])
        {}
    """
    values: set[int] = set()
    for pair in pairs:
        for path in (pair.reference, pair.prediction):
            try:
                values.update(np.unique(read_label_map(path).array).tolist())
            except UnreadableLabelMapError:
                continue
    return {f"label {value}": value for value in sorted(values) if 0 < value <= LARGEST_LABEL}


def _evaluate(
    pairs: Sequence[CasePair],
    labels: Mapping[str, int] | None,
    known_faults: Sequence[str],
    seed: int,
    progress: Progress | None,
) -> Evaluation:
    if labels is None:
        labels = find_labels(pairs) or {"foreground": 1}
    foreground = check_labels(labels)
    faults = [*known_faults, *_find_repeated(pairs)]
    if not pairs and not faults:
        faults.append("there are no cases to evaluate")
    confusions = []
    cases = []
    for done, pair in enumerate(pairs):
        if progress is not None:
            progress("evaluate", done, len(pairs))
        reference, prediction, found = _read_pair(pair, class_values_of(foreground))
        faults.extend(f"case {pair.case_id}: {fault}" for fault in found)
        if faults or reference is None or prediction is None:
            continue  # the rest is only checked: nothing will be reported but the faults
        result = evaluate(reference.array, prediction.array, foreground, reference.spacing_mm)
        confusions.append(result.confusion)
        cases.append(_evaluated_case(pair, result))
    if faults:
        raise EvaluationInputError(list(dict.fromkeys(faults)))
    if progress is not None:
        progress("evaluate", len(pairs), len(pairs))
    return build_evaluation(foreground, cases, confusions, seed=seed)


def _evaluated_case(pair: CasePair, result: CaseEvaluation) -> EvaluatedCase:
    return EvaluatedCase(
        case_id=pair.case_id,
        patient_id=pair.case_id if pair.patient_id is None else pair.patient_id,
        note=pair.note or None,
        reference=str(pair.reference),
        prediction=str(pair.prediction),
        scores=result.scores,
        image=result.image,
    )


def _read_pair(pair: CasePair, class_values: tuple[int, ...]) -> tuple[LabelMap | None, LabelMap | None, list[str]]:
    """Read both files of a case and list everything wrong with them."""
    faults: list[str] = []
    maps: list[LabelMap | None] = []
    for role, path in (("reference", pair.reference), ("prediction", pair.prediction)):
        try:
            label_map = read_label_map(path)
            maps.append(label_map)
            class_indices(label_map.array, class_values, f"{role} {path}")
        except UnreadableLabelMapError as error:
            maps.append(None)
            faults.append(f"{role} {error}")
        except SegEvalError as error:
            faults.append(str(error))
    reference, prediction = maps
    if reference is not None and prediction is not None:
        faults.extend(_compare_grids(pair, reference, prediction))
    return reference, prediction, faults


def _compare_grids(pair: CasePair, reference: LabelMap, prediction: LabelMap) -> list[str]:
    if reference.array.shape != prediction.array.shape:
        return [
            f"prediction {pair.prediction} has shape {prediction.array.shape} but reference "
            f"{pair.reference} has {reference.array.shape}; resample the prediction onto the reference's grid"
        ]
    shift = corner_shift(reference, prediction)
    if shift > AFFINE_TOLERANCE_VOXELS:
        return [
            f"the affines of prediction {pair.prediction} and reference {pair.reference} put a corner of the "
            f"image {shift:.3g} voxels apart, more than {AFFINE_TOLERANCE_VOXELS:g}; resample the prediction "
            "onto the reference's grid, or write it with the affine of its image"
        ]
    return []


def _match_folders(reference_dir: Path, prediction_dir: Path) -> tuple[tuple[CasePair, ...], list[str]]:
    faults: list[str] = []
    references = _list_cases(reference_dir, "reference", faults)
    predictions = _list_cases(prediction_dir, "prediction", faults)
    if references is None or predictions is None:
        return (), faults
    for case_id in sorted(references.keys() - predictions.keys()):
        faults.append(f"case {case_id}: no prediction in {prediction_dir} for {references[case_id].name}")
    for case_id in sorted(predictions.keys() - references.keys()):
        faults.append(f"case {case_id}: no reference in {reference_dir} for {predictions[case_id].name}")
    both = sorted(references.keys() & predictions.keys())
    return tuple(CasePair(case_id, references[case_id], predictions[case_id]) for case_id in both), faults


def _list_cases(folder: Path, role: str, faults: list[str]) -> dict[str, Path] | None:
    """Map case to file; None, with a fault noted, where there is nothing to pair."""
    if not folder.is_dir():
        faults.append(f"{folder}: no such folder of {role} label maps")
        return None
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
        if suffix is None or path.name.startswith(".") or not path.is_file():
            continue
        case_id = path.name.removesuffix(suffix)
        if case_id in found:
            faults.append(f"case {case_id}: two {role} files in {folder}, {found[case_id].name} and {path.name}")
        else:
            found[case_id] = path
    if not found:
        faults.append(f"{folder}: no {role} label maps (.nii or .nii.gz) in this folder")
        return None
    return found


def _find_repeated(pairs: Sequence[CasePair]) -> list[str]:
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for pair in pairs:
        if pair.case_id in seen:
            repeated[pair.case_id] = None
        seen.add(pair.case_id)
    return [f"case {case_id}: given more than once; each case counts once" for case_id in repeated]
