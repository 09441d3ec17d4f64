"""A loss made of terms, whose parts on the ranks add up to the loss of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dist_training.losses.comparison import Comparison, compare_classes, compare_regions
from dist_training.losses.overlap import areas, overlap_loss
from dist_training.losses.supervision import as_levels, classes_at, level_weights
from dist_training.ranks.communicator import Communicator

__all__ = ["Loss", "Term"]

Term = Callable[[Comparison], Any]
"""From N samples to a number for each, (N,)."""


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of a step, as one rank contributes to it; made by ``build_loss``.

    Terms that are a number a sample are summed over the samples and divided by the number of samples on all ranks.
    A whole-batch term divides sums over the batch: these are summed over the ranks first, and each rank's part is an
    equal share of the quotient. Backwards, the ranks' derivatives by these sums are summed again (Horovod's gradient
    of a sum is the sum of the gradients), so that the sum of all ranks' gradients is that of the loss.

    Attributes:
        num_outputs: channels of the logits.
        terms: what is added up for each sample.
        batch_overlap: weights of false positives and false negatives in the term that compares areas summed over the
            whole batch; None: there is none.
        class_weights: weights of the pixels by class in the pixel-wise terms; None: all 1.
        regions: bool (classes, num_outputs) where each output is a region's; None: outputs are classes.
        communicator: the ranks; None: there is one.
    """

    num_outputs: int
    terms: tuple[Term, ...]
    batch_overlap: tuple[float, float] | None = None
    class_weights: tuple[float, ...] | None = None
    regions: np.ndarray | None = None
    communicator: Communicator | None = None

    def __call__(self, outputs: Any, classes: Any, weights: Any, inverse_count: Any) -> Any:
        """Compute this rank's part.

        Args:
            outputs: logits (N, H, W, num_outputs), of volumes (N, D, H, W, num_outputs), or a list of them at falling
                resolutions (deep supervision).
            classes: int32 (N, H, W) or (N, D, H, W), class indices, -1 where a pixel counts nowhere.
            weights: (N,), 1 for a real sample, 0 for one that only fills an empty share.
            inverse_count: scalar, 1 / the number of real samples on all ranks.

        Returns:
            A scalar in the precision of the logits, float32 at least; its sum over the ranks is the loss.
        """
        from keras import ops

        levels = [self._compare(logits, classes) for logits in as_levels(outputs)]
        shares = level_weights(len(levels))
        dtype = levels[0].probabilities.dtype
        # Not cast(): that takes a Python number through float32 first.
        weights, inverse_count = (ops.convert_to_tensor(value, dtype=dtype) for value in (weights, inverse_count))
        part = ops.sum(self._per_sample(levels, shares) * weights) * inverse_count
        if self.batch_overlap is not None:
            part = part + self._whole_batch(levels, shares, weights, self.batch_overlap)
        return part

    def _compare(self, logits: Any, classes: Any) -> Comparison:
        classes = classes_at(classes, *logits.shape[1:-1])
        if self.regions is None:
            return compare_classes(logits, classes, self.class_weights)
        return compare_regions(logits, classes, self.class_weights, self.regions)

    def _per_sample(self, levels: Sequence[Comparison], shares: Sequence[float]) -> Any:
        """Give (N,): the terms that need no other sample, averaged over the resolutions; 0 where there is none."""
        total: Any = 0.0
        for level, share in zip(levels, shares, strict=True):
            for term in self.terms:
                total = total + share * term(level)
        return total

    def _whole_batch(
        self, levels: Sequence[Comparison], shares: Sequence[float], weights: Any, overlap: tuple[float, float]
    ) -> Any:
        """Give this rank's share of the term of areas; all resolutions travel in one exchange."""
        from keras import ops

        sums = ops.stack([ops.sum(areas(level) * weights[:, None, None], axis=0) for level in levels])
        world_size = 1
        if self.communicator is not None:
            sums, world_size = self.communicator.sum_tensor(sums), self.communicator.world_size
        losses = overlap_loss(sums, *overlap)
        return ops.sum(losses * ops.convert_to_tensor(shares, dtype=losses.dtype)) / world_size
