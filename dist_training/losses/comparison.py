"""Logits beside the reference: what every term of a loss is computed from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Comparison", "compare_classes", "compare_regions"]


@dataclass(frozen=True)
class Comparison:
    """N samples, in each of which D decisions between A alternatives are taken at each of P pixels.

    A softmax is one decision between the classes; with sigmoids, one a region, each is a decision of its own
    between two alternatives, and decisions lie beside each other like samples: sample 0's, then sample 1's.

    Attributes:
        log_probabilities: (N D, A, P).
        probabilities: (N D, A, P), their exponentials.
        reference: (N D, A, P), one-hot, zero at ignored pixels.
        real: (N D, P), 1 at real pixels and 0 at ignored ones.
        weights: (N D, P), of each pixel by its class, 0 at ignored ones.
        decisions: D.
    """

    log_probabilities: Any
    probabilities: Any
    reference: Any
    real: Any
    weights: Any
    decisions: int

    @property
    def figures(self) -> int:
        """How many areas are compared in a sample: those of the foreground classes, or of the regions."""
        return self.decisions * (self.reference.shape[1] - 1)


def compare_classes(logits: Any, classes: Any, class_weights: tuple[float, ...] | None) -> Comparison:
    """Compare a softmax over classes, or the one sigmoid of a binary task, with the reference.

    Args:
        logits: (N, ..., K); half precision is raised to float32.
        classes: int32 (N, ...), -1 where a pixel counts nowhere.
        class_weights: one a class; None: all 1.
    """
    logits, classes = _pixels_last(logits, classes)
    real, weights = _pixel_weights(classes, class_weights, logits.dtype)
    return _compare(logits, classes, real, weights, 1)


def compare_regions(
    logits: Any, classes: Any, class_weights: tuple[float, ...] | None, regions: np.ndarray
) -> Comparison:
    """Compare one sigmoid a region with the regions that the reference classes belong to.

    Args:
        logits: (N, ..., R); half precision is raised to float32.
        classes: int32 (N, ...), -1 where a pixel counts nowhere.
        class_weights: one a class; None: all 1.
        regions: bool (classes, R).
    """
    from keras import ops

    logits, classes = _pixels_last(logits, classes)
    real, weights = _pixel_weights(classes, class_weights, logits.dtype)
    samples, count, pixels = ops.shape(logits)

    def one_a_region(values: Any) -> Any:
        return ops.reshape(ops.repeat(values[:, None], count, axis=1), (samples * count, pixels))

    table = ops.convert_to_tensor(np.asarray(regions, dtype=np.int32))
    inside = ops.transpose(ops.take(table, ops.maximum(classes, 0), axis=0), (0, 2, 1))
    inside = ops.where(classes[:, None] >= 0, inside, -1)
    return _compare(
        ops.reshape(logits, (samples * count, 1, pixels)),
        ops.reshape(inside, (samples * count, pixels)),
        one_a_region(real),
        one_a_region(weights),
        count,
    )


def _pixels_last(logits: Any, classes: Any) -> tuple[Any, Any]:
    """Give logits (N, K, P) and classes (N, P): sums over a long last axis take half the time of those over a short."""
    from keras import backend, ops

    dtype = backend.result_type(backend.standardize_dtype(logits.dtype), "float32")
    samples, *sizes, outputs = ops.shape(logits)
    pixels = math.prod(sizes)
    logits = ops.reshape(logits, (samples, pixels, outputs))
    return ops.transpose(ops.cast(logits, dtype), (0, 2, 1)), ops.reshape(classes, (samples, pixels))


def _pixel_weights(classes: Any, class_weights: tuple[float, ...] | None, dtype: Any) -> tuple[Any, Any]:
    from keras import ops

    real = ops.cast(classes >= 0, dtype)
    if class_weights is None:
        return real, real
    weights = ops.convert_to_tensor(class_weights, dtype=dtype)
    return real, real * ops.take(weights, ops.maximum(classes, 0), axis=0)


def _compare(logits: Any, classes: Any, real: Any, weights: Any, decisions: int) -> Comparison:
    """Compare logits (N D, K, P) with the alternatives (N D, P) that are right."""
    from keras import ops

    if logits.shape[1] == 1:  # a sigmoid is the softmax over the logits 0 and z
        logits = ops.concatenate([ops.zeros_like(logits), logits], axis=1)
    largest = ops.max(logits, axis=1, keepdims=True, initial=-math.inf)  # an initial value lets a batch be empty
    below = logits - ops.stop_gradient(largest)
    exponentials = ops.exp(below)
    total = ops.sum(exponentials, axis=1, keepdims=True)
    reference = ops.one_hot(classes, logits.shape[1], axis=1, dtype=logits.dtype)
    return Comparison(below - ops.log(total), exponentials / total, reference, real, weights, decisions)
