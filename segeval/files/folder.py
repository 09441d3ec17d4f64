"""Evaluation of many cases that lie in files, with all faults of all cases listed together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from r2d2_base.processes import ProcessPool
from r2d2_base.progress import Progress, StopRequest, Watcher
from segeval.conventions import Conventions, build_conventions
from segeval.errors import EvaluationInputError, MetricArgumentError
from segeval.evaluate import CaseEvaluation
from segeval.evaluation import EvaluatedCase, Evaluation, build_evaluation
from segeval.files.casework import CaseTask, ScoringOptions, labels_in, score_case
from segeval.files.label_map import check_picture_spacing
from segeval.files.pairing import CasePair, find_repeated, match_folders
from segeval.labels import check_labels
from segeval.statistics.means import check_seed

__all__ = ["evaluate_folder", "evaluate_pairs", "find_labels"]

Labels = Mapping[str, int | Collection[int]]


def evaluate_folder(
    reference_dir: Path | str,
    prediction_dir: Path | str,
    labels: Labels | None = None,
    *,
    ignore_label: int | None = None,
    conventions: Conventions | None = None,
    on_missing: Literal["error", "worst"] = "error",
    unit: Literal["volume", "slice"] = "volume",
    slice_axis: int = -1,
    spacing_mm: Sequence[float] | None = None,
    patient_ids: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    **choices: object,
) -> Evaluation:
    """Evaluate the predictions in one folder against the references in another.

    A case is a file's name without its suffix: reference `a.nii.gz` and prediction `a.nrrd` are case `a`. Unlike
    `pair_folders` followed by `evaluate_pairs`, it lists faults of the pairing and of the files together.

    Args:
        reference_dir: folder of reference label maps (NIfTI, NRRD, MetaImage, PNG, TIFF).
        prediction_dir: folder of predictions of the same cases.
        labels: as for `evaluate_pairs`.
        ignore_label: as for `evaluate_pairs`.
        conventions: as for `evaluate_pairs`.
        on_missing: as for `evaluate_pairs`.
        unit: as for `evaluate_pairs`.
        slice_axis: as for `evaluate_pairs`.
        spacing_mm: as for `evaluate_pairs`.
        patient_ids: patient of each case, where known.
        notes: note of each case, where there is one.
        seed: as for `evaluate_pairs`.
        workers: as for `evaluate_pairs`.
        progress: as for `evaluate_pairs`.
        stop: as for `evaluate_pairs`.
        choices: as for `evaluate_pairs`.

    Returns:
        The evaluation, its cases in the order of their names.

    Raises:
        EvaluationInputError: as for `evaluate_pairs`; and a folder that is missing or has no label maps, a reference
            without a prediction, a prediction without a reference, two files of one case.
        MetricArgumentError: as for `evaluate_pairs`.

    Example:
        >>> evaluate_folder(Path("nowhere"), Path("nothing"), {"lesion": 1})
        Traceback (most recent call last):
            ...
        segeval.errors.EvaluationInputError: 2 faults; nothing was evaluated:
          - nowhere: no such folder of reference label maps
          - nothing: no such folder of prediction label maps
    """
    _check_choices(on_missing, unit, slice_axis)
    chosen, first_seed = build_conventions(conventions, choices), check_seed(seed)
    pairs, faults = match_folders(reference_dir, prediction_dir, may_miss=on_missing == "worst")
    patients, remarks = patient_ids or {}, notes or {}
    pairs = tuple(
        replace(pair, patient_id=patients.get(pair.case_id), note=remarks.get(pair.case_id)) for pair in pairs
    )
    with ProcessPool(workers, Watcher(progress, stop)) as pool:
        found = _find_labels(pairs, ignore_label, pool) if labels is None else labels
        options = _options(found, ignore_label, chosen, on_missing, unit, slice_axis, spacing_mm)
        return _evaluate(pairs, options, faults, first_seed, pool)


def evaluate_pairs(
    pairs: Iterable[CasePair],
    labels: Labels | None = None,
    *,
    ignore_label: int | None = None,
    conventions: Conventions | None = None,
    on_missing: Literal["error", "worst"] = "error",
    unit: Literal["volume", "slice"] = "volume",
    slice_axis: int = -1,
    spacing_mm: Sequence[float] | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    **choices: object,
) -> Evaluation:
    """Evaluate predictions against references, file by file.

    Args:
        pairs: what belongs together.
        labels: integer of each name, or several integers for a region, their union; 0 is the background, may be
            named, and is not scored. None: every integer other than 0 that occurs in the files, each of which is then
            read twice.
        ignore_label: voxels with this value in the reference are not judged.
        conventions: how the numbers are made; None: the defaults of `Conventions`.
        on_missing: "error": a prediction without a file is a fault; "worst": it has the worst value of every label,
            Dice 0 and for distances the diagonal of the image.
        unit: "volume", or "slice": every slice of a volume is a case of its own, "a#12" the one at index 12 of case
            "a", and belongs to that case's patient. Averages over slices are not those of volumes; a warning says so.
        slice_axis: axis of the arrays that slices follow each other along.
        spacing_mm: pixel size of pictures (PNG, TIFF), (between rows, between columns); None: distances are in
            pixels, and a warning says so. Other formats state their own.
        seed: seed of the bootstrap over patients.
        workers: processes, each with one pair in memory at a time; results do not depend on them. None: as many as
            help, at most 8.
        progress: called as cases are done, with the stage "evaluate".
        stop: ends the work where it is made.
        choices: single fields of `Conventions` that differ, such as `on_empty="nnunet"`, `surface="area_weighted"`.

    Returns:
        The evaluation, its cases in the order of the pairs.

    Raises:
        EvaluationInputError: no pairs, a case twice, a file that is missing or unreadable, two grids that
            differ, or values that are not declared labels: all faults of all cases in one error.
        MetricArgumentError: labels, conventions or other choices break their rules.
        ProcessLostError: a worker process was killed.
        CancelledError: `stop` was made.

    Example:
        >>> evaluate_pairs([CasePair("a", Path("r/a.nii.gz"), Path("p/a.nii.gz"))], {"lesion": 1})
        Traceback (most recent call last):
            ...
        segeval.errors.EvaluationInputError: 2 faults; nothing was evaluated:
          - case a: reference r/a.nii.gz: no such file
          - case a: prediction p/a.nii.gz: no such file
    """
    _check_choices(on_missing, unit, slice_axis)
    chosen, first_seed = build_conventions(conventions, choices), check_seed(seed)
    given = tuple(pairs)
    with ProcessPool(workers, Watcher(progress, stop)) as pool:
        found = _find_labels(given, ignore_label, pool) if labels is None else labels
        options = _options(found, ignore_label, chosen, on_missing, unit, slice_axis, spacing_mm)
        return _evaluate(given, options, [], first_seed, pool)


def find_labels(pairs: Iterable[CasePair], *, workers: int | None = None) -> dict[str, int]:
    """Collect the labels that occur in references or predictions, named "label 1" and so on.

    Args:
        pairs: the files to look into; those that cannot be read are passed over (evaluating them names the
            fault).
        workers: processes; None: as many as help, at most 8.

    Returns:
        Integer of each name, without 0, in ascending order.

    Example:
        >>> find_labels([])
        {}
    """
    with ProcessPool(workers) as pool:
        return _labels_of(tuple(pairs), pool)


def _labels_of(pairs: Sequence[CasePair], pool: ProcessPool) -> dict[str, int]:
    values = frozenset[int]().union(*pool.map_in_order(labels_in, pairs, stage="find labels"))
    return {f"label {value}": value for value in sorted(values) if value != 0}


def _find_labels(pairs: Sequence[CasePair], ignore_label: int | None, pool: ProcessPool) -> dict[str, int]:
    found = _labels_of(pairs, pool)
    return {name: value for name, value in found.items() if value != ignore_label} or {"foreground": 1}


def _check_choices(on_missing: str, unit: str, slice_axis: int) -> None:
    if on_missing not in ("error", "worst"):
        raise MetricArgumentError(f"on_missing must be error or worst; received {on_missing!r}")
    if unit not in ("volume", "slice"):
        raise MetricArgumentError(f"unit must be volume or slice; received {unit!r}")
    if isinstance(slice_axis, float) or slice_axis not in range(-3, 3):
        raise MetricArgumentError(f"slice_axis must be an axis of a volume, from -3 to 2; received {slice_axis!r}")


def _options(
    labels: Labels,
    ignore_label: int | None,
    conventions: Conventions,
    on_missing: Literal["error", "worst"],
    unit: Literal["volume", "slice"],
    slice_axis: int,
    spacing_mm: Sequence[float] | None,
) -> ScoringOptions:
    scored = check_labels(labels, ignore_label)
    for name in scored:
        conventions.tolerance_of(name)
    ignored = None if ignore_label is None else int(ignore_label)
    spacing = None if spacing_mm is None else check_picture_spacing(spacing_mm)
    return ScoringOptions(scored, ignored, conventions, on_missing, unit, int(slice_axis), spacing)


def _evaluate(
    pairs: Sequence[CasePair],
    options: ScoringOptions,
    known_faults: Sequence[str],
    seed: int,
    pool: ProcessPool,
) -> Evaluation:
    faults = [*known_faults, *find_repeated(pairs)]
    if not pairs and not faults:
        faults.append("there are no cases to evaluate")

    def tasks() -> Iterator[CaseTask]:
        for pair in pairs:
            yield CaseTask(pair, options, is_check=bool(faults))

    cases: list[EvaluatedCase] = []
    confusions = []
    without_spacing = sheared = 0
    outcomes = pool.map_in_order(score_case, tasks(), count=len(pairs), stage="evaluate")
    for pair, outcome in zip(pairs, outcomes, strict=True):
        faults += outcome.faults
        for index, result in outcome.scored:
            cases.append(_evaluated_case(pair, index, result))
            confusions.append(result.confusion)
        without_spacing += not outcome.has_spacing
        sheared += outcome.is_sheared
    faults += _shared_names(cases)
    if faults:
        raise EvaluationInputError(list(dict.fromkeys(faults)))
    return build_evaluation(
        options.labels,
        cases,
        confusions,
        conventions=options.conventions,
        ignore_label=options.ignore_label,
        seed=seed,
        warnings=_warnings(options, len(pairs), without_spacing, sheared),
    )


def _evaluated_case(pair: CasePair, index: int | None, result: CaseEvaluation) -> EvaluatedCase:
    return EvaluatedCase(
        case_id=pair.case_id if index is None else f"{pair.case_id}#{index}",
        patient_id=pair.case_id if pair.patient_id is None else str(pair.patient_id),
        note=pair.note or None,
        reference=str(pair.reference),
        prediction=str(pair.prediction),
        scores=result.scores,
        image=result.image,
        spacing_mm=result.spacing_mm,
    )


def _shared_names(cases: Sequence[EvaluatedCase]) -> list[str]:
    """List names that a slice, such as the one at index 1 of case "a", shares with the case "a#1"."""
    counts = Counter(case.case_id for case in cases)
    return [
        f"case {case_id}: a file and a slice of another have this name; rename the file"
        for case_id, count in counts.items()
        if count > 1
    ]


def _warnings(options: ScoringOptions, pairs: int, without_spacing: int, sheared: int) -> list[str]:
    warnings = []
    if options.unit == "slice":
        warnings.append(
            f"Each slice along axis {options.slice_axis} is a case of its own: means are averages over slices and"
            " cannot be compared with those over volumes."
        )
    if without_spacing:
        warnings.append(
            f"{without_spacing} of {pairs} cases are pictures without a pixel size: their distances are in pixels,"
            " not in mm."
        )
    if sheared:
        warnings.append(
            f"{sheared} of {pairs} cases have axes that are not at right angles (a tilted gantry?): their distances and"
            " volumes are those of upright voxels of the same edges."
        )
    return warnings
