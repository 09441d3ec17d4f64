"""Losses by name: one number a sample, so that their sum does not depend on how the samples were spread.

All take logits (N, H, W, K) and class indices int32 (N, H, W), in which -1 marks a pixel that counts nowhere, and
return (N,), computed in the precision of the logits (half precision is raised to float32). K = 1 is a binary
task: the logit of a sigmoid for class 1. K > 1 is a softmax over classes of which 0 is the background. A sample
without a single real pixel has loss 0. Class weights weigh the pixels of the cross-entropy, not the Dice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from dist_training.errors import ConfigurationError

__all__ = ["DICE_SMOOTHING_PIXELS", "LOSSES", "build_loss"]

DICE_SMOOTHING_PIXELS = 1.0
"""Added to numerator and denominator of the soft Dice; see ``dice``."""


def cross_entropy(log_probabilities: Any, probabilities: Any, reference: Any, real: Any, weights: Any) -> Any:
    """Mean over a sample's real pixels of the negative log-probability of the reference class, weighted by class.

    The weighted sum is divided by the number of pixels, not by the sum of their weights: so a pixel counts the
    same whichever others share its slice or batch, the loss stays a sum over samples, and weights that are 1 on
    the average pixel keep its size.

    Args:
        log_probabilities: (N, C, P) of C classes (both of a binary task) at P pixels.
        probabilities: their exponentials; unused.
        reference: one-hot (N, C, P), zero at ignored pixels.
        real: (N, P), 1 at real pixels and 0 at ignored ones.
        weights: (C,), of each class; None: all 1.

    Returns:
        (N,), 0 where a sample has no real pixel.
    """
    from keras import ops

    if weights is not None:
        reference = reference * weights[:, None]
    total = -ops.sum(reference * log_probabilities, axis=(1, 2))
    return total / ops.maximum(ops.sum(real, axis=1), 1)


def dice(log_probabilities: Any, probabilities: Any, reference: Any, real: Any, weights: Any) -> Any:
    """One minus the soft Dice of each foreground class, averaged over the classes (Milletari et al. 2016, unsquared).

    Per sample and class, with sums over its real pixels: (2 sum(p y) + s) / (sum(p) + sum(y) + s), s one pixel.
    A class that a sample's reference lacks thus costs nothing when it is not predicted either, and more with
    every pixel that is; without s it would cost all or nothing and teach nothing.

    Args:
        log_probabilities: (N, C, P); unused.
        probabilities: (N, C, P) of C classes, 0 the background, at P pixels.
        reference: one-hot (N, C, P), zero at ignored pixels.
        real: (N, P), 1 at real pixels and 0 at ignored ones.
        weights: (C,); unused.

    Returns:
        (N,), from 0 to 1.
    """
    from keras import ops

    foreground, reference = probabilities[:, 1:], reference[:, 1:]
    shared = ops.sum(foreground * reference, axis=2)
    sizes = ops.sum(foreground * real[:, None], axis=2) + ops.sum(reference, axis=2)
    score = (2 * shared + DICE_SMOOTHING_PIXELS) / (sizes + DICE_SMOOTHING_PIXELS)
    return 1 - ops.mean(score, axis=-1)


def dice_cross_entropy(log_probabilities: Any, probabilities: Any, reference: Any, real: Any, weights: Any) -> Any:
    """Sum of ``cross_entropy`` and ``dice``, each with weight 1."""
    arguments = (log_probabilities, probabilities, reference, real, weights)
    return cross_entropy(*arguments) + dice(*arguments)


LOSSES: dict[str, Callable[[Any, Any, Any, Any, Any], Any]] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "dice_cross_entropy": dice_cross_entropy,
}
"""To add a loss: a function of these arguments, and a line here."""


def build_loss(name: str, num_outputs: int, class_weights: Sequence[float] | None = None) -> Callable[[Any, Any], Any]:
    """Build a loss by name.

    Args:
        name: one of ``LOSSES``.
        num_outputs: channels of the logits, at least 1.
        class_weights: a positive weight for each class, background included; None: all 1.

    Returns:
        A function of logits (N, H, W, num_outputs) and class indices int32 (N, H, W), -1 where a pixel counts
        nowhere, that gives one loss a sample (N,).

    Raises:
        ConfigurationError: no loss has this name, there are no outputs, or not one weight a class.

    >>> from keras import ops
    >>> loss = build_loss("cross_entropy", num_outputs=2)
    >>> print(f"{float(loss(ops.zeros((1, 1, 2, 2)), ops.array([[[0, 1]]]))[0]):.4f}")  # ln 2
    0.6931
    """
    if name not in LOSSES:
        raise ConfigurationError(f"loss must be one of {', '.join(LOSSES)}; received {name!r}")
    if num_outputs < 1:
        raise ConfigurationError(f"num_outputs must be at least 1; received {num_outputs}")
    num_classes = max(2, num_outputs)
    if class_weights is not None and len(class_weights) != num_classes:
        raise ConfigurationError(
            f"class_weights must be one number for each of {num_classes} classes, background included; "
            f"received {len(class_weights)}"
        )
    compare = LOSSES[name]

    def per_sample_loss(logits: Any, classes: Any) -> Any:
        from keras import backend, ops

        dtype = backend.result_type(backend.standardize_dtype(logits.dtype), "float32")
        samples, height, width, _ = ops.shape(logits)
        classes = ops.reshape(classes, (samples, height * width))
        # Pixels last: sums and softmax over a long last axis take half the time of those over a short one.
        logits = ops.reshape(logits, (samples, height * width, num_outputs))
        logits = ops.transpose(ops.cast(logits, dtype), (0, 2, 1))
        if num_outputs == 1:  # a sigmoid is the softmax over the logits 0 and z
            logits = ops.concatenate([ops.zeros_like(logits), logits], axis=1)
        largest = ops.max(logits, axis=1, keepdims=True, initial=-math.inf)  # an initial value lets a batch be empty
        below = logits - ops.stop_gradient(largest)
        exponentials = ops.exp(below)
        total = ops.sum(exponentials, axis=1, keepdims=True)
        log_probabilities, probabilities = below - ops.log(total), exponentials / total
        reference = ops.one_hot(classes, num_classes, axis=1, dtype=dtype)
        real = ops.cast(classes >= 0, dtype)
        weights = None if class_weights is None else ops.convert_to_tensor(class_weights, dtype=dtype)
        return compare(log_probabilities, probabilities, reference, real, weights)

    return per_sample_loss
