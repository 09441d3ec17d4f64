"""Scores read from disk, whoever measured them: an evaluation of ours, or nnU-Net v2's own `summary.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from segeval.conventions import Conventions
from segeval.errors import ComparisonError, EvaluationFormatError, EvaluationNotFoundError
from segeval.files.summary import read_evaluation
from segeval.labels import Label, label_key
from segeval.statistics.score_table import ScoreTable, score_table

__all__ = ["read_scores"]

_SUMMARY = "summary.json"
_NNUNET_METRICS = {"dice": "Dice", "jaccard": "IoU"}
_COUNTS = ("TP", "FP", "FN", "TN")


def read_scores(path: Path | str) -> ScoreTable:
    """Read the scores of one model from an evaluation folder, or from a `summary.json` that nnU-Net v2 wrote.

    nnU-Net's file holds Dice and IoU only, no names of labels (they are called by their keys, "1" or "(1, 2)") and no
    patients (each case counts as one). A case is called like its reference file, without the suffix.

    Args:
        path: a folder with a `summary.json`, or that file.

    Returns:
        The table; with nnU-Net's conventions where it measured.

    Raises:
        EvaluationNotFoundError: no such file.
        EvaluationFormatError: neither an evaluation of ours nor a summary of nnU-Net v2, or damaged.
        ComparisonError: two of nnU-Net's cases would have the same name.

    Example:
        >>> read_scores(Path("nowhere"))
        Traceback (most recent call last):
            ...
        segeval.errors.EvaluationNotFoundError: nowhere: no summary.json here; evaluate first
    """
    path = Path(path)
    file = path if path.is_file() else path / _SUMMARY
    if not file.is_file():
        raise EvaluationNotFoundError(f"{path}: no {_SUMMARY} here; evaluate first")
    try:
        summary = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise EvaluationFormatError(f"{file}: not JSON ({error}); evaluate again") from error
    if isinstance(summary, dict) and "r2d2" in summary:
        if file.name != _SUMMARY:
            raise EvaluationFormatError(
                f"{file}: an evaluation of R2D2 is a folder with {_SUMMARY} and cases.csv; give that folder"
            )
        return score_table(read_evaluation(file.parent))
    try:
        return _nnunet_table(summary["metric_per_case"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, ComparisonError):
            raise ComparisonError([f"{file}: {fault}" for fault in error.faults]) from None
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise EvaluationFormatError(
            f"{file}: neither an evaluation of R2D2 nor a {_SUMMARY} of nnU-Net v2 ({reason}); evaluate again"
        ) from error


def _nnunet_table(cases: Sequence[dict[str, Any]]) -> ScoreTable:
    case_ids = tuple(_case_id(case["reference_file"]) for case in cases)
    repeated = sorted({case_id for case_id in case_ids if case_ids.count(case_id) > 1})
    if repeated:
        raise ComparisonError([f"several cases have a reference file of the same name: {', '.join(repeated)}"])
    labels = {key: _label(key) for key in cases[0]["metrics"] if _label(key) != 0}
    keys = list(labels)
    if len(set(labels.values())) < len(keys):
        raise ValueError(f"two of the labels {', '.join(keys)} are the same")
    other = [
        case_id for case_id, case in zip(case_ids, cases, strict=True) if set(case["metrics"]) - {"0"} != set(keys)
    ]
    if other:
        raise ValueError(f"case {other[0]} has other labels than case {case_ids[0]}")

    def column(name: str) -> np.ndarray:
        return np.array([[float(case["metrics"][key][name]) for key in keys] for case in cases], dtype=np.float64)

    counts = {name: column(name).astype(np.int64) for name in _COUNTS}
    return ScoreTable(
        case_ids=case_ids,
        patient_ids=case_ids,
        labels={label_key(label): label for label in labels.values()},
        metrics={metric: column(name) for metric, name in _NNUNET_METRICS.items()},
        n_ref=counts["TP"] + counts["FN"],
        voxels=counts["TP"] + counts["FP"] + counts["FN"] + counts["TN"],
        conventions=Conventions(metrics=tuple(_NNUNET_METRICS), on_empty="nnunet"),
    )


def _case_id(reference_file: str) -> str:
    """Take the file's name without its suffix; the path may be one of Windows, wherever it is read."""
    name = PureWindowsPath(reference_file).name
    return name.removesuffix(".gz").rpartition(".")[0] or name


def _label(key: str) -> Label:
    """Read "1" or "(1, 2)", which nnU-Net writes in any order, and as "(1,)" for a region of one label."""
    parts = tuple(sorted(int(part) for part in key.strip("()").split(",") if part.strip()))
    return parts if len(parts) > 1 else parts[0]
