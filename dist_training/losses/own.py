"""A loss of the user's own: a function that gives one number a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dist_training.losses.supervision import as_levels, classes_at, level_weights
from dist_training.own_code import find_function
from r2d2_base.errors import ConfigurationError

__all__ = ["OwnLoss", "build_own_loss"]

_ARGUMENTS = ("y_true", "y_pred", "real")
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class OwnLoss:
    """The loss of a step by a function of the user's own, as one rank contributes to it; see ``build_own_loss``.

    Attributes:
        name: module:function.
        function: gives (N,) for y_true, y_pred, real and the options.
        options: its further arguments.
        regions: bool (classes, num_outputs) where each output is a region's; None: outputs are classes.
    """

    name: str
    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    regions: np.ndarray | None = None

    def __call__(self, outputs: Any, classes: Any, weights: Any, inverse_count: Any) -> Any:
        """Compute this rank's part; arguments and result are those of ``Loss``."""
        from keras import ops

        levels = as_levels(outputs)
        parts = zip(level_weights(len(levels)), levels, strict=True)
        total = sum(share * self.per_sample(logits, classes) for share, logits in parts)
        weights, inverse_count = (ops.convert_to_tensor(value, dtype=total.dtype) for value in (weights, inverse_count))
        return ops.sum(total * weights) * inverse_count

    def per_sample(self, logits: Any, classes: Any) -> Any:
        """Give (N,), in the precision of the logits, float32 at least.

        Args:
            logits: (N, h, w, num_outputs).
            classes: int32 (N, H, W) or (N, D, H, W), class indices, -1 where a pixel counts nowhere.

        Raises:
            ConfigurationError: the function gives something else than one number a sample.
        """
        from keras import backend, ops

        classes = classes_at(classes, *logits.shape[1:-1])
        dtype = backend.result_type(backend.standardize_dtype(logits.dtype), "float32")
        real = ops.cast(classes >= 0, dtype)[..., None]
        reference = real * ops.cast(self._reference(ops.maximum(classes, 0), logits.shape[-1]), dtype)
        values = self.function(reference, ops.cast(logits, dtype), real, **self.options)
        shape, count = getattr(values, "shape", None), logits.shape[0]
        if shape is None or len(shape) != 1 or (None not in (shape[0], count) and shape[0] != count):
            received = "no tensor" if shape is None else f"shape {tuple(shape)}"
            raise ConfigurationError(
                f"the loss {self.name} must give one number a sample, shape (N,); received {received} for N={count}; "
                "average over rows, columns and outputs only"
            )
        return ops.cast(values, dtype)

    def likely(self, classes: Any, num_outputs: int) -> Any:
        """Give logits (N, h, w, num_outputs) of a prediction that is right and sure."""
        from keras import ops

        return 8.0 * (2.0 * ops.cast(self._reference(ops.maximum(classes, 0), num_outputs), "float32") - 1.0)

    def _reference(self, classes: Any, num_outputs: int) -> Any:
        """Give (N, h, w, num_outputs): 1 where an output should be on."""
        from keras import ops

        if self.regions is not None:
            return ops.take(ops.convert_to_tensor(self.regions.astype(np.int32)), classes, axis=0)
        return (classes > 0)[..., None] if num_outputs == 1 else ops.one_hot(classes, num_outputs)


def build_own_loss(
    name: str, options: Mapping[str, Any], num_outputs: int, regions: np.ndarray | None = None
) -> OwnLoss:
    """Find a loss of the user's own and try it on a few pixels.

    It is called as ``function(y_true, y_pred, real, **options)``: y_true (N, H, W, num_outputs) is 1 where an output
    should be on, one-hot over classes of which 0 is the background; one output stands for class 1 alone. y_pred are
    the logits, of the same shape: their softmax, or sigmoid for one output or regions, are the probabilities. real
    (N, H, W, 1) is 1, or 0 at pixels that count nowhere, as those that pad a slice. It gives (N,), by which a step's
    loss is the mean over its samples however they are spread.

    Args:
        name: module:function.
        options: its further arguments, by name.
        num_outputs: channels of the logits.
        regions: bool (classes, num_outputs) where each output is a region's; None: outputs are classes.

    Raises:
        ConfigurationError: there is no such function, or what it gives breaks one of these rules.
    """
    loss = OwnLoss(name, find_function(name, "loss", _ARGUMENTS, options), options, regions)
    generator = np.random.default_rng(0)
    count = max(2, num_outputs) if regions is None else len(regions)
    classes = generator.integers(0, count, (3, 4, 6)).astype(np.int32)
    logits = generator.normal(size=(3, 4, 6, num_outputs)).astype(np.float32)
    classes[0, :, 4:] = classes[2] = -1
    for fault in _faults(loss, logits, classes):
        raise ConfigurationError(f"the loss {name} {fault}")
    return loss


def _faults(loss: OwnLoss, logits: np.ndarray, classes: np.ndarray) -> Any:
    """Say what is wrong with a loss; the first sample has some pixels that are not real, the last no other."""
    from keras import ops

    def of(some: np.ndarray, which: slice = slice(None)) -> np.ndarray:
        values = loss.per_sample(ops.convert_to_tensor(some[which]), ops.convert_to_tensor(classes[which]))
        return np.asarray(ops.convert_to_numpy(values))

    found = of(logits)
    if not np.isfinite(found).all():
        where = "a sample without a real pixel" if np.isfinite(found[:2]).all() else "ordinary logits"
        yield f"must be finite, and is not for {where}; add a small number to what it divides by"
    elsewhere = np.where(classes[..., None] < 0, logits + 3, logits)
    if not np.allclose(of(elsewhere)[:2], found[:2], rtol=_TOLERANCE):
        yield "must leave out the pixels where real is 0, such as those that pad a slice: multiply by real"
    if not np.allclose(of(logits, slice(1, 2)), found[1], rtol=_TOLERANCE):
        yield (
            "must give each sample a number that does not depend on the others of its batch, which are others on "
            "another number of workers; sum over rows, columns and outputs only"
        )
    right = np.asarray(ops.convert_to_numpy(loss.likely(classes, logits.shape[-1])))
    if not (of(right)[:2] <= of(-right)[:2]).all():
        yield "must be smaller the better the prediction is; received more for a right one than for a wrong one"
