"""Arrays that come slab by slab, brought into step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

__all__ = ["in_step"]


def in_step(streams: Sequence[Iterable[np.ndarray]]) -> Iterator[tuple[np.ndarray, ...]]:
    """Cut slabs of several arrays so that they go on together along the first axis.

    No more is held than a slab of each.

    Args:
        streams: of each array its slabs, one after the other; the arrays are equally long.

    Yields:
        Of each array the same indices, as a view.

    >>> one, other = [np.arange(3), np.arange(3, 5)], [np.arange(1), np.arange(1, 5)]
    >>> [[part.tolist() for part in parts] for parts in in_step([one, other])]
    [[[0], [0]], [[1, 2], [1, 2]], [[3, 4], [3, 4]]]
    """
    coming = [iter(stream) for stream in streams]
    held = [next(slabs, None) for slabs in coming]
    while all(slab is not None for slab in held):
        slabs = [slab for slab in held if slab is not None]
        count = min(map(len, slabs))
        yield tuple(slab[:count] for slab in slabs)
        held = [
            slab[count:] if len(slab) > count else next(more, None) for slab, more in zip(slabs, coming, strict=True)
        ]
