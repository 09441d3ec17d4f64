"""Evaluation of one case: every label and region of a label map against its reference."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from segeval.by_value import ByValue
from segeval.class_maps import OtherLabels, as_integers, class_indices
from segeval.confusion import check_same_shape, confusion_matrix
from segeval.conventions import Conventions, build_conventions, empty_policy
from segeval.errors import MetricArgumentError
from segeval.formulas import IMAGE_METRICS
from segeval.labels import Label, check_labels, label_classes, label_key
from segeval.mask_pair import MaskPair
from segeval.masks import enclosing_box
from segeval.metrics import METRICS
from segeval.overlap import long_et_al
from segeval.regions import classes_within, region_counts
from segeval.surface import check_spacing

__all__ = ["CaseScores", "LabelScore", "evaluate", "evaluate_missing", "value_of"]


@dataclass(frozen=True, slots=True, eq=False)
class LabelScore(ByValue):
    """Scores of one label or region in one case.

    Attributes:
        label: the integer, or those of a region.
        label_name: its name.
        status: one of `STATUSES`.
        values: by the name of the metric; in mm, ml or as a share (see `METRICS`).
        reference_ml: volume of the reference; NaN for an image of two axes, as a plane has no volume.
        prediction_ml: volume of the prediction; likewise.
        tp: voxels in both.
        fp: voxels in the prediction only.
        fn: voxels in the reference only.
        tn: voxels in neither.
    """

    label: Label
    label_name: str
    status: str
    values: dict[str, float]
    reference_ml: float
    prediction_ml: float
    tp: int
    fp: int
    fn: int
    tn: int

    def __getitem__(self, metric: str) -> float:
        """Value of a metric that was asked for."""
        return self.values[metric]

    @property
    def key(self) -> str:
        """The label as nnU-Net writes it: "1", or "(1, 2)" for a region."""
        return label_key(self.label)

    @property
    def n_ref(self) -> int:
        """Voxels of the reference."""
        return self.tp + self.fn

    @property
    def n_pred(self) -> int:
        """Voxels of the prediction."""
        return self.tp + self.fp


@dataclass(frozen=True, slots=True, eq=False)
class CaseScores(ByValue):
    """Scores of one case.

    Attributes:
        scores: one for each label and region.
        confusion: int64 (classes, classes), rows reference; sums over cases are the pooled counts.
        class_values: the integer behind each row, 0 first, or integers: those that belong to the same structures.
        shape: shape of the image.
        spacing_mm: voxel size along each array axis.
    """

    scores: tuple[LabelScore, ...]
    confusion: NDArray[np.int64]
    class_values: tuple[Label, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]

    @property
    def image(self) -> dict[str, float]:
        """The metrics of `IMAGE_METRICS`, the background one of the classes; 0 where the prediction is missing."""
        if any(score.status == "prediction_missing" for score in self.scores):
            return dict.fromkeys(IMAGE_METRICS, 0.0)
        return {name: float(value) for name, value in long_et_al(self.confusion).items()}

    @property
    def pixel_accuracy(self) -> float:
        """Share of all voxels with the right class (Long et al. 2015), the background included."""
        return self.image["pixel_accuracy"]

    @property
    def mean_accuracy(self) -> float:
        """Mean over the reference's classes of the share found (Long et al. 2015), the background included."""
        return self.image["mean_accuracy"]

    @property
    def mean_iou(self) -> float:
        """Mean IoU over classes (Long et al. 2015), the background included."""
        return self.image["mean_iou"]

    @property
    def frequency_weighted_iou(self) -> float:
        """IoU weighted by the reference's class frequency (Long et al. 2015), the background included."""
        return self.image["frequency_weighted_iou"]


