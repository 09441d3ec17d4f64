"""An evaluation on disk: `summary.json` as nnU-Net v2 lays it out, `cases.csv`, a row a case and label."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from r2d2_base.files import check_writable, make_folder, written_beside
from segeval.conventions import describe_conventions
from segeval.errors import EvaluationFormatError, EvaluationNotFoundError, OutputFolderError
from segeval.evaluation import EvaluatedCase, Evaluation, PooledScores
from segeval.labels import Label, label_from_json, label_in_json, label_key
from segeval.scoring import LabelScore
from segeval.settings import EvaluationSettings, build_settings
from segeval.statistics.means import MeanScore

__all__ = [
    "SCHEMA_VERSION",
    "case_columns",
    "check_evaluation_folder",
    "read_evaluation",
    "write_evaluation",
]

SCHEMA_VERSION = 2

_BEFORE = ("case_id", "patient_id", "label", "label_name", "status")
_AFTER = ("reference_ml", "prediction_ml", "n_ref", "n_pred", "tp", "fp", "fn", "tn", "note")

_NNUNET_METRICS = ("Dice", "IoU", "TP", "FP", "FN", "TN", "n_pred", "n_ref")
_SUMMARY, _CASES = "summary.json", "cases.csv"
_MARKS = {_SUMMARY: b'"r2d2": {', _CASES: b'"case_id","patient_id","label"'}
"""What tells a file of ours from one of the same name."""


def write_evaluation(evaluation: Evaluation, out: Path | str) -> Path:
    """Write `summary.json` and `cases.csv`, each beside its place and then renamed into it.

    Args:
        evaluation: what to write.
        out: folder; made where it is missing, and an evaluation that it already holds is replaced.

    Returns:
        The path of `summary.json`.

    Raises:
        OutputFolderError: the folder holds files of those names that are of another program.
        NoSpaceError: the disk is full; nothing half-written is left.
        NotWritableError: the folder cannot be made or written into.

    Example:
        >>> import tempfile
        >>> from segeval.evaluation import build_evaluation
        >>> score = LabelScore(1, "lesion", "measured", {"dice": 0.5}, 0.3, 0.1, 1, 0, 2, 5)
        >>> case = EvaluatedCase("a", "a", None, "ref/a.nii.gz", "pred/a.nii.gz", (score,), {})
        >>> settings = build_settings(choices={"labels": {"lesion": 1}, "metrics": ("dice",)})
        >>> evaluation = build_evaluation(settings, [case], [[[5, 0], [2, 1]]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_evaluation(evaluation, Path(folder, "evaluation")).name
        'summary.json'
    """
    out = Path(out)
    _check_ours(out)
    table = _cases_csv(evaluation).encode("utf-8", "surrogateescape")
    summary = _summary(evaluation, hashlib.sha256(table).hexdigest())
    text = json.dumps(summary, indent=4, ensure_ascii=False) + "\n"
    # JSON has escapes for what is no character of UTF-8, such as a byte of a file's name in another encoding
    contents = {_CASES: table, _SUMMARY: text.encode("utf-8", "backslashreplace")}
    made = not out.exists()
    try:
        make_folder(out)
        with written_beside(*(out / name for name in contents), is_durable=True) as names:
            for name, content in zip(names, contents.values(), strict=True):
                name.write_bytes(content)
    finally:
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    return out / _SUMMARY


def check_evaluation_folder(out: Path) -> None:
    """Refuse, before any work, a folder that no evaluation can be written into without loss.

    Args:
        out: folder to be.

    Raises:
        NoSpaceError: the disk is full.
        NotWritableError: the folder cannot be made or written into.
        OutputFolderError: a summary.json (nnU-Net's, say) or cases.csv that is of another program lies there and would
            be replaced.

    Example:
        >>> check_evaluation_folder(Path("a", "folder", "to", "be"))
    """
    check_writable(out)
    _check_ours(out)


def _check_ours(out: Path) -> None:
    others = [name for name, mark in _MARKS.items() if (out / name).is_file() and mark not in (out / name).read_bytes()]
    if others:
        raise OutputFolderError(
            f"{out}: {' and '.join(others)} there would be replaced, and R2D2 did not write what is in it; give another"
            " folder"
        )


def read_evaluation(out: Path | str) -> Evaluation:
    """Read what `write_evaluation` wrote.

    Args:
        out: folder with `summary.json` and `cases.csv`.

    Returns:
        An evaluation equal to the one written.

    Raises:
        EvaluationNotFoundError: one of the files is missing.
        EvaluationFormatError: a file is damaged, changed, by another program, or of another schema version, or the two
            were not written together.

    Example:
        >>> read_evaluation(Path("nowhere"))
        Traceback (most recent call last):
            ...
        segeval.errors.EvaluationNotFoundError: nowhere: no summary.json here; evaluate first
    """
    out = Path(out)
    for name in (_SUMMARY, _CASES):
        if not (out / name).is_file():
            raise EvaluationNotFoundError(f"{out}: no {name} here; evaluate first")
    path = out / _SUMMARY
    try:
        summary = json.loads(path.read_bytes())
        version = summary["r2d2"]["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationFormatError(
            f"{path}: not an evaluation written by R2D2 ({_reason(error)}); evaluate again"
        ) from error
    if version != SCHEMA_VERSION:
        raise EvaluationFormatError(
            f"{path}: schema version must be {SCHEMA_VERSION}; received {version!r}; evaluate again"
        )
    try:
        return _restore(summary, out)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise EvaluationFormatError(
            f"{out}: {_SUMMARY} and {_CASES} do not fit together or are damaged ({_reason(error)}); evaluate again"
        ) from error


def case_columns(metrics: Sequence[str]) -> tuple[str, ...]:
    """Give the columns of `cases.csv`.

    Args:
        metrics: names of the metrics that were measured.

    Returns:
        The columns in order.

    Example:
        >>> case_columns(["dice"])[3:7]
        ('label_name', 'status', 'dice', 'reference_ml')
    """
    return (*_BEFORE, *metrics, *_AFTER)


def _summary(evaluation: Evaluation, cases_sha256: str) -> dict[str, Any]:
    cases: list[dict[str, Any]] = [
        {
            "metrics": {score.key: _nnunet_metrics(score) for score in case.scores},
            "prediction_file": case.prediction,
            "reference_file": case.reference,
        }
        for case in evaluation.cases
    ]
    mean = {
        key: {metric: _mean(case["metrics"][key][metric] for case in cases) for metric in _NNUNET_METRICS}
        for key in map(label_key, evaluation.labels.values())
    }
    foreground = {metric: _mean(values[metric] for values in mean.values()) for metric in _NNUNET_METRICS}
    return {
        "foreground_mean": foreground,
        "mean": mean,
        "metric_per_case": cases,
        "r2d2": {**_extension(evaluation), "cases_csv_sha256": cases_sha256},
    }


def _extension(evaluation: Evaluation) -> dict[str, Any]:
    pooled = evaluation.pooled
    return {
        "schema_version": SCHEMA_VERSION,
        "warnings": list(evaluation.warnings),
        **evaluation.settings.model_dump(mode="json", exclude={"workers"}),
        "conventions_in_words": describe_conventions(evaluation.conventions),
        "mean_over_cases": {metric: _as_dicts(scores) for metric, scores in evaluation.means.items()},
        "mean_over_cases_then_labels": _as_dicts(evaluation.foreground),
        "mean_over_labels_then_cases": _as_dicts(evaluation.per_case),
        "mean_over_images": _as_dicts(evaluation.images),
        "pooled": {
            "image": _as_dicts(pooled.image),
            "labels": pooled.labels,
            "classes": pooled.classes,
            "class_values": [label_in_json(label) for label in pooled.class_values],
            "confusion_matrix": pooled.confusion.tolist(),
        },
        "cases": [
            {name: getattr(case, name) for name in ("case_id", "patient_id", "note", "image", "spacing_mm")}
            for case in evaluation.cases
        ],
    }


def _as_dicts(scores: Mapping[str, MeanScore]) -> dict[str, dict[str, float | int]]:
    return {name: asdict(score) for name, score in scores.items()}


def _nnunet_metrics(score: LabelScore) -> dict[str, float | int]:
    return {
        "Dice": _ratio(2 * score.tp, score.n_ref + score.n_pred, score.status),
        "FN": score.fn,
        "FP": score.fp,
        "IoU": _ratio(score.tp, score.tp + score.fp + score.fn, score.status),
        "TN": score.tn,
        "TP": score.tp,
        "n_pred": score.n_pred,
        "n_ref": score.n_ref,
    }


def _ratio(count: int, of: int, status: str) -> float:
    """Divide as nnU-Net does, 0 / 0 being NaN, whatever `on_empty` says; a missing prediction scores 0."""
    if of == 0:
        return 0.0 if status == "prediction_missing" else math.nan
    return count / of


def _mean(values: Iterable[float]) -> float:
    valid = [value for value in values if not math.isnan(value)]
    return math.fsum(valid) / len(valid) if valid else math.nan


def _cases_csv(evaluation: Evaluation) -> str:
    buffer = io.StringIO(newline="")
    # without quotes a carriage return in a name would end the row
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    columns = case_columns(evaluation.conventions.metrics)
    writer.writerow(columns)
    for case in evaluation.cases:
        beside = {"case_id": case.case_id, "patient_id": case.patient_id, "note": case.note or ""}
        for score in case.scores:
            counts = {name: getattr(score, name) for name in (*_BEFORE[3:], *_AFTER[:-1])}
            row = beside | counts | {"label": score.key} | score.values
            writer.writerow([row[column] for column in columns])
    return buffer.getvalue()


def _read_rows(path: Path, columns: tuple[str, ...], sha256: str) -> dict[str, list[dict[str, str]]]:
    content = path.read_bytes()
    reader = csv.DictReader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline=""))
    if tuple(reader.fieldnames or ()) != columns:
        raise ValueError(f"{path.name} has other columns")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path.name} was changed or is of another evaluation")
    rows: dict[str, list[dict[str, str]]] = {}
    for row in reader:
        rows.setdefault(row["case_id"], []).append(row)
    return rows


def _restore(summary: dict[str, Any], out: Path) -> Evaluation:
    extension = summary["r2d2"]
    settings = _restore_settings(extension)
    labels, conventions = settings.labels or {}, settings.conventions
    rows = _read_rows(out / _CASES, case_columns(conventions.metrics), extension["cases_csv_sha256"])
    cases = []
    for entry, files in zip(extension["cases"], summary["metric_per_case"], strict=True):
        scores = tuple(_restore_score(row, labels, conventions.metrics) for row in rows[entry["case_id"]])
        if [score.label_name for score in scores] != list(labels):
            raise ValueError(f"case {entry['case_id']} has other labels in {_CASES}")
        cases.append(
            EvaluatedCase(
                case_id=entry["case_id"],
                patient_id=entry["patient_id"],
                note=entry["note"],
                reference=files["reference_file"],
                prediction=files["prediction_file"],
                scores=scores,
                image=dict(entry["image"]),
                spacing_mm=None if entry.get("spacing_mm") is None else tuple(entry["spacing_mm"]),
            )
        )
    pooled = extension["pooled"]
    return Evaluation(
        settings=settings,
        cases=tuple(cases),
        means={metric: _restore_means(extension["mean_over_cases"][metric]) for metric in conventions.metrics},
        foreground=_restore_means(extension["mean_over_cases_then_labels"]),
        per_case=_restore_means(extension["mean_over_labels_then_cases"]),
        images=_restore_means(extension["mean_over_images"]),
        pooled=PooledScores(
            image=_restore_means(pooled["image"]),
            labels=pooled["labels"],
            classes=pooled["classes"],
            confusion=np.array(pooled["confusion_matrix"], dtype=np.int64),
            class_values=tuple(label_from_json(entry) for entry in pooled["class_values"]),
        ),
        warnings=tuple(extension["warnings"]),
    )


def _restore_settings(extension: Mapping[str, Any]) -> EvaluationSettings:
    """Give the settings; what an earlier version did not write has its default."""
    fields = [name for name in EvaluationSettings.model_fields if name in extension and name != "conventions"]
    return build_settings(choices={**extension["conventions"], **{name: extension[name] for name in fields}})


def _restore_means(scores: Mapping[str, Any]) -> dict[str, MeanScore]:
    return {name: MeanScore(**score) for name, score in scores.items()}


def _restore_score(row: Mapping[str, str], labels: Mapping[str, Label], metrics: Sequence[str]) -> LabelScore:
    return LabelScore(
        label=labels[row["label_name"]],
        label_name=row["label_name"],
        status=row["status"],
        values={metric: float(row[metric]) for metric in metrics},
        reference_ml=float(row["reference_ml"]),
        prediction_ml=float(row["prediction_ml"]),
        **{name: int(row[name]) for name in ("tp", "fp", "fn", "tn")},
    )


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
