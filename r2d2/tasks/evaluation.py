"""Evaluating label maps against references, with what the model has seen of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dist_training.inference.model_card import Split
from imgmed import PreparedDataset
from r2d2.prediction.manifest import PredictionManifest, prediction_name, read_manifest
from r2d2.tasks.reporting import REPORT, ReportSettings, find_images
from r2d2.tasks.reporting import report as write_report
from r2d2_base.errors import ConfigurationError, R2D2Error
from r2d2_base.progress import Progress, StopRequest
from segeval import (
    CasePair,
    Evaluation,
    EvaluationInputError,
    EvaluationSettings,
    Label,
    OutputFolderError,
    build_settings,
    check_evaluation_folder,
    evaluate_folder,
    evaluate_pairs,
    write_evaluation,
)
from segeval.files.nnunet import IGNORE_NAME, find_ignore_label
from segeval.files.pairing import label_maps_in
from segeval.labels import label_integers

__all__ = [
    "EvaluateSettings",
    "EvaluationResult",
    "evaluate",
    "evaluate_dataset",
    "evaluate_folds",
    "evaluate_prediction_folder",
    "labels_to_score",
    "read_patients",
    "split_case_ids",
]

_REPORT_MARK = b"R2D2 evaluation report, written"

_NOTES = {
    "train": "training case of this model",
    "validation": "validation case of this model, which chose its weights",
}


class EvaluateSettings(BaseModel):
    """What is judged, against what, and how.

    >>> EvaluateSettings(dataset="work/hippocampus", prediction="work/predictions", out="work/evaluation").split
    'test'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction: Path = Field(description="folder of predicted label maps, or one of them")
    out: Path = Field(description="folder for summary.json, cases.csv and report.html")
    reference: Path | None = Field(default=None, description="folder of reference label maps, or one of them")
    dataset: Path | None = Field(default=None, description="prepared dataset whose source labels are the reference")
    split: Split = Field(default="test", description="which of the dataset's cases")
    images: Path | None = Field(default=None, description="folder of the scans, or the only one, for the pictures")
    patients: Path | None = Field(default=None, description="CSV file with case_id and patient_id; none: as known")
    report: bool = Field(default=True, description="write report.html beside the scores")
    scoring: EvaluationSettings = Field(default_factory=EvaluationSettings, description="labels and conventions")


@dataclass(frozen=True)
class EvaluationResult:
    """What was judged.

    Attributes:
        evaluation: the scores, which are also in the folder.
        folder: of summary.json and cases.csv.
        report: HTML file; None where none was wanted or could be made.
        report_fault: why it could not be made, although the scores are written.
    """

    evaluation: Evaluation
    folder: Path
    report: Path | None
    report_fault: R2D2Error | None = None


