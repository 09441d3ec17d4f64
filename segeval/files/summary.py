"""An evaluation on disk: `summary.json` as nnU-Net v2 lays it out, `cases.csv`, a row a case and label."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from segeval.errors import EvaluationFormatError, EvaluationNotFoundError, OutputFolderError
from segeval.evaluate import LabelScore
from segeval.evaluation import METRICS, EvaluatedCase, Evaluation, PooledScores
from segeval.statistics import MeanScore

__all__ = ["CASE_COLUMNS", "POLICY", "SCHEMA_VERSION", "read_evaluation", "write_evaluation"]

SCHEMA_VERSION = 1

POLICY = {
    "both_empty": "no value (NaN); left out of every mean and counted as left out",
    "one_empty": (
        "the worst value: 0 for dice and jaccard, the diagonal of the image in mm (norm of shape × spacing) "
        "for distances; never left out"
    ),
    "foreground_mean": (
        "for each label the mean over cases, then the mean over labels without the background; "
        "a label without any value is left out"
    ),
    "confidence_interval": (
        "percentile bootstrap over patients, who are drawn whole; none (NaN) with fewer than two patients"
    ),
    "surface": "border voxels: voxels of the structure with a face neighbour outside it or beyond the image",
    "hd95_mm": "the larger of the two directed 95th percentiles",
    "assd_mm": "the mean over the border voxels of both surfaces together",
    "pooled": "one confusion matrix over all voxels of all cases, the background included (Long et al. 2015)",
}
"""How each number is made, in words; a copy goes into every `summary.json`."""

CASE_COLUMNS = (
    *("case_id", "patient_id", "label", "label_name", "status", "dice", "jaccard", "hd95_mm", "assd_mm"),
    *("reference_ml", "prediction_ml", "n_ref", "n_pred", "tp", "fp", "fn", "tn", "note"),
)
"""Columns of `cases.csv`."""

_NNUNET_METRICS = ("Dice", "IoU", "TP", "FP", "FN", "TN", "n_pred", "n_ref")
_SUMMARY, _CASES = "summary.json", "cases.csv"


def write_evaluation(evaluation: Evaluation, out: Path) -> Path:
    """Write `summary.json` and `cases.csv`, each beside its place and then renamed into it.

    Args:
        evaluation: what to write.
        out: folder; made where it is missing, and an evaluation that it already holds is replaced.

    Returns:
        The path of `summary.json`.

    Raises:
        OutputFolderError: the folder cannot be made or written into; nothing half-written is left.

    Example:
        >>> from segeval.evaluation import build_evaluation
        >>> score = LabelScore(1, "lesion", "measured", 0.5, 1 / 3, 2.0, 1.0, 0.3, 0.1, 1, 0, 2, 5)
        >>> case = EvaluatedCase("a", "a", None, "ref/a.nii.gz", "pred/a.nii.gz", (score,))
        >>> evaluation = build_evaluation({"lesion": 1}, [case], np.array([[5, 0], [2, 1]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_evaluation(evaluation, Path(folder, "evaluation")).name
        'summary.json'
    """
    summary = json.dumps(_summary(evaluation), indent=4, ensure_ascii=False) + "\n"
    texts = {_CASES: _cases_csv(evaluation), _SUMMARY: summary}
    made = not out.exists()
    written: list[tuple[Path, Path]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            written.append((_write_beside(out, name, text), out / name))
        for temporary, final in written:
            temporary.replace(final)
    except OSError as error:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise OutputFolderError(
            f"{out}: the evaluation cannot be written ({error.strerror or error}); give a folder that can be "
            "written to, with room left"
        ) from error
    return out / _SUMMARY


def read_evaluation(out: Path) -> Evaluation:
    """Read what `write_evaluation` wrote.

    Args:
        out: folder with `summary.json` and `cases.csv`.

    Returns:
        An evaluation equal to the one written.

    Raises:
        EvaluationNotFoundError: one of the files is missing.
        EvaluationFormatError: a file is damaged, by another program, or of another schema version.

    Example:
        >>> read_evaluation(Path("nowhere"))
        Traceback (most recent call last):
            ...
        segeval.errors.EvaluationNotFoundError: nowhere: no summary.json here; evaluate first
    """
    for name in (_SUMMARY, _CASES):
        if not (out / name).is_file():
            raise EvaluationNotFoundError(f"{out}: no {name} here; evaluate first")
    path = out / _SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        extension = summary["r2d2"]
        version = extension["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationFormatError(
            f"{path}: not an evaluation written by R2D2 ({_reason(error)}); evaluate again"
        ) from error
    if version != SCHEMA_VERSION:
        raise EvaluationFormatError(
            f"{path}: schema version must be {SCHEMA_VERSION}; received {version!r}; evaluate again"
        )
    try:
        return _restore(summary, extension, _read_rows(out / _CASES))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise EvaluationFormatError(
            f"{out}: {_SUMMARY} and {_CASES} do not fit together or are damaged ({_reason(error)}); evaluate again"
        ) from error


def _summary(evaluation: Evaluation) -> dict[str, Any]:
    cases: list[dict[str, Any]] = [
        {
            "metrics": {str(score.label): _nnunet_metrics(score) for score in case.scores},
            "prediction_file": case.prediction,
            "reference_file": case.reference,
        }
        for case in evaluation.cases
    ]
    mean = {
        str(label): {metric: _mean(case["metrics"][str(label)][metric] for case in cases) for metric in _NNUNET_METRICS}
        for label in evaluation.labels.values()
    }
    foreground = {metric: _mean(values[metric] for values in mean.values()) for metric in _NNUNET_METRICS}
    return {
        "foreground_mean": foreground,
        "mean": mean,
        "metric_per_case": cases,
        "r2d2": _extension(evaluation),
    }


def _extension(evaluation: Evaluation) -> dict[str, Any]:
    pooled = evaluation.pooled
    return {
        "schema_version": SCHEMA_VERSION,
        "warnings": list(evaluation.warnings),
        "labels": evaluation.labels,
        "policy": POLICY,
        "seed": evaluation.seed,
        "foreground_mean": {metric: asdict(score) for metric, score in evaluation.foreground.items()},
        "mean": {
            metric: {name: asdict(score) for name, score in scores.items()}
            for metric, scores in evaluation.means.items()
        },
        "pooled": {
            "pixel_accuracy": pooled.pixel_accuracy,
            "mean_accuracy": pooled.mean_accuracy,
            "mean_iou": pooled.mean_iou,
            "frequency_weighted_iou": pooled.frequency_weighted_iou,
            "classes": pooled.classes,
            "class_values": list(pooled.class_values),
            "confusion_matrix": pooled.confusion.tolist(),
        },
        "cases": [
            {"case_id": case.case_id, "patient_id": case.patient_id, "note": case.note} for case in evaluation.cases
        ],
    }


def _nnunet_metrics(score: LabelScore) -> dict[str, float | int]:
    return {
        "Dice": score.dice,
        "FN": score.fn,
        "FP": score.fp,
        "IoU": score.jaccard,
        "TN": score.tn,
        "TP": score.tp,
        "n_pred": score.n_pred,
        "n_ref": score.n_ref,
    }


def _mean(values: Iterable[float]) -> float:
    valid = [value for value in values if not math.isnan(value)]
    return math.fsum(valid) / len(valid) if valid else math.nan


def _cases_csv(evaluation: Evaluation) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CASE_COLUMNS)
    for case in evaluation.cases:
        beside = {"case_id": case.case_id, "patient_id": case.patient_id, "note": case.note or ""}
        for score in case.scores:
            row = beside | asdict(score) | {"n_ref": score.n_ref, "n_pred": score.n_pred}
            writer.writerow([row[column] for column in CASE_COLUMNS])
    return buffer.getvalue()


def _write_beside(folder: Path, name: str, text: str) -> Path:
    """Write a temporary file in the folder, as readable as any new file; nothing is left of it on failure."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    path = Path(temporary)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        path.chmod(0o644)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path


def _read_rows(path: Path) -> dict[str, list[dict[str, str]]]:
    rows: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != CASE_COLUMNS:
            raise ValueError(f"{path.name} has other columns")
        for row in reader:
            rows.setdefault(row["case_id"], []).append(row)
    return rows


def _restore(summary: dict[str, Any], extension: dict[str, Any], rows: dict[str, list[dict[str, str]]]) -> Evaluation:
    labels = {str(name): int(value) for name, value in extension["labels"].items()}
    cases = []
    for entry, files in zip(extension["cases"], summary["metric_per_case"], strict=True):
        scores = tuple(_restore_score(row) for row in rows[entry["case_id"]])
        if [score.label for score in scores] != list(labels.values()):
            raise ValueError(f"case {entry['case_id']} has other labels in {_CASES}")
        cases.append(
            EvaluatedCase(
                case_id=entry["case_id"],
                patient_id=entry["patient_id"],
                note=entry["note"],
                reference=files["reference_file"],
                prediction=files["prediction_file"],
                scores=scores,
            )
        )
    pooled = dict(extension["pooled"])
    confusion = np.array(pooled.pop("confusion_matrix"), dtype=np.int64)
    return Evaluation(
        labels=labels,
        cases=tuple(cases),
        means={metric: {name: MeanScore(**extension["mean"][metric][name]) for name in labels} for metric in METRICS},
        foreground={metric: MeanScore(**extension["foreground_mean"][metric]) for metric in METRICS},
        pooled=PooledScores(**(pooled | {"confusion": confusion, "class_values": tuple(pooled["class_values"])})),
        warnings=tuple(extension["warnings"]),
        seed=extension["seed"],
    )


def _restore_score(row: dict[str, str]) -> LabelScore:
    convert = {"int": int, "float": float, "str": str}
    return LabelScore(**{field.name: convert[str(field.type)](row[field.name]) for field in fields(LabelScore)})


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
