"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["LearningRateScaling", "Schedule", "learning_rate_at", "scaled_learning_rate"]

Schedule = Literal["cosine", "polynomial", "step", "constant"]
LearningRateScaling = Literal["linear", "sqrt", "none"]


def scaled_learning_rate(learning_rate: float, global_batch_size: int, reference_batch_size: int) -> float:
    """Scale the learning rate linearly with the global batch (Goyal et al. 2017, arXiv 1706.02677, section 2.1).

    The number of workers as such plays no part: two workers with 8 samples each are one worker with 16.

    Args:
        learning_rate: the rate that suits ``reference_batch_size``.
        global_batch_size: samples in one step over all workers.
        reference_batch_size: the batch that ``learning_rate`` was chosen for.

    Returns:
        The rate for the global batch.

    >>> scaled_learning_rate(0.1, global_batch_size=512, reference_batch_size=256)
    0.2
    """
    return learning_rate * global_batch_size / reference_batch_size


def learning_rate_at(
    step: int, *, peak: float, base: float, warmup_steps: int, total_steps: int, schedule: Schedule
) -> float:
    """Give the learning rate of one optimizer step.

    Warm-up rises linearly, step by step, to ``peak``: from ``base``, the rate of the reference batch (Goyal et al.
    2017, section 2.2), or from a tenth of ``peak`` where that is less, so that small batches have one too.
    Afterwards the rate stays (``constant``) or falls along half a cosine to zero (Loshchilov and Hutter 2017).

    Args:
        step: 0-based number of the step.
        peak: the rate after warm-up.
        base: the rate of the reference batch.
        warmup_steps: steps of warm-up; 0 for none.
        total_steps: steps of the whole run.
        schedule: "cosine" or "constant".

    Returns:
        The learning rate.

    >>> [learning_rate_at(t, peak=40.0, base=1.0, warmup_steps=3, total_steps=9, schedule="constant") for t in range(5)]
    [1.0, 14.0, 27.0, 40.0, 40.0]
    """
    if step < warmup_steps:
        start = min(base, peak / 10)
        return start + (peak - start) * step / warmup_steps
    if schedule == "constant":
        return peak
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * min(1.0, progress))) / 2