def evaluate(
    settings: EvaluateSettings, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> EvaluationResult:
    """Score label maps as whole volumes, and draw a report of them.

    Args:
        settings: what is judged, against what, and how.
        progress: told of each case.
        stop: ends the work where it is made; nothing is written then, or the scores without a report if
            that alone was left (`report_fault` says so).

    Returns:
        The scores.

    Raises:
        ConfigurationError: settings that contradict each other.
        SegEvalError: missing predictions, other grids, other labels: all of them listed.
        CancelledError: ``stop`` was made.
    """
    asked = settings
    if (asked.dataset is None) == (asked.reference is None):
        raise ConfigurationError("give either --dataset (with --split) or --reference, to say what to compare with")
    if asked.images is not None:
        find_images(asked.images)
    patients = None if asked.patients is None else read_patients(asked.patients)
    how: dict[str, Any] = {"patients": patients, "progress": progress, "stop": stop}
    if asked.dataset is not None:
        dataset = PreparedDataset.read(asked.dataset)
        scores = evaluate_dataset(dataset, asked.split, asked.prediction, asked.out, asked.scoring, **how)
    else:
        reference = asked.reference or Path()
        scores = evaluate_prediction_folder(reference, asked.prediction, asked.out, asked.scoring, **how)
    if not asked.report:
        return EvaluationResult(scores, asked.out, None)
    drawn = asked.dataset if asked.images is None else None
    page = ReportSettings(
        dataset=drawn, evaluation=asked.out, prediction=asked.prediction, images=asked.images, out=asked.out / REPORT
    )
    try:
        return EvaluationResult(scores, asked.out, write_report(page, stop=stop))
    except R2D2Error as error:
        return EvaluationResult(scores, asked.out, None, error)


def split_case_ids(dataset: PreparedDataset, split: Split) -> tuple[str, ...]:
    """Give the cases of "train", "validation" or "test", without augmented copies: those are no scans.

    Raises:
        ConfigurationError: nobody was kept for that part.
    """
    case_ids: tuple[str, ...] = getattr(dataset.original_splits, split)
    if not case_ids:
        raise ConfigurationError(f"{dataset.folder} keeps no case for {split}; choose another --split, or other scans")
    return case_ids


def labels_to_score(dataset: PreparedDataset, ignore_label: int | None = None) -> dict[str, Label]:
    """Give a dataset's regions and the labels that are in none of them; without regions, its labels.

    Args:
        dataset: the prepared dataset.
        ignore_label: integer that is not judged, and no label.

    Returns:
        Integer, or integers, of each name, without the background.
    """
    regions = {name: values for name, values in dataset.description.regions.items() if values != (ignore_label,)}
    covered = {0, ignore_label, *(value for values in regions.values() for value in values)}
    return {**regions, **{name: value for name, value in dataset.labels.items() if value not in covered}}


def read_patients(path: Path) -> dict[str, str]:
    """Read which patient each case is of.

    Args:
        path: a CSV file with the columns case_id and patient_id; other columns are passed over.

    Returns:
        Patient of each case.

    Raises:
        ConfigurationError: no such file, no such columns, an empty field, or two patients for one case.
    """
    faults: list[str] = []
    patients: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if not {"case_id", "patient_id"} <= set(reader.fieldnames or ()):
                columns = ", ".join(reader.fieldnames or ()) or "none"
                raise ConfigurationError(f"{path}: needs the columns case_id and patient_id; received {columns}")
            for row in reader:
                case_id, patient_id = ((row[name] or "").strip() for name in ("case_id", "patient_id"))
                if not case_id or not patient_id:
                    faults.append(f"line {reader.line_num} has an empty field")
                elif patients.setdefault(case_id, patient_id) != patient_id:
                    faults.append(f"case {case_id} has two patients, {patients[case_id]} and {patient_id}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(
            f"{path}: no readable CSV file ({getattr(error, 'strerror', None) or error})"
        ) from error
    if faults:
        raise ConfigurationError(f"{path}: {'; '.join(faults)}")
    return patients


def evaluate_dataset(
    dataset: PreparedDataset,
    split: Split,
    prediction: Path,
    out: Path,
    settings: EvaluationSettings | None = None,
    *,
    patients: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Evaluation:
    """Evaluate predictions of a split against the dataset's reference label maps, as whole volumes.

    Args:
        dataset: the prepared dataset.
        split: "train", "validation" or "test".
        prediction: folder of label maps, named like the scans, or one of them.
        out: folder for summary.json and cases.csv.
        settings: what is scored and how; None: the defaults.
        patients: patient of each case; None takes those of the dataset.
        progress: told of each case.
        stop: ends the work where it is made; nothing is written then.

    Returns:
        The evaluation.

    Raises:
        NotADatasetError: the dataset has no reference label maps: it is of another task.
        OutputFolderError: `out` is a file, or has files of another program that would be replaced.
        SegEvalError: missing predictions, other grids, other labels: all of them listed.
        ConfigurationError: cases whose patient is not named.
    """
    pairs = _pairs(dataset, split, prediction, patients)
    _check_patients([pair.case_id for pair in pairs], patients)
    return _evaluate_pairs(dataset, pairs, out, settings, progress, stop)


def evaluate_folds(
    dataset: PreparedDataset,
    predictions: Mapping[int, Path],
    out: Path,
    settings: EvaluationSettings | None = None,
    *,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Evaluation:
    """Evaluate a cross-validation: each case by the network of the fold that held it out.

    Args:
        dataset: the prepared dataset.
        predictions: of each fold, the folder of label maps of its validation cases.
        out: folder for summary.json and cases.csv.
        settings: what is scored and how; None: the defaults.
        progress: told of each case.
        stop: ends the work where it is made; nothing is written then.

    Returns:
        The evaluation over the cases of all these folds.

    Raises:
        SegEvalError: as for `evaluate_dataset`.
    """
    folds = sorted(predictions.items())
    pairs = [pair for fold, folder in folds for pair in _pairs(dataset.with_fold(fold), "validation", folder, None)]
    return _evaluate_pairs(dataset, pairs, out, settings, progress, stop)


def _pairs(
    dataset: PreparedDataset, split: Split, prediction: Path, patients: Mapping[str, str] | None
) -> list[CasePair]:
    notes = _notes(_manifest_of(prediction))
    present = label_maps_in(prediction)
    pairs, faults = [], []
    case_ids = split_case_ids(dataset, split)
    if prediction.is_file():
        case_ids = tuple(case_id for case_id in case_ids if case_id in present)
        faults += [] if case_ids else [f"{prediction}: named like no {split} case of {dataset.folder}"]
    for case_id in case_ids:
        case = dataset.case(case_id)
        paths = present.get(case_id, [prediction / prediction_name(case_id, Path(case.images[0].path))])
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            faults.append(f"case {case_id}: {len(paths)} prediction files in {prediction}, {names}")
        patient_id = case.patient_id if patients is None else patients.get(case_id)
        note, is_picture = notes.get(case_id), case.is_picture or None
        pairs.append(CasePair(case_id, dataset.reference(case_id), paths[0], patient_id, note, is_picture))
    if faults:
        raise EvaluationInputError(faults)
    return pairs


def _evaluate_pairs(
    dataset: PreparedDataset,
    pairs: list[CasePair],
    out: Path,
    settings: EvaluationSettings | None,
    progress: Progress | None,
    stop: StopRequest | None,
) -> Evaluation:
    _check_out(out)
    chosen, warnings = settings or EvaluationSettings(), []
    ignored = dataset.description.ignore_label
    if ignored is None:  # in datasets of version 0.1 it was a label as any other
        ignored = dataset.labels.get(IGNORE_NAME)
    scored = {value for label in (chosen.labels or {}).values() for value in label_integers(label)}
    if ignored is not None and chosen.ignore_label is None and ignored not in scored:
        chosen = build_settings(chosen, {"ignore_label": ignored})
        warnings.append(
            f"Voxels with the label {ignored} in the reference are not judged: the dataset calls that one ignored."
        )
    if chosen.labels is None:
        chosen = build_settings(chosen, {"labels": labels_to_score(dataset, chosen.ignore_label)})
    evaluation = evaluate_pairs(pairs, settings=chosen, progress=progress, stop=stop)
    evaluation = replace(evaluation, warnings=(*warnings, *evaluation.warnings))
    _write(evaluation, out)
    return evaluation


def evaluate_prediction_folder(
    reference: Path,
    prediction: Path,
    out: Path,
    settings: EvaluationSettings | None = None,
    *,
    patients: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Evaluation:
    """Evaluate a folder of label maps against a folder of references of the same names.

    Args:
        reference: folder of reference label maps, or one of them.
        prediction: folder of predicted label maps, or one of them; where R2D2 made them, they know their labels and
            which of their scans the model was trained on. Two files belong together whatever their names.
        out: folder for summary.json and cases.csv.
        settings: what is scored and how; None: the defaults.
        patients: patient of each case; None: each case is a patient of its own.
        progress: told of each case.
        stop: ends the work where it is made; nothing is written then.

    Returns:
        The evaluation.

    Raises:
        OutputFolderError: `out` is a file, or has files of another program that would be replaced.
        SegEvalError: missing predictions, other grids, other labels: all of them listed.
        ConfigurationError: cases whose patient is not named.
    """
    _check_out(out)
    chosen = settings or EvaluationSettings()
    manifest = _manifest_of(prediction)
    if chosen.labels is None and manifest is not None:
        ignored = find_ignore_label(reference, prediction) if chosen.ignore_label is None else None
        ignore_label = chosen.ignore_label if ignored is None else ignored.label
        labels = {name: value for name, value in manifest.labels.items() if value != ignore_label}
        chosen = build_settings(chosen, {"labels": labels})
    _check_patients(list(label_maps_in(reference)), patients)
    evaluation = evaluate_folder(
        reference,
        prediction,
        settings=chosen,
        patient_ids=patients,
        notes=_notes(manifest),
        progress=progress,
        stop=stop,
    )
    _write(evaluation, out)
    return evaluation


def _check_out(out: Path) -> None:
    """Refuse a folder in which scores or a report would take the place of something that we did not write."""
    check_evaluation_folder(out)
    report = out / REPORT
    if report.is_file() and _REPORT_MARK not in report.read_bytes():
        raise OutputFolderError(f"{report} would be replaced, and R2D2 did not write it; give another folder")


def _write(evaluation: Evaluation, out: Path) -> None:
    """Write the scores; a report of earlier ones does not stay beside them."""
    write_evaluation(evaluation, out)
    if (out / REPORT).is_file():
        (out / REPORT).unlink()


def _manifest_of(prediction: Path) -> PredictionManifest | None:
    """Read what R2D2 knows of a folder of predictions, or of one that it made among others."""
    if not prediction.is_file():
        return read_manifest(prediction)
    manifest = read_manifest(prediction.parent)
    is_listed = manifest is not None and prediction.name in {case.file for case in manifest.cases}
    return manifest if is_listed else None


def _check_patients(case_ids: list[str], patients: Mapping[str, str] | None) -> None:
    unnamed = [] if patients is None else [case_id for case_id in case_ids if case_id not in patients]
    if unnamed:
        more = f" and {len(unnamed) - 5} more" if len(unnamed) > 5 else ""
        raise ConfigurationError(f"every case needs a patient_id; none for {', '.join(unnamed[:5])}{more}")


def _notes(manifest: PredictionManifest | None) -> dict[str, str]:
    cases = manifest.cases if manifest is not None else ()
    return {case.case_id: _NOTES[case.split] for case in cases if case.split in _NOTES}
