"""The result of evaluating many cases: scores, means with their intervals, pooled counts and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segeval.evaluate import LabelScore
from segeval.overlap import (
    frequency_weighted_iou,
    jaccard,
    mean_accuracy,
    mean_iou,
    mean_over_classes,
    pixel_accuracy,
)
from segeval.statistics import MeanScore, mean_over_cases, mean_over_labels

__all__ = ["METRICS", "EvaluatedCase", "Evaluation", "PooledScores", "build_evaluation"]

METRICS = ("dice", "jaccard", "hd95_mm", "assd_mm")
"""Metrics that are averaged over cases, by their names in `LabelScore`."""

CONFIDENCE = 0.95
RESAMPLES = 2000
_NAMED_CASES = 5


@dataclass(frozen=True, slots=True)
class EvaluatedCase:
    """Scores of one case together with where they come from.

    Attributes:
        case_id: name of the case.
        patient_id: the patient; the case itself where none is known.
        note: something a reader of the scores must know, such as "training case of this model"; or None.
        reference: path of the reference.
        prediction: path of the prediction.
        scores: one for each label.
    """

    case_id: str
    patient_id: str
    note: str | None
    reference: str
    prediction: str
    scores: tuple[LabelScore, ...]


@dataclass(frozen=True, slots=True)
class PooledScores:
    """Metrics of Long et al. 2015 on the voxels of all cases together, the background included as a class.

    Attributes:
        pixel_accuracy: share of voxels with the right class.
        mean_accuracy: mean over the classes in the reference of the share found.
        mean_iou: mean over classes of intersection over union.
        frequency_weighted_iou: IoU weighted by the reference's class frequency.
        classes: number of classes with an IoU, the background included.
        confusion: int64 (classes, classes), rows reference, summed over cases.
        class_values: the label behind each row, 0 first.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    classes: int
    confusion: NDArray[np.int64]
    class_values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of many cases.

    Attributes:
        labels: integer of each name, without the background.
        cases: one entry a case, in the order given.
        means: for each metric of `METRICS`, the mean over cases for each label name.
        foreground: for each metric, the mean over labels of the means over cases.
        pooled: metrics on all voxels together.
        warnings: sentences that belong beside every figure taken from here.
        seed: seed of the bootstrap.
    """

    labels: dict[str, int]
    cases: tuple[EvaluatedCase, ...]
    means: dict[str, dict[str, MeanScore]]
    foreground: dict[str, MeanScore]
    pooled: PooledScores
    warnings: tuple[str, ...]
    seed: int


def build_evaluation(
    labels: dict[str, int], cases: Sequence[EvaluatedCase], confusion: NDArray[np.int64], seed: int = 0
) -> Evaluation:
    """Summarise evaluated cases: means, intervals over patients, pooled metrics and warnings.

    Args:
        labels: integer of each name, without the background, in ascending order of the integers.
        cases: the cases, each with one score a label in that order.
        confusion: int64 (classes, classes), summed over the cases; row 0 is the background.
        seed: seed of the bootstrap.

    Returns:
        The evaluation; the same arguments give the same one.

    Example:
        >>> score = LabelScore(1, "lesion", "measured", 0.5, 1 / 3, 2.0, 1.0, 0.3, 0.1, 1, 0, 2, 5)
        >>> case = EvaluatedCase("a", "a", None, "ref/a.nii.gz", "pred/a.nii.gz", (score,))
        >>> build_evaluation({"lesion": 1}, [case], np.array([[5, 0], [2, 1]])).foreground["dice"].mean
        0.5
    """
    patients = [case.patient_id for case in cases]
    means: dict[str, dict[str, MeanScore]] = {}
    foreground: dict[str, MeanScore] = {}
    for metric in METRICS:
        table = np.array([[getattr(score, metric) for score in case.scores] for case in cases], np.float64)
        table = table.reshape(len(cases), len(labels))
        means[metric] = {
            name: mean_over_cases(table[:, column], patients, confidence=CONFIDENCE, resamples=RESAMPLES, seed=seed)
            for column, name in enumerate(labels)
        }
        foreground[metric] = mean_over_labels(table, patients, confidence=CONFIDENCE, resamples=RESAMPLES, seed=seed)
    return Evaluation(
        labels=dict(labels),
        cases=tuple(cases),
        means=means,
        foreground=foreground,
        pooled=_pool(confusion, (0, *labels.values())),
        warnings=_find_warnings(cases, means["dice"]),
        seed=seed,
    )


def _pool(confusion: NDArray[np.int64], class_values: tuple[int, ...]) -> PooledScores:
    return PooledScores(
        pixel_accuracy=pixel_accuracy(confusion),
        mean_accuracy=mean_accuracy(confusion),
        mean_iou=mean_iou(confusion),
        frequency_weighted_iou=frequency_weighted_iou(confusion),
        classes=mean_over_classes(jaccard(confusion)).n,
        confusion=confusion,
        class_values=class_values,
    )


def _find_warnings(cases: Sequence[EvaluatedCase], dice_means: dict[str, MeanScore]) -> tuple[str, ...]:
    warnings = []
    noted: dict[str, list[str]] = {}
    for case in cases:
        if case.note is not None:
            noted.setdefault(case.note, []).append(case.case_id)
    for note, names in noted.items():
        named = ", ".join(names[:_NAMED_CASES])
        more = f" and {len(names) - _NAMED_CASES} more" if len(names) > _NAMED_CASES else ""
        warnings.append(
            f"{len(names)} of {len(cases)} cases are marked “{note}” and are included in every mean: {named}{more}."
        )
    if len({case.patient_id for case in cases}) < 2:
        warnings.append("There are fewer than two patients, so that no confidence interval can be given.")
    for name, score in dice_means.items():
        if score.n == 0:
            warnings.append(f"“{name}” is in no reference and in no prediction; it has no scores.")
    return tuple(warnings)
