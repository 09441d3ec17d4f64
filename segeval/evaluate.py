"""Evaluation of one case: every label of a label map against its reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from segeval.confusion import check_same_shape, confusion_matrix, count_classes
from segeval.labels import check_labels, class_indices
from segeval.overlap import dice, jaccard
from segeval.surface import assd_mm, check_spacing, hd95_mm, surface_distances

__all__ = ["STATUSES", "CaseEvaluation", "LabelScore", "evaluate"]

STATUSES = ("measured", "both_empty", "reference_empty", "prediction_empty")
"""What a score is: measured on two structures, or a value that the convention for empty masks gives."""


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Scores of one label in one case.

    Attributes:
        label: the integer.
        label_name: its name.
        status: one of `STATUSES`.
        dice: in [0, 1]; NaN where both are empty, 0 where one is.
        jaccard: likewise.
        hd95_mm: 95 % Hausdorff distance; NaN where both are empty, the image diagonal where one is.
        assd_mm: average symmetric surface distance; likewise.
        reference_ml: volume of the reference; NaN for an image of two axes, as a plane has no volume.
        prediction_ml: volume of the prediction; likewise.
        tp: voxels in both.
        fp: voxels in the prediction only.
        fn: voxels in the reference only.
        tn: voxels in neither.
    """

    label: int
    label_name: str
    status: str
    dice: float
    jaccard: float
    hd95_mm: float
    assd_mm: float
    reference_ml: float
    prediction_ml: float
    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n_ref(self) -> int:
        """Voxels of the reference."""
        return self.tp + self.fn

    @property
    def n_pred(self) -> int:
        """Voxels of the prediction."""
        return self.tp + self.fp


@dataclass(frozen=True, slots=True)
class CaseEvaluation:
    """Scores of one case.

    Attributes:
        scores: one for each label other than the background, in the order of their integers.
        confusion: int64 (classes, classes), rows reference; sums over cases are the pooled counts.
        class_values: the label behind each row, 0 first.
        shape: shape of the image.
        spacing_mm: voxel size along each array axis.
    """

    scores: tuple[LabelScore, ...]
    confusion: NDArray[np.int64]
    class_values: tuple[int, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]


def evaluate(
    reference: ArrayLike, prediction: ArrayLike, labels: Mapping[str, int], spacing_mm: Sequence[float]
) -> CaseEvaluation:
    """Score every label of a predicted label map against the reference.

    Args:
        reference: integer label map with 1 to 3 axes, the whole image (never slice by slice).
        prediction: integer label map of the same shape.
        labels: integer of each name; 0 is the background, may be named, and is not scored.
        spacing_mm: voxel size along each array axis, in mm.

    Returns:
        Scores per label, with the confusion matrix they come from.

    Raises:
        ShapeMismatchError: the shapes differ.
        ArrayTypeError: an array is not of integers.
        LabelRangeError: a label is neither declared nor 0.
        MetricArgumentError: the labels or the spacing break their rules.

    Example:
        >>> case = evaluate([[0, 1, 1]], [[0, 0, 1]], {"vessel": 1}, spacing_mm=(1.0, 2.0))
        >>> round(case.scores[0].dice, 3), case.scores[0].assd_mm
        (0.667, 0.6666666666666666)
    """
    foreground = check_labels(labels)
    class_values = (0, *foreground.values())
    reference_array, prediction_array = np.asarray(reference), np.asarray(prediction)
    check_same_shape(reference_array, prediction_array)
    spacing = check_spacing(spacing_mm, reference_array.ndim)
    reference_classes = class_indices(reference_array, class_values, "reference")
    prediction_classes = class_indices(prediction_array, class_values, "prediction")
    confusion = confusion_matrix(reference_classes, prediction_classes, len(class_values))
    boxes = _union_boxes(reference_classes, prediction_classes, len(foreground))
    counts, dices, jaccards = count_classes(confusion), dice(confusion), jaccard(confusion)
    scores = []
    for index, (name, value) in enumerate(foreground.items(), start=1):
        box = boxes[index - 1]
        distances = surface_distances(
            reference_classes[box] == index,
            prediction_classes[box] == index,
            spacing,
            image_shape=reference_array.shape,
        )
        tp, n_ref, n_pred = (int(count) for count in counts[index])
        voxel_ml = math.prod(spacing) / 1000 if len(spacing) == 3 else math.nan
        scores.append(
            LabelScore(
                label=value,
                label_name=name,
                status=_status(n_ref, n_pred),
                dice=float(dices[index]),
                jaccard=float(jaccards[index]),
                hd95_mm=hd95_mm(distances),
                assd_mm=assd_mm(distances),
                reference_ml=n_ref * voxel_ml,
                prediction_ml=n_pred * voxel_ml,
                tp=tp,
                fp=n_pred - tp,
                fn=n_ref - tp,
                tn=reference_array.size - n_ref - n_pred + tp,
            )
        )
    return CaseEvaluation(tuple(scores), confusion, class_values, reference_array.shape, spacing)


def _status(n_ref: int, n_pred: int) -> str:
    if n_ref and n_pred:
        return "measured"
    if n_ref:
        return "prediction_empty"
    return "reference_empty" if n_pred else "both_empty"


def _union_boxes(
    reference: NDArray[np.integer], prediction: NDArray[np.integer], labels: int
) -> list[tuple[slice, ...]]:
    """Find for each label the smallest box that holds it in both maps, in one pass over each map."""
    nothing = tuple(slice(0, 0) for _ in reference.shape)
    boxes = []
    for found in zip(
        ndimage.find_objects(reference, max_label=labels),
        ndimage.find_objects(prediction, max_label=labels),
        strict=True,
    ):
        present = [box for box in found if box is not None]
        boxes.append(
            tuple(
                slice(min(along.start for along in sides), max(along.stop for along in sides))
                for sides in zip(*present, strict=True)
            )
            if present
            else nothing
        )
    return boxes
