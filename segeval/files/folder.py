"""Evaluation of many cases that lie in files, with all faults of all cases listed together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from r2d2_base.processes import ProcessPool
from r2d2_base.progress import Progress, StopRequest, Watcher
from segeval.errors import EvaluationInputError
from segeval.evaluation import EvaluatedCase, Evaluation, build_evaluation
from segeval.files.casework import CaseTask, labels_in, score_case
from segeval.files.nnunet import find_ignore_label
from segeval.files.pairing import CasePair, find_repeated, match_folders
from segeval.labels import label_integers
from segeval.scoring import CaseScores
from segeval.settings import EvaluationSettings, build_settings

__all__ = ["evaluate_folder", "evaluate_pairs", "find_labels"]

Labels = Mapping[str, int | str | Collection[int]]

_MANY_LABELS = 50
"""From here on labels that nobody declared may be no labels at all."""


def evaluate_folder(
    reference: Path | str,
    prediction: Path | str,
    labels: Labels | None = None,
    *,
    settings: EvaluationSettings | None = None,
    patient_ids: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    **choices: object,
) -> Evaluation:
    """Evaluate the predictions in one folder against the references in another.

    A case is a file's name without its suffix: reference `a.nii.gz` and prediction `a.nrrd` are case `a`. Unlike
    `pair_folders` followed by `evaluate_pairs`, it lists faults of the pairing and of the files together.

    Args:
        reference: folder of reference label maps (NIfTI, NRRD, MetaImage, PNG, TIFF), or one of them: the only case.
        prediction: folder of predictions of the same cases, or one of them. Two files belong together whatever their
            names.
        labels: as for `evaluate_pairs`.
        settings: as for `evaluate_pairs`. Where it names no ignore_label, and labels do not contain it, the one that
            nnU-Net's `dataset.json` in or above these folders calls "ignore" is taken, and a warning says so.
        patient_ids: patient of each case, where known.
        notes: note of each case, where there is one.
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
    chosen = _settings(labels, settings, choices)
    pairs, faults = match_folders(reference, prediction, may_miss=chosen.on_missing == "worst")
    patients, remarks = patient_ids or {}, notes or {}
    pairs = tuple(
        replace(pair, patient_id=patients.get(pair.case_id), note=remarks.get(pair.case_id)) for pair in pairs
    )
    warnings = []
    ignored = find_ignore_label(reference, prediction) if chosen.ignore_label is None else None
    scored = {value for label in (chosen.labels or {}).values() for value in label_integers(label)}
    if ignored is not None and ignored.label not in scored:
        chosen = build_settings(chosen, {"ignore_label": ignored.label})
        warnings.append(ignored.sentence)
    with ProcessPool(chosen.workers, Watcher(progress, stop)) as pool:
        return _evaluate(pairs, chosen, faults, warnings, pool)


