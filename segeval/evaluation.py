"""The result of evaluating many cases: scores, named averages with their intervals, and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.by_value import ByValue
from segeval.conventions import Conventions
from segeval.formulas import IMAGE_METRICS
from segeval.labels import Label, label_classes
from segeval.mask_pair import MaskPair
from segeval.metrics import METRICS
from segeval.overlap import jaccard, long_et_al, mean_over_classes
from segeval.regions import classes_within, region_counts
from segeval.scoring import LabelScore, value_of
from segeval.settings import EvaluationSettings
from segeval.statistics.means import (
    CONFIDENCE,
    RESAMPLES,
    MeanScore,
    bootstrap_weights,
    interval_of,
    mean_over_cases,
    mean_over_labels,
)

__all__ = ["EvaluatedCase", "Evaluation", "PooledScores", "build_evaluation"]

_NAMED_CASES = 5
_MATRICES_AT_ONCE = 1 << 22
"""Entries of resampled confusion matrices held at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedCase(ByValue):
    """Scores of one case together with where they come from.

    Attributes:
        case_id: name of the case.
        patient_id: the patient; the case itself where none is known.
        note: something a reader of the scores must know, such as "training case of this model"; or None.
        reference: path of the reference.
        prediction: path of the prediction.
        scores: one for each label.
        image: pixel_accuracy, mean_accuracy, mean_iou and frequency_weighted_iou of the whole image, the background
            included.
        spacing_mm: voxel size along each axis (1 where a picture has none); None where unknown.
    """

    case_id: str
    patient_id: str
    note: str | None
    reference: str
    prediction: str
    scores: tuple[LabelScore, ...]
    image: dict[str, float]
    spacing_mm: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PooledScores(ByValue):
    """Metrics on the voxels of all cases together: large structures and large images weigh most.

    Attributes:
        image: pixel_accuracy, mean_accuracy, mean_iou and frequency_weighted_iou (Long et al. 2015), the background
            included as a class, each with an interval over patients; n counts cases.
        labels: for each label name, the overlap metrics asked for, on the summed counts.
        classes: number of classes with an IoU, the background included.
        confusion: int64 (classes, classes), rows reference, summed over cases.
        class_values: the integer behind each row, 0 first, or integers: those that belong to the same structures.
    """

    image: dict[str, MeanScore]
    labels: dict[str, dict[str, float]]
    classes: int
    confusion: NDArray[np.int64]
    class_values: tuple[Label, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation(ByValue):
    """Scores of many cases.

    Attributes:
        settings: what was scored, and how every number was made.
        cases: one entry a case, in the order given.
        means: for each metric, for each label name, the mean over cases.
        foreground: for each metric, over cases for each label, then over labels (nnU-Net's order).
        per_case: for each metric, over labels within a case, then over cases (MONAI's order).
        images: the metrics of Long et al. for each case, then over cases.
        pooled: metrics on all voxels together.
        warnings: sentences that belong beside every figure taken from here.
    """

    settings: EvaluationSettings
    cases: tuple[EvaluatedCase, ...]
    means: dict[str, dict[str, MeanScore]]
    foreground: dict[str, MeanScore]
    per_case: dict[str, MeanScore]
    images: dict[str, MeanScore]
    pooled: PooledScores
    warnings: tuple[str, ...]

    @property
    def labels(self) -> dict[str, Label]:
        """Integer of each name, or the integers of a region; without the background."""
        return self.settings.labels or {}

    @property
    def conventions(self) -> Conventions:
        """How every number was made."""
        return self.settings.conventions

    @property
    def ignore_label(self) -> int | None:
        """Integer of the reference that was not judged; or None."""
        return self.settings.ignore_label

    @property
    def seed(self) -> int:
        """Seed of the bootstrap."""
        return self.settings.seed


def build_evaluation(
    settings: EvaluationSettings,
    cases: Sequence[EvaluatedCase],
    confusions: ArrayLike,
    *,
    warnings: Sequence[str] = (),
) -> Evaluation:
    """Summarise evaluated cases: averages, intervals over patients, pooled metrics and warnings.

    Args:
        settings: what was scored, its labels given, and how.
        cases: the cases, each with one score a label in that order.
        confusions: int64 (cases, classes, classes), one confusion matrix a case, of the classes of `label_classes`.
        warnings: sentences known already, put first.

    Returns:
        The evaluation; the same arguments give the same one.

    Example:
        >>> values = {"dice": 0.5}
        >>> score = LabelScore(1, "lesion", "measured", values, 0.3, 0.1, 1, 0, 2, 5)
        >>> case = EvaluatedCase("a", "a", None, "ref/a.nii.gz", "pred/a.nii.gz", (score,), {})
        >>> settings = EvaluationSettings(labels={"lesion": 1}, conventions=Conventions(metrics=("dice",)))
        >>> build_evaluation(settings, [case], [[[5, 0], [2, 1]]]).foreground["dice"].mean
        0.5
    """
    labels, conventions, seed = settings.labels or {}, settings.conventions, settings.seed
    patients = [case.patient_id for case in cases]
    means: dict[str, dict[str, MeanScore]] = {}
    foreground: dict[str, MeanScore] = {}
    per_case: dict[str, MeanScore] = {}
    for metric in conventions.metrics:
        table = np.array([[score.values[metric] for score in case.scores] for case in cases], np.float64)
        table = table.reshape(len(cases), len(labels))
        means[metric] = {name: _mean(table[:, column], patients, seed) for column, name in enumerate(labels)}
        foreground[metric] = mean_over_labels(table, patients, seed=seed)
        per_case[metric] = _mean([mean_over_classes(row).mean for row in table], patients, seed)
    images = {name: _mean([case.image.get(name, np.nan) for case in cases], patients, seed) for name in IMAGE_METRICS}
    return Evaluation(
        settings=settings,
        cases=tuple(cases),
        means=means,
        foreground=foreground,
        per_case=per_case,
        images=images,
        pooled=_pool(np.asarray(confusions, np.int64), patients, labels, conventions, seed),
        warnings=(*warnings, *_find_warnings(cases, labels)),
    )


def _mean(values: ArrayLike, patients: Sequence[str], seed: int) -> MeanScore:
    return mean_over_cases(values, patients, seed=seed)


def _pool(
    confusions: NDArray[np.int64],
    patients: Sequence[str],
    labels: dict[str, Label],
    conventions: Conventions,
    seed: int,
) -> PooledScores:
    class_values = label_classes(labels)
    confusion = confusions.sum(axis=0, dtype=np.int64)
    overlap = [name for name in conventions.metrics if METRICS[name].family == "overlap"]
    return PooledScores(
        image=_pooled_image_scores(confusions, patients, seed),
        labels={
            name: _pooled_label_scores(confusion, class_values, label, overlap, conventions)
            for name, label in labels.items()
        },
        classes=mean_over_classes(jaccard(confusion)).n,
        confusion=confusion,
        class_values=class_values,
    )


def _pooled_image_scores(confusions: NDArray[np.int64], patients: Sequence[str], seed: int) -> dict[str, MeanScore]:
    """Compute the metrics of Long et al. on summed matrices, and again for patients drawn with replacement."""
    names, rows = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    by_patient = np.zeros((len(names), *confusions.shape[1:]), dtype=np.int64)
    np.add.at(by_patient, rows, confusions)
    values = long_et_al(by_patient.sum(axis=0))
    samples: dict[str, list[NDArray[np.float64]]] = {name: [] for name in IMAGE_METRICS}
    if len(names) > 1:
        weights = bootstrap_weights(len(names), RESAMPLES, seed)
        flat = by_patient.reshape(len(names), -1).astype(np.float64)
        for part in np.array_split(weights, max(1, RESAMPLES * flat.shape[1] // _MATRICES_AT_ONCE)):
            drawn = long_et_al((part @ flat).reshape(-1, *confusions.shape[1:]))
            for name in IMAGE_METRICS:
                samples[name].append(drawn[name])
    scores = {}
    for name, value in values.items():
        low, high = interval_of(np.concatenate(samples[name]), CONFIDENCE) if samples[name] else (np.nan, np.nan)
        scores[name] = MeanScore(float(value), len(patients), 0, len(names), float(low), float(high), CONFIDENCE)
    return scores


def _pooled_label_scores(
    confusion: NDArray[np.int64],
    class_values: tuple[Label, ...],
    label: Label,
    metrics: Sequence[str],
    conventions: Conventions,
) -> dict[str, float]:
    """Compute overlap metrics on the summed counts of a label."""
    nothing = np.zeros(0, dtype=bool)
    counts = region_counts(confusion, range(len(class_values)), classes_within(label, class_values))
    pair = MaskPair(nothing, nothing, *counts, (1.0,), (0,), conventions, 0.0)
    return {name: value_of(name, pair, pair.status) for name in metrics}


def _find_warnings(cases: Sequence[EvaluatedCase], labels: dict[str, Label]) -> tuple[str, ...]:
    warnings = []
    noted: dict[str, list[str]] = {}
    for case in cases:
        if case.note is not None:
            noted.setdefault(case.note, []).append(case.case_id)
    for note, names in noted.items():
        warnings.append(
            f"{len(names)} of {len(cases)} cases are marked “{note}” and are included in every mean: {_named(names)}."
        )
    missing = [case.case_id for case in cases if any(score.status == "prediction_missing" for score in case.scores)]
    if missing:
        warnings.append(
            f"{len(missing)} of {len(cases)} cases have no prediction and are scored worst on every label (in pooled"
            f" figures their voxels count as predicted background): {_named(missing)}."
        )
    if len({case.patient_id for case in cases}) < 2:
        warnings.append("There are fewer than two patients, so that no confidence interval can be given.")
    for column, name in enumerate(labels):
        if all(case.scores[column].status == "both_empty" for case in cases):
            warnings.append(f"“{name}” is in no reference and in no prediction; it has no scores.")
    return tuple(warnings)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_CASES} more" if len(names) > _NAMED_CASES else ""
    return ", ".join(names[:_NAMED_CASES]) + more
