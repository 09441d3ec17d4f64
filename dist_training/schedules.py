"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from r2d2_base.errors import ConfigurationError

__all__ = ["LearningRateScaling", "Schedule", "learning_rate_at", "scaled_learning_rate"]

Schedule = Literal["cosine", "polynomial", "step", "constant"]
LearningRateScaling = Literal["linear", "sqrt", "none"]


def scaled_learning_rate(
    learning_rate: float,
    global_batch_size: int,
    reference_batch_size: int,
    scaling: LearningRateScaling = "linear",
) -> float:
    """Scale the learning rate with the global batch.

    The number of workers as such plays no part: two workers with 8 samples each are one worker with 16.

    - ``linear``: by k = global / reference (Goyal et al. 2017, arXiv 1706.02677, section 2.1).
    - ``sqrt``: by √k, which keeps the variance of the step (Krizhevsky 2014, arXiv 1404.5997; Hoffer, Hubara and
      Soudry 2017, arXiv 1705.08741).
    - ``none``: not at all.

    Args:
        learning_rate: the rate that suits ``reference_batch_size``.
        global_batch_size: samples in one step over all workers.
        reference_batch_size: the batch that ``learning_rate`` was chosen for.
        scaling: "linear", "sqrt" or "none".

    Returns:
        The rate for the global batch.

    Raises:
        ConfigurationError: another scaling.

    >>> [scaled_learning_rate(0.1, 1024, 256, scaling=scaling) for scaling in ("linear", "sqrt", "none")]
    [0.4, 0.2, 0.1]
    """
    match scaling:
        case "linear":
            # bracketed: exactly learning_rate for the batch it suits
            return learning_rate * (global_batch_size / reference_batch_size)
        case "sqrt":
            return learning_rate * math.sqrt(global_batch_size / reference_batch_size)
        case "none":
            return learning_rate
    raise ConfigurationError(f"learning_rate_scaling must be linear, sqrt or none; received {scaling!r}")


def learning_rate_at(
    step: int,
    *,
    peak: float,
    base: float,
    warmup_steps: int,
    total_steps: int,
    schedule: Schedule,
    milestones: Sequence[float] = (0.5, 0.75),
    factor: float = 0.1,
    power: float = 0.9,
    floor: float = 0.0,
) -> float:
    """Give the learning rate of one optimizer step.

    Warm-up rises linearly, step by step, to ``peak``: from ``base``, the rate of the reference batch (Goyal et al.
    2017, section 2.2), or from a tenth of ``peak`` where that is less, so that small batches have one too.
    Afterwards, with p the part that is done, from 0 after warm-up to 1 at the end of the run:

    - ``constant``: the rate stays.
    - ``cosine``: peak (1 + cos π p) / 2 (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5).
    - ``polynomial``: peak (1 - p)^power (Liu, Rabinovich and Berg 2015, arXiv 1506.04579). Both fall to ``floor`` of
      the peak, where that is not 0, by so much less.
    - ``step``: times ``factor`` at each milestone, a share of the whole run (He et al. 2016, arXiv 1512.03385).

    Args:
        step: 0-based number of the step.
        peak: the rate after warm-up.
        base: the rate of the reference batch.
        warmup_steps: steps of warm-up; 0 for none.
        total_steps: steps of the whole run.
        schedule: "cosine", "polynomial", "step" or "constant".
        milestones: of ``step``, in (0, 1).
        factor: of ``step``, in (0, 1).
        power: of ``polynomial``, above 0.
        floor: share of the peak at the end of ``cosine`` and ``polynomial``, in [0, 1).

    Returns:
        The learning rate.

    Raises:
        ConfigurationError: another schedule.

    >>> [learning_rate_at(t, peak=40.0, base=1.0, warmup_steps=3, total_steps=9, schedule="constant") for t in range(5)]
    [1.0, 14.0, 27.0, 40.0, 40.0]
    >>> [learning_rate_at(t, peak=8.0, base=8.0, warmup_steps=0, total_steps=4, schedule="step", factor=0.5)
    ...  for t in range(4)]
    [8.0, 8.0, 4.0, 2.0]
    """
    if step < warmup_steps:
        start = min(base, peak / 10)
        return start + (peak - start) * step / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    match schedule:
        case "constant":
            return peak
        case "cosine":
            return peak * (floor + (1 - floor) * ((1 + math.cos(math.pi * done)) / 2))
        case "polynomial":
            return peak * (floor + (1 - floor) * (1 - done) ** power)
        case "step":
            return peak * factor ** sum(step / total_steps >= milestone for milestone in milestones)
    raise ConfigurationError(f"schedule must be cosine, polynomial, step or constant; received {schedule!r}")