def evaluate_pairs(
    pairs: Iterable[CasePair],
    labels: Labels | None = None,
    *,
    settings: EvaluationSettings | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    **choices: object,
) -> Evaluation:
    """Evaluate predictions against references, file by file.

    Args:
        pairs: what belongs together.
        labels: integer of each name, or several (a collection, or text such as "1-250") for a region, their union; 0
            is the background, may be named, and is not scored. None: those of the settings; where these have none,
            every integer other than 0 that occurs in the files, each of which is then read twice.
        settings: what is scored and how; None: the defaults.
        progress: called as cases are done, with the stage "evaluate".
        stop: ends the work where it is made.
        choices: single fields of `EvaluationSettings`, or of its `Conventions`, that differ, such as
            `on_missing="worst"`, `unit="slice"`, `on_empty="nnunet"`, `surface="area_weighted"`.

    Returns:
        The evaluation, its cases in the order of the pairs.

    Raises:
        EvaluationInputError: no pairs, a case twice, a file that is missing or unreadable, two grids that
            differ, or values that are not declared labels: all faults of all cases in one error.
        MetricArgumentError: labels, settings or choices break their rules.
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
    chosen = _settings(labels, settings, choices)
    with ProcessPool(chosen.workers, Watcher(progress, stop)) as pool:
        return _evaluate(tuple(pairs), chosen, [], [], pool)


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
        return _labels_in(tuple(pairs), EvaluationSettings(workers=workers), pool)


def _settings(
    labels: Labels | None, settings: EvaluationSettings | None, choices: Mapping[str, object]
) -> EvaluationSettings:
    return build_settings(settings, choices if labels is None else {**choices, "labels": labels})


def _labels_in(pairs: Sequence[CasePair], settings: EvaluationSettings, pool: ProcessPool) -> dict[str, int]:
    collect = partial(labels_in, spatial_units=settings.spatial_units)
    values = frozenset[int]().union(*pool.map_in_order(collect, pairs, stage="find labels"))
    return {f"label {value}": value for value in sorted(values) if value != 0}


def _with_labels(
    pairs: Sequence[CasePair], settings: EvaluationSettings, warnings: list[str], pool: ProcessPool
) -> EvaluationSettings:
    """Take every label of the files where none was declared; what hardly can be labels is warned of."""
    if settings.labels is not None:
        return settings
    labels = _labels_in(pairs, settings, pool)
    labels = {name: value for name, value in labels.items() if value != settings.ignore_label} or {"foreground": 1}
    if len(labels) >= _MANY_LABELS:
        values = list(labels.values())
        warnings.append(
            f"{len(labels)} labels were found, {values[0]} to {values[-1]}, and each is scored as a structure."
            f" If they number instances, the label cell={values[0]}-{values[-1]} makes one of them; if they are grey"
            " levels of a mask, mask=128-255 with other labels as background does."
        )
    return build_settings(settings, {"labels": labels})


def _evaluate(
    pairs: Sequence[CasePair],
    given: EvaluationSettings,
    known_faults: Sequence[str],
    known_warnings: Sequence[str],
    pool: ProcessPool,
) -> Evaluation:
    faults, warnings = [*known_faults, *find_repeated(pairs)], list(known_warnings)
    if not pairs and not faults:
        faults.append("there are no cases to evaluate")
    settings = _with_labels(pairs, given, warnings, pool)

    def tasks() -> Iterator[CaseTask]:
        for pair in pairs:
            yield CaseTask(pair, settings, is_check=bool(faults))

    cases: list[EvaluatedCase] = []
    confusions = []
    without_spacing = sheared = 0
    outcomes = pool.map_in_order(score_case, tasks(), count=len(pairs), stage="evaluate")
    for pair, outcome in zip(pairs, outcomes, strict=True):
        faults += outcome.faults
        for index, scores in outcome.scored:
            cases.append(_evaluated_case(pair, index, scores))
            confusions.append(scores.confusion)
        without_spacing += not outcome.has_spacing
        sheared += outcome.is_sheared
    faults += _shared_names(cases)
    if faults:
        raise EvaluationInputError(list(dict.fromkeys(faults)))
    warnings += _warnings(settings, len(pairs), without_spacing, sheared)
    return build_evaluation(settings, cases, confusions, warnings=warnings)


def _evaluated_case(pair: CasePair, index: int | None, scores: CaseScores) -> EvaluatedCase:
    return EvaluatedCase(
        case_id=pair.case_id if index is None else f"{pair.case_id}#{index}",
        patient_id=pair.case_id if pair.patient_id is None else str(pair.patient_id),
        note=pair.note or None,
        reference=str(pair.reference),
        prediction=str(pair.prediction),
        scores=scores.scores,
        image=scores.image,
        spacing_mm=scores.spacing_mm,
    )


def _shared_names(cases: Sequence[EvaluatedCase]) -> list[str]:
    """List names that a slice, such as the one at index 1 of case "a", shares with the case "a#1"."""
    counts = Counter(case.case_id for case in cases)
    return [
        f"case {case_id}: a file and a slice of another have this name; rename the file"
        for case_id, count in counts.items()
        if count > 1
    ]


def _warnings(settings: EvaluationSettings, pairs: int, without_spacing: int, sheared: int) -> list[str]:
    warnings = []
    if settings.unit == "slice":
        warnings.append(
            f"Each slice along axis {settings.slice_axis} is a case of its own: means are averages over slices and"
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