def evaluate(
    reference: ArrayLike,
    prediction: ArrayLike,
    labels: Mapping[str, int | str | Collection[int]],
    spacing_mm: Sequence[float],
    *,
    ignore_label: int | None = None,
    other_labels: OtherLabels = "refuse",
    conventions: Conventions | None = None,
    **choices: object,
) -> CaseScores:
    """Score every label of a predicted label map against the reference.

    Args:
        reference: label map with 1 to 3 axes, the whole image (never slice by slice): integers, or whole numbers held
            as real ones.
        prediction: label map of the same shape.
        labels: integer of each name, or several (a collection, or text such as "1-250") for a region, their union;
            regions may overlap. 0 is the background, may be named, and is not scored.
        spacing_mm: voxel size along each array axis, in mm.
        ignore_label: voxels with this value in the reference are not judged: they count in no matrix, and belong to
            no structure on either side.
        other_labels: what becomes of labels that are not declared: "refuse", or "background".
        conventions: how the numbers are made; None: the defaults of `Conventions`.
        choices: single fields of `Conventions` that differ, such as `on_empty="nnunet"`, `surface="area_weighted"`.

    Returns:
        Scores per label, with the confusion matrix they come from.

    Raises:
        ShapeMismatchError: the shapes differ.
        ArrayTypeError: an array does not hold whole numbers.
        LabelRangeError: a label is neither declared nor 0.
        MetricArgumentError: labels, spacing, number of axes or conventions break their rules.

    Example:
        >>> case = evaluate([[0, 1, 1]], [[0, 0, 1]], {"vessel": 1}, spacing_mm=(1.0, 2.0))
        >>> round(case.scores[0]["dice"], 3), case.scores[0]["hausdorff_mm"]
        (0.667, 2.0)
        >>> evaluate([0, 0], [0, 1], {"vessel": 1}, (1.0,), on_empty="infinite").scores[0]["hd95_mm"]
        inf
    """
    chosen = build_conventions(conventions, choices)
    scored = check_labels(labels, ignore_label)
    if other_labels not in get_args(OtherLabels):
        raise MetricArgumentError(f"other_labels must be refuse or background; received {other_labels!r}")
    classes = label_classes(scored)
    label_maps = np.asarray(reference), np.asarray(prediction)
    check_same_shape(*label_maps)
    shape = label_maps[0].shape
    if not 1 <= len(shape) <= 3:
        raise MetricArgumentError(
            f"an image must have 1 to 3 axes; received shape {shape}; evaluate one image at a time"
        )
    spacing = check_spacing(spacing_mm, len(shape))
    true, predicted, ignored = _judged_classes(*label_maps, classes, ignore_label, other_labels)
    confusion = confusion_matrix(true, predicted, len(classes))
    confusion[0, 0] -= ignored
    boxes = _class_boxes(true, predicted, len(classes), chosen)
    scores = []
    for name, label in scored.items():
        members = classes_within(label, classes)
        box = enclosing_box([box for index in members for box in boxes[index]], len(shape))
        pair = MaskPair(
            _mask_of(true[box], members, len(classes)),
            _mask_of(predicted[box], members, len(classes)),
            *region_counts(confusion, range(len(classes)), members),
            spacing,
            shape,
            chosen,
            chosen.tolerance_of(name),
        )
        scores.append(_score(name, label, pair, pair.status))
    return CaseScores(tuple(scores), confusion, classes, shape, spacing)


def evaluate_missing(
    reference: ArrayLike,
    labels: Mapping[str, int | str | Collection[int]],
    spacing_mm: Sequence[float],
    *,
    ignore_label: int | None = None,
    other_labels: OtherLabels = "refuse",
    conventions: Conventions | None = None,
    **choices: object,
) -> CaseScores:
    """Score a case whose prediction is missing: the worst value of every label, found in the reference or not.

    The metrics of the whole image are 0. In the confusion matrix, which has no place for voxels without a prediction,
    they count as predicted background.

    Args:
        reference: as for `evaluate`.
        labels: as for `evaluate`.
        spacing_mm: as for `evaluate`.
        ignore_label: as for `evaluate`.
        other_labels: as for `evaluate`.
        conventions: as for `evaluate`.
        choices: as for `evaluate`.

    Returns:
        Scores with the status "prediction_missing".

    Raises:
        SegEvalError: as for `evaluate`.

    Example:
        >>> evaluate_missing([0, 0, 0], {"vessel": 1}, (2.0,)).scores[0]["hd95_mm"]
        6.0
    """
    chosen = build_conventions(conventions, choices)
    nothing = np.zeros(np.shape(reference), np.uint8)
    measured = evaluate(
        reference,
        nothing,
        labels,
        spacing_mm,
        ignore_label=ignore_label,
        other_labels=other_labels,
        conventions=chosen.model_copy(update={"metrics": ("dice",)}),
    )
    scores = []
    for score in measured.scores:
        empty = np.zeros((0,) * nothing.ndim, bool)
        counts = (score.tp, score.fp, score.fn, score.tn)
        tolerance_mm = chosen.tolerance_of(score.label_name)
        pair = MaskPair(empty, empty, *counts, measured.spacing_mm, measured.shape, chosen, tolerance_mm)
        scores.append(_score(score.label_name, score.label, pair, "prediction_missing"))
    return CaseScores(tuple(scores), measured.confusion, measured.class_values, measured.shape, measured.spacing_mm)


