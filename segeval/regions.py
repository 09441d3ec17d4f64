"""Regions: the union of several classes, counted on the confusion matrix of those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.confusion import check_counts
from segeval.errors import MetricArgumentError
from segeval.labels import Label, label_integers

__all__ = ["RegionCounts", "classes_within", "region_counts"]


class RegionCounts(NamedTuple):
    """Voxels of one structure in both maps, in the prediction only, in the reference only, in neither."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The same as a confusion matrix of two classes; index 1 of a metric of it is the structure's."""
        return np.array([[self.tn, self.fp], [self.fn, self.tp]], dtype=np.int64)


def region_counts(confusion: ArrayLike, class_values: Sequence[int], region: Sequence[int]) -> RegionCounts:
    """Count a region, the union of several classes; one matrix serves any number of regions that overlap.

    Args:
        confusion: int64 (num_classes, num_classes), rows reference.
        class_values: the label behind each row.
        region: labels that make up the region, at least one.

    Returns:
        tp, fp, fn and tn in voxels.

    Raises:
        SegEvalError: not a square matrix of counts.
        MetricArgumentError: class_values are not one a row, or the region is empty or not made of them.

    Example:
        >>> region_counts([[5, 1, 0], [0, 2, 1], [0, 0, 3]], (0, 1, 2), (1, 2))
        RegionCounts(tp=6, fp=1, fn=0, tn=5)
        >>> from segeval.overlap import dice
        >>> float(dice(region_counts([[5, 1, 0], [0, 2, 1], [0, 0, 3]], (0, 1, 2), (1, 2)).confusion)[1].round(3))
        0.923
    """
    matrix = check_counts(confusion)
    if len(class_values) != len(matrix):
        raise MetricArgumentError(
            f"class_values must name each of the {len(matrix)} rows; received {tuple(class_values)}"
        )
    if not region or not set(region) <= set(class_values):
        raise MetricArgumentError(
            f"a region must be made of the classes {tuple(class_values)}, at least one; received {tuple(region)}"
        )
    inside = np.isin(class_values, region)
    tn, fp, fn, tp = (
        int(matrix[np.ix_(rows, columns)].sum()) for rows in (~inside, inside) for columns in (~inside, inside)
    )
    return RegionCounts(tp, fp, fn, tn)


def classes_within(label: Label, classes: Sequence[Label]) -> tuple[int, ...]:
    """Find the classes that a label or region is made of.

    Args:
        label: the integer, or those of a region.
        classes: from `label_classes`, of labels with this one among them.

    Returns:
        Their positions.

    Example:
        >>> classes_within((1, 2, 3), (0, (1, 2), 3))
        (1, 2)
    """
    members = set(label_integers(label))
    return tuple(position for position, values in enumerate(classes) if label_integers(values)[0] in members)
