"""Overlap over many images: counts that add up over batches, cases and workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.by_value import ByValue
from segeval.confusion import check_counts, check_num_classes, confusion_matrix
from segeval.errors import MetricArgumentError
from segeval.overlap import (
    dice,
    frequency_weighted_iou,
    jaccard,
    mean_accuracy,
    mean_iou,
    mean_over_classes,
    pixel_accuracy,
    precision,
    sensitivity,
    specificity,
)

__all__ = ["OverlapAccumulator", "OverlapResult"]


@dataclass(frozen=True, slots=True, eq=False)
class OverlapResult(ByValue):
    """Overlap pooled over all voxels seen, each value a function of the summed confusion matrix.

    Attributes:
        confusion: int64 (num_classes, num_classes), rows reference.
    """

    confusion: NDArray[np.int64]

    @property
    def dice(self) -> NDArray[np.float64]:
        """Dice of each class."""
        return dice(self.confusion)

    @property
    def jaccard(self) -> NDArray[np.float64]:
        """Intersection over union of each class."""
        return jaccard(self.confusion)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision of each class."""
        return precision(self.confusion)

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """Sensitivity of each class."""
        return sensitivity(self.confusion)

    @property
    def specificity(self) -> NDArray[np.float64]:
        """Specificity of each class."""
        return specificity(self.confusion)

    @property
    def foreground_dice(self) -> float:
        """Mean Dice over the classes from 1 on that occur; NaN where none does."""
        return mean_over_classes(self.dice[1:]).mean

    @property
    def pixel_accuracy(self) -> float:
        """Share of all voxels with the right class (Long et al. 2015), the background included."""
        return pixel_accuracy(self.confusion)

    @property
    def mean_accuracy(self) -> float:
        """Mean over the reference's classes of the share found (Long et al. 2015), the background included."""
        return mean_accuracy(self.confusion)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that occur (Long et al. 2015), the background included."""
        return mean_iou(self.confusion)

    @property
    def frequency_weighted_iou(self) -> float:
        """IoU weighted by the reference's class frequency (Long et al. 2015), the background included."""
        return frequency_weighted_iou(self.confusion)


class OverlapAccumulator:
    """Sum up confusion matrices, batch by batch and worker by worker; the order does not matter.

    Args:
        num_classes: number of classes, the background included; at least 1.
        ignore_label: voxels with this value in the reference are not counted.

    Raises:
        MetricArgumentError: num_classes is no integer or less than 1.

    Example:
        >>> first, second = OverlapAccumulator(num_classes=2), OverlapAccumulator(num_classes=2)
        >>> first.update([0, 1, 1], [0, 0, 1])
        >>> second.update([1, 1], [1, 1])
        >>> first.merge(second)
        >>> first.confusion.tolist(), round(first.result().foreground_dice, 3)
        ([[1, 0], [1, 3]], 0.857)
    """

    def __init__(self, num_classes: int, ignore_label: int | None = None) -> None:
        check_num_classes(num_classes)
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self._confusion = np.zeros((num_classes, num_classes), dtype=np.int64)

    @classmethod
    def from_confusion(cls, confusion: ArrayLike, ignore_label: int | None = None) -> OverlapAccumulator:
        """Start from counts, such as the sum of the workers' `confusion`.

        Args:
            confusion: integers (num_classes, num_classes), rows reference, none negative.
            ignore_label: as for the class.

        Returns:
            An accumulator that holds a copy of them.

        Raises:
            SegEvalError: not a square matrix of counts.

        Example:
            >>> OverlapAccumulator.from_confusion([[1, 0], [1, 3]]).result().pixel_accuracy
            0.8
        """
        counts = check_counts(confusion)
        if counts.size and counts.min() < 0:
            raise MetricArgumentError(f"a confusion matrix must hold no negative counts; received {counts.min()}")
        accumulator = cls(len(counts), ignore_label)
        accumulator._confusion = counts.copy()
        return accumulator

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The counts so far, int64 (num_classes, num_classes), rows reference; a copy."""
        return self._confusion.copy()

    def update(self, reference: ArrayLike, prediction: ArrayLike) -> None:
        """Count a batch, an image or a volume.

        Args:
            reference: class indices of any shape, as for `confusion_matrix`.
            prediction: class indices of the same shape.

        Raises:
            SegEvalError: as for `confusion_matrix`; nothing of this batch is then counted.
        """
        self._confusion += confusion_matrix(reference, prediction, self.num_classes, self.ignore_label)

    def merge(self, other: OverlapAccumulator) -> None:
        """Add the counts of another accumulator, which stays as it is.

        Args:
            other: one of as many classes that ignores the same label.

        Raises:
            MetricArgumentError: the other counts something else.
        """
        counted, added = (self.num_classes, self.ignore_label), (other.num_classes, other.ignore_label)
        if counted != added:
            raise MetricArgumentError(
                "accumulators must have the same num_classes and ignore_label to be merged;"
                f" received {counted} and {added}"
            )
        self._confusion += other._confusion

    def result(self) -> OverlapResult:
        """Score what has been counted so far.

        Returns:
            The metrics, pooled over all voxels; later updates do not change them.
        """
        return OverlapResult(self.confusion)
