"""Overlap as a Keras metric: a confusion matrix kept on the device, exact however many pixels there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from r2d2_base.errors import ConfigurationError
from segeval import LabelRangeError

__all__ = ["SCORES", "SegmentationScores"]

SCORES = ("dice", "pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")
"""What `SegmentationScores` reports: the mean Dice of the classes from 1 on, and the set of Long et al. (2015), in
which the background is a class."""

_BASE = 2**30
"""A count is high * 2**30 + low, both int32: JAX has no int64 by default, and float32 loses pixels from 2**24 on."""


@keras.saving.register_keras_serializable(package="dist_training")
class SegmentationScores(keras.metrics.Metric):
    """Dice and the metrics of Long et al. over all pixels since the last reset, as in `segeval`.

    `result` gives float32 of exact counts; `confusion` the counts themselves. A pixel whose class lies outside
    [0, num_classes) or is no whole number (a probability, NaN), and is not ignored, is never dropped or rounded in
    silence: every score is NaN and `confusion` refuses.

    Args:
        num_classes: number of classes, the background included; at least 1.
        ignore_label: pixels with this value in y_true are not counted.
        prediction: "logits": y_pred ends in an axis of num_classes, of which the largest is taken (logits or
            probabilities); "classes": y_pred holds class indices.
        scores: which of `SCORES` to report; they are the names in Keras's logs.
        name: the metric's name.
        dtype: passed on to Keras; counts are int32 in any case.

    Raises:
        ConfigurationError: num_classes, prediction or scores break their rules.

    Example:
        >>> metric = SegmentationScores(num_classes=2, prediction="classes", scores=("dice", "pixel_accuracy"))
        >>> metric.update_state([[0, 1, 1]], [[0, 0, 1]])
        >>> {name: round(float(value), 3) for name, value in metric.result().items()}
        {'dice': 0.667, 'pixel_accuracy': 0.667}
        >>> metric.confusion().tolist()
        [[1, 0], [1, 1]]
    """

    def __init__(
        self,
        num_classes: int,
        ignore_label: int | None = None,
        prediction: Literal["logits", "classes"] = "logits",
        scores: Sequence[str] = SCORES,
        name: str = "segmentation_scores",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if num_classes < 1:
            raise ConfigurationError(f"num_classes must be at least 1; received {num_classes}")
        if prediction not in ("logits", "classes"):
            raise ConfigurationError(f"prediction must be logits or classes; received {prediction!r}")
        if not scores or not set(scores) <= set(SCORES):
            raise ConfigurationError(f"scores must be some of {', '.join(SCORES)}; received {tuple(scores)}")
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.prediction = prediction
        self.scores = tuple(scores)
        # one count a pair of classes, and a last one of the pixels outside them
        shape = (num_classes * num_classes + 1,)
        self._low = self.add_variable(shape, initializer="zeros", dtype="int32", name="low")
        self._high = self.add_variable(shape, initializer="zeros", dtype="int32", name="high")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch of fewer than 2**30 pixels.

        Args:
            y_true: class indices (N, ...), integers of any type or whole floats; a last axis of 1 may follow.
            y_pred: (N, ..., num_classes) logits or probabilities, or class indices (N, ...); see `prediction`. Nothing
                is broadcast.
            sample_weight: (N,) or (N, ...); a pixel of weight 0 is not counted, any other counts once.

        Raises:
            ConfigurationError: the shapes do not belong together.
        """
        predicted = ops.convert_to_tensor(y_pred)
        if self.prediction == "logits":
            if predicted.shape[-1] != self.num_classes:
                raise ConfigurationError(
                    f"y_pred must end in an axis of num_classes={self.num_classes} logits; received shape"
                    f' {tuple(predicted.shape)}; use prediction="classes" for class indices'
                )
            predicted = ops.argmax(predicted, axis=-1)
        predicted, inside = _whole(predicted)
        true, is_whole = _whole(_drop_last_axis(ops.convert_to_tensor(y_true), predicted, "y_true"))
        _check_sizes(true, predicted)
        inside, classes = ops.logical_and(inside, is_whole), self.num_classes
        for values in (true, predicted):
            inside = ops.logical_and(inside, ops.logical_and(values >= 0, values < classes))
        code = ops.where(inside, true * classes + predicted, classes * classes)
        counted = ops.ones_like(true)
        if self.ignore_label is not None:
            counted = ops.where(ops.logical_and(is_whole, true == self.ignore_label), 0, counted)
        if sample_weight is not None:
            weight = ops.convert_to_tensor(sample_weight)
            if len(weight.shape) == 1:
                weight = ops.reshape(weight, (-1,) + (1,) * (len(true.shape) - 1))
            counted = ops.where(_drop_last_axis(weight, predicted, "sample_weight") == 0, 0, counted)
        counts = ops.segment_sum(
            ops.reshape(counted, (-1,)), ops.reshape(code, (-1,)), num_segments=classes * classes + 1
        )
        low = self._low + counts
        carry = low // _BASE
        self._low.assign(low - carry * _BASE)
        self._high.assign(self._high + carry)

    def result(self) -> dict[str, Any]:
        """Score all that was counted since the last reset.

        Returns:
            float32 of each name in `scores`; NaN where it has no value, and everywhere when a class was out of range.
        """
        counts = ops.cast(self._low, "float32") + ops.cast(self._high, "float32") * float(_BASE)
        counts = ops.where(counts[-1] > 0, float("nan"), counts)
        matrix = ops.reshape(counts[:-1], (self.num_classes, self.num_classes))
        both, reference, prediction = ops.diagonal(matrix), ops.sum(matrix, axis=1), ops.sum(matrix, axis=0)
        iou = _ratio(both, reference + prediction - both)
        total = ops.sum(reference)
        values = {
            "dice": _mean(_ratio(2 * both, reference + prediction)[1:]),
            "pixel_accuracy": _ratio(ops.sum(both), total),
            "mean_accuracy": _mean(_ratio(both, reference)),
            "mean_iou": _mean(iou),
            "frequency_weighted_iou": _ratio(ops.sum(ops.where(reference > 0, reference * iou, 0.0)), total),
        }
        return {name: values[name] for name in self.scores}

    def confusion(self) -> np.ndarray:
        """Read the counts, for workers to sum and for `segeval`.

        Returns:
            int64 (num_classes, num_classes), rows reference.

        Raises:
            LabelRangeError: a pixel's class was outside [0, num_classes) and not ignored.
        """
        low, high = (ops.convert_to_numpy(part).astype(np.int64) for part in (self._low, self._high))
        counts = high * _BASE + low
        if counts[-1]:
            raise LabelRangeError(
                f"classes must lie in 0 to {self.num_classes - 1} (num_classes={self.num_classes}); received"
                f" {counts[-1]} pixels with others"
            )
        return counts[:-1].reshape(self.num_classes, self.num_classes)

    def assign_state(self, arrays: Sequence[np.ndarray]) -> None:
        """Go on from what the variables of several metrics of this kind hold in sum, such as of all workers.

        Args:
            arrays: two of int64 (num_classes * num_classes + 1,), in the order of ``variables``: counts modulo and by
                2**30, which may now exceed what the former holds.
        """
        low, high = (np.asarray(array, np.int64) for array in arrays)
        self._low.assign((low % _BASE).astype(np.int32))
        self._high.assign((high + low // _BASE).astype(np.int32))

    def assign_confusion(self, confusion: np.ndarray) -> None:
        """Go on from these counts, such as the sum over all workers.

        Args:
            confusion: int64 (num_classes, num_classes), rows reference, each from 0 to below 2**61.

        Raises:
            ConfigurationError: another shape.
        """
        counts = np.asarray(confusion)
        if counts.shape != (self.num_classes, self.num_classes):
            raise ConfigurationError(
                f"confusion must have shape {(self.num_classes, self.num_classes)}; received {counts.shape}"
            )
        high, low = np.divmod(np.append(counts.astype(np.int64), 0), _BASE)
        self._low.assign(low.astype(np.int32))
        self._high.assign(high.astype(np.int32))

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, for Keras to save."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_label": self.ignore_label,
            "prediction": self.prediction,
            "scores": list(self.scores),
        }


def _whole(values: Any) -> tuple[Any, Any]:
    """Give int32 classes, and whether each is what it was: a fraction, NaN or 2**32 would be cast to a class."""
    classes = ops.cast(values, "int32")
    return classes, ops.equal(ops.cast(classes, values.dtype), values)


def _drop_last_axis(values: Any, like: Any, name: str) -> Any:
    """Drop a last axis of 1 that the other does not have; refuse other differences in the number of axes."""
    if len(values.shape) == len(like.shape) + 1 and values.shape[-1] == 1:
        return ops.squeeze(values, axis=-1)
    if len(values.shape) != len(like.shape):
        raise ConfigurationError(
            f"{name} must have as many axes as the predicted classes; received shapes {tuple(values.shape)} and"
            f" {tuple(like.shape)}"
        )
    return values


def _check_sizes(true: Any, predicted: Any) -> None:
    """Refuse two shapes that would be broadcast, as far as they are known."""
    sizes = zip(true.shape, predicted.shape, strict=True)
    if any(None not in pair and pair[0] != pair[1] for pair in sizes):
        raise ConfigurationError(
            f"y_true must have the shape of the predicted classes; received shapes {tuple(true.shape)} and"
            f" {tuple(predicted.shape)}"
        )


def _ratio(numerator: Any, denominator: Any) -> Any:
    """Divide; 0 / 0 is NaN."""
    return ops.where(denominator == 0, float("nan"), numerator / ops.where(denominator == 0, 1.0, denominator))


def _mean(values: Any) -> Any:
    """Average what is not NaN."""
    valid = ops.logical_not(ops.isnan(values))
    return _ratio(ops.sum(ops.where(valid, values, 0.0)), ops.sum(ops.cast(valid, "float32")))
