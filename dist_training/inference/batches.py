"""How many slices, or windows, a network is given at once."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from dist_training.ranks.devices import has_gpu
from r2d2_base.machine import usable_memory

__all__ = ["PIXELS_AT_A_TIME", "at_a_time", "batches"]

PIXELS_AT_A_TIME = 2**19
MARGIN = 6  # three large slices instead of one, and networks that hold twice of what is reckoned


def at_a_time(size: tuple[int, ...], needed: float) -> int:
    """Return how many slices of (height, width), or windows, a network is given at once.

    More than half a million pixels make nothing faster. A single slice, however, takes oneDNN as long as two on
    processors without AVX-512 (another algorithm), so two of large ones are given where the memory holds them.

    Args:
        size: of a slice, or window.
        needed: bytes that a network needs at least for one.
    """
    count = PIXELS_AT_A_TIME // prod(size)
    if count > 1 or has_gpu():
        return max(1, count)
    free = usable_memory()[1]
    return 2 if free is not None and MARGIN * needed <= free else 1


def batches(total: int, count: int) -> Iterator[range]:
    """Divide indices among batches of ``count``; a single one at the end joins those before it.

    >>> list(batches(5, 2)), list(batches(1, 2)), list(batches(2, 1))
    ([range(0, 2), range(2, 5)], [range(0, 1)], [range(0, 1), range(1, 2)])
    """
    starts = list(range(0, total, count))
    if count > 1 and len(starts) > 1 and total - starts[-1] == 1:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], total], strict=True):
        yield range(start, stop)
