"""Out of memory: what was asked for, and the parts in which it would fit."""

from __future__ import annotations

import math
import re

from dist_training.errors import OutOfMemoryError
from dist_training.settings import WHOLE_BATCH_LOSSES, TrainingSettings

__all__ = ["explain_memory", "parts_that_fit"]

_SHAPE = re.compile(r"shape\s*\[([\d,\s]+)\].*?type\s+(\w+)", re.DOTALL)
_BYTES = {"half": 2, "bfloat16": 2, "float": 4, "float32": 4, "double": 8, "float64": 8, "int32": 4, "int64": 8}
_BYTES |= {"bool": 1, "uint8": 1, "int8": 1}
GIB = 2**30


def explain_memory(
    error: BaseException,
    settings: TrainingSettings,
    *,
    world_size: int,
    memory_bytes: int | None,
    normalisation: str | None = None,
) -> OutOfMemoryError | None:
    """Turn an error of memory into one that says what would fit; None for any other error.

    Args:
        error: what was raised.
        settings: of the run.
        world_size: the number of workers.
        memory_bytes: what a worker has at most; None where that is unknown.
        normalisation: the network's; of "batch", as of a whole-batch loss, no parts can be computed.

    Returns:
        The error to raise in its place.
    """
    text = str(error)
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
    if not is_memory and not ("OOM when allocating" in text or "std::bad_alloc" in text):
        return None
    asked = _asked_bytes(text)
    wanted = "" if asked is None else f" (it asked for {asked / GIB:.1f} GiB at once)"
    share = math.ceil(settings.step_size(world_size) / world_size)
    part = math.ceil(share / settings.accumulation_steps)
    if part == 1:
        advice = "use a smaller network (network.base_filters), smaller slices or training.dtype=mixed_bfloat16"
        return OutOfMemoryError(f"out of memory with one slice at a time{wanted}; {advice}")
    parts = min(part, parts_that_fit(asked, memory_bytes))
    smaller = f"training.batch_size_per_worker={max(1, part // parts)}"
    if settings.loss in WHOLE_BATCH_LOSSES or normalisation == "batch":
        what = f"loss {settings.loss}" if settings.loss in WHOLE_BATCH_LOSSES else "batch normalisation"
        advice = f"{what} needs the batch at once: use more workers, or train anew with {smaller}"
    else:
        accumulation = math.ceil(share / max(1, part // parts))
        advice = (
            f"training.accumulation_steps={accumulation} needs less and gives the same result (--resume takes it); "
            f"or train anew with {smaller}, in steps of fewer slices"
        )
    return OutOfMemoryError(f"out of memory with {part} slices at a time on a worker{wanted}; {advice}")


def parts_that_fit(asked_bytes: int | None, memory_bytes: int | None) -> int:
    """Estimate in how many parts a batch would fit: at least 2, more where one tensor alone was too large.

    Args:
        asked_bytes: size of the tensor that did not fit; None where it is unknown.
        memory_bytes: what a worker has at most; None where that is unknown.

    Returns:
        A power of two. Half of the memory is left to all else that a step holds.

    >>> parts_that_fit(None, None), parts_that_fit(40 * GIB, 16 * GIB)
    (2, 8)
    """
    if not asked_bytes or not memory_bytes:
        return 2
    return 2 ** max(1, math.ceil(math.log2(2 * asked_bytes / memory_bytes)))


def _asked_bytes(text: str) -> int | None:
    """Read the size of the tensor out of TensorFlow's message."""
    found = _SHAPE.search(text)
    if found is None or found[2] not in _BYTES:
        return None
    return math.prod(int(size) for size in found[1].split(",")) * _BYTES[found[2]]