def _score(name: str, label: Label, pair: MaskPair, status: str) -> LabelScore:
    values = {metric: value_of(metric, pair, status) for metric in pair.conventions.metrics}
    return LabelScore(
        label=label,
        label_name=name,
        status=status,
        values=values,
        reference_ml=(pair.tp + pair.fn) * pair.voxel_ml,
        prediction_ml=(pair.tp + pair.fp) * pair.voxel_ml,
        tp=pair.tp,
        fp=pair.fp,
        fn=pair.fn,
        tn=pair.tn,
    )


def value_of(name: str, pair: MaskPair, status: str) -> float:
    """Measure a metric, or give what the convention says where a structure is empty or a prediction missing.

    Args:
        name: name of the metric.
        pair: the structure in both.
        status: one of `STATUSES`.

    Returns:
        The value; NaN where there is none.

    Example:
        >>> nothing, conventions = np.zeros((0, 0), bool), Conventions(metrics=("dice", "hd95_mm"))
        >>> pair = MaskPair(nothing, nothing, 0, 0, 2, 10, (1.0, 1.0), (3, 4), conventions, 1.0)
        >>> value_of("dice", pair, "prediction_empty"), value_of("hd95_mm", pair, "prediction_empty")
        (0.0, 5.0)
    """
    metric = METRICS[name]
    if status == "measured":
        return metric.measure(pair)
    policy, _ = empty_policy(pair.conventions, name)
    if status == "prediction_missing":
        value = policy.prediction_empty
        if value == "measured" and metric.unit == "":
            value = "worst"
        if not isinstance(value, str) and math.isnan(value):
            value = "worst"
    else:
        value = {
            "both_empty": policy.both_empty,
            "reference_empty": policy.reference_empty,
            "prediction_empty": policy.prediction_empty,
        }[status]
    if value == "worst":
        return metric.worst(pair)
    return metric.measure(pair) if value == "measured" else float(value)


def _judged_classes(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    classes: tuple[Label, ...],
    ignore_label: int | None,
    others: OtherLabels,
) -> tuple[NDArray[np.integer], NDArray[np.integer], int]:
    """Turn both maps into class indices, ignored voxels into background; and count those."""
    true, predicted, ignored = as_integers(reference, "reference"), as_integers(prediction, "prediction"), 0
    if ignore_label is not None:
        is_ignored = true == ignore_label
        true = np.where(is_ignored, np.zeros((), true.dtype), true)
        predicted = np.where(is_ignored, np.zeros((), predicted.dtype), predicted)
        ignored = int(np.count_nonzero(is_ignored))
    return (
        class_indices(true, classes, "reference", others),
        class_indices(predicted, classes, "prediction", others),
        ignored,
    )


def _mask_of(class_map: NDArray[np.integer], classes: tuple[int, ...], num_classes: int) -> NDArray[np.bool_]:
    if len(classes) == 1:
        return class_map == classes[0]
    belongs = np.zeros(num_classes, dtype=bool)
    belongs[list(classes)] = True
    return belongs[class_map]


def _class_boxes(
    reference: NDArray[np.integer], prediction: NDArray[np.integer], num_classes: int, conventions: Conventions
) -> list[tuple[tuple[slice, ...] | None, ...]]:
    """Find the box of each class in both maps, in one pass over each; none where counts are all that is needed."""
    if all(METRICS[name].family in ("overlap", "volume") for name in conventions.metrics):
        return [(None, None)] * num_classes
    boxes = (ndimage.find_objects(class_map, max_label=num_classes - 1) for class_map in (reference, prediction))
    return [(None, None), *zip(*boxes, strict=True)]
