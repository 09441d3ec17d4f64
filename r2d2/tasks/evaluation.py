"""Evaluating label maps against references, with what the model has seen of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dist_training.inference.model_card import Split
from imgmed import PreparedDataset
from r2d2.prediction.predict import PredictionManifest, prediction_name, read_manifest
from r2d2_base.errors import ConfigurationError
from r2d2_base.progress import Progress, StopRequest
from r2d2_base.settings_faults import settings_faults
from segeval import (
    CasePair,
    Conventions,
    Evaluation,
    EvaluationInputError,
    Label,
    OutputFolderError,
    check_evaluation_folder,
    evaluate_folder,
    evaluate_pairs,
    write_evaluation,
)
from segeval.files.label_map import case_id_of

__all__ = [
    "REPORT",
    "EvaluationSettings",
    "build_evaluation_settings",
    "evaluate_dataset",
    "evaluate_folds",
    "evaluate_prediction_folder",
    "labels_to_score",
    "read_patients",
    "split_case_ids",
]

REPORT = "report.html"
"""Name of the report beside the scores."""

_REPORT_MARK = b"R2D2 evaluation report, written"

_NOTES = {
    "train": "training case of this model",
    "validation": "validation case of this model, which chose its weights",
}


class EvaluationSettings(BaseModel):
    """What is evaluated, and how. Every default works.

    Example:
        >>> EvaluationSettings(on_missing="worst").conventions.on_empty
        'penalise'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[str, int | tuple[int, ...]] | None = Field(
        default=None,
        description="NAME=1, or NAME=1,2 for a region, the union of its integers. By default the labels of the dataset"
        " (its regions, where it has any) or of the predictions, else every integer in the files.",
    )
    ignore_label: int | None = Field(
        default=None, description="Integer of the reference whose voxels are not judged. By default none."
    )
    conventions: Conventions = Field(default=Conventions(), description="How every number is made.")
    on_missing: Literal["error", "worst"] = Field(
        default="error",
        description="A reference without a prediction: error stops; worst scores it worst on every label.",
    )
    unit: Literal["volume", "slice"] = Field(
        default="volume", description="What a case is: volume, or slice, where every slice is a case of its own."
    )
    slice_axis: int = Field(
        default=-1, ge=-3, le=2, description="Axis of the arrays that slices follow each other along."
    )
    spacing_mm: tuple[float, float] | None = Field(
        default=None,
        description="Pixel size of pictures (PNG, TIFF), between rows and between columns. By default distances of"
        " pictures are in pixels.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the bootstrap over patients.")
    workers: int | None = Field(
        default=None, ge=1, description="Processes; the results do not depend on them. By default as many as help."
    )


def build_evaluation_settings(
    choices: Mapping[str, Any] | None = None, conventions: Mapping[str, Any] | None = None
) -> EvaluationSettings:
    """Put settings together from what was asked for.

    Args:
        choices: fields of `EvaluationSettings` other than the conventions.
        conventions: fields of `Conventions`.

    Returns:
        The settings; what was not asked for has its default.

    Raises:
        ConfigurationError: unknown fields or values; all faults in one message.

    Example:
        >>> build_evaluation_settings({"seed": -1}, {"hd95": "mean"})
        Traceback (most recent call last):
            ...
        r2d2_base.errors.ConfigurationError: hd95: must be 'max_of_directed' or 'pooled'; received 'mean'; \
seed: must be at least 0; received -1
    """
    try:
        return EvaluationSettings.model_validate({**(choices or {}), "conventions": dict(conventions or {})})
    except ValidationError as error:
        faults = settings_faults(error, EvaluationSettings, unsaid=("conventions",))
        raise ConfigurationError("; ".join(faults)) from None


def split_case_ids(dataset: PreparedDataset, split: Split) -> tuple[str, ...]:
    """Give the cases of "train", "validation" or "test", without augmented copies: those are no scans."""
    case_ids: tuple[str, ...] = getattr(dataset.original_splits, split)
    return case_ids


def labels_to_score(dataset: PreparedDataset, ignore_label: int | None = None) -> dict[str, Label]:
    """Give a dataset's regions and the labels that are in none of them; without regions, its labels.

    Args:
        dataset: the prepared dataset.
        ignore_label: integer that is not judged, and no label.

    Returns:
        Integer, or integers, of each name, without the background.
    """
    regions = dataset.description.regions
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
        prediction: folder of label maps, named like the scans.
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
    notes = _notes(read_manifest(prediction))
    present = _label_maps_in(prediction)
    pairs, faults = [], []
    for case_id in split_case_ids(dataset, split):
        case = dataset.case(case_id)
        paths = present.get(case_id, [prediction / prediction_name(case_id, Path(case.images[0].path))])
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            faults.append(f"case {case_id}: {len(paths)} prediction files in {prediction}, {names}")
        patient_id = case.patient_id if patients is None else patients.get(case_id)
        pairs.append(CasePair(case_id, dataset.reference(case_id), paths[0], patient_id, notes.get(case_id)))
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
    chosen = settings or EvaluationSettings()
    evaluation = evaluate_pairs(
        pairs, **_arguments(chosen, labels_to_score(dataset, chosen.ignore_label)), progress=progress, stop=stop
    )
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
        reference: folder of reference label maps.
        prediction: folder of predicted label maps; where R2D2 made them, they know their labels and which of
            their scans the model was trained on.
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
    manifest = read_manifest(prediction)
    labels: dict[str, Label] | None = None
    if manifest is not None:
        labels = {name: value for name, value in manifest.labels.items() if value != chosen.ignore_label}
    _check_patients(list(_label_maps_in(reference)), patients)
    evaluation = evaluate_folder(
        reference,
        prediction,
        **_arguments(chosen, labels),
        patient_ids=patients,
        notes=_notes(manifest),
        progress=progress,
        stop=stop,
    )
    _write(evaluation, out)
    return evaluation


def _arguments(settings: EvaluationSettings, labels: Mapping[str, Label] | None) -> dict[str, Any]:
    """Give the settings as SegEval's functions take them; labels that were asked for go before those known."""
    arguments = {name: getattr(settings, name) for name in EvaluationSettings.model_fields}
    return arguments if settings.labels is not None else {**arguments, "labels": labels}


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


def _label_maps_in(folder: Path) -> dict[str, list[Path]]:
    """Find the label maps of each case; none where there is no such folder, which evaluating it says."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        case_id = case_id_of(path)
        if case_id is not None and not path.name.startswith(".") and not path.is_dir():
            found.setdefault(case_id, []).append(path)
    return found


def _check_patients(case_ids: list[str], patients: Mapping[str, str] | None) -> None:
    unnamed = [] if patients is None else [case_id for case_id in case_ids if case_id not in patients]
    if unnamed:
        more = f" and {len(unnamed) - 5} more" if len(unnamed) > 5 else ""
        raise ConfigurationError(f"every case needs a patient_id; none for {', '.join(unnamed[:5])}{more}")


def _notes(manifest: PredictionManifest | None) -> dict[str, str]:
    cases = manifest.cases if manifest is not None else ()
    return {case.case_id: _NOTES[case.split] for case in cases if case.split in _NOTES}
