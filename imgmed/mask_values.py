"""What the values of undeclared label maps say: classes, masks with smoothed edges, or numbers of instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["edge_hint", "mask_fault", "mask_hint"]

FEWEST_VALUES = 16  # below, values may well be classes
MANY_VALUES = 64  # more are hardly ever meant as classes without names
WHITE = 255  # what masks of 8 bits are drawn with
FEWEST_BETWEEN = 3  # values that halving a mask leaves between black and white; classes drawn in greys are fewer
SCARCE = 10  # how many times more voxels a level has than a typical value of an edge
LEVEL_SHARE = 0.05  # of the voxels of the most frequent level that another one has at least
NEAR_LEVEL = 0.05  # of the largest value: how far noise of compression moves a level
MOST_LEVELS = 4
CONSECUTIVE = 0.98  # part of the numbers up to the largest that a case with numbered instances has
UNEQUAL = 1.2  # between the most and the fewest instances of a case
ENOUGH_CASES = 4  # to tell by as many ends of counting as cases
SHARED = 0.5  # of the cases have a value on average, where values are classes


def mask_fault(cases: Sequence[Mapping[int, int]]) -> str | None:
    """Return why the values of label maps cannot be classes, and what to set; None where they may be.

    Args:
        cases: voxels of each value, for each case; nothing is declared about them.

    >>> smoothed = {0: 3000, 255: 900} | {value: 2 for value in range(10, 250, 8)}
    >>> mask_fault([smoothed])
    'label maps hold 0, 255 and 30 values between, each in few voxels: masks with smoothed edges or of lossy \
pictures; set preparation.mask_threshold=128, or declare labels if they are classes'
    """
    pooled = _pooled(cases)
    if len(pooled) < FEWEST_VALUES:
        return None
    levels = _levels(pooled)
    if levels:
        shown = ", ".join(map(str, [0, *levels]))
        top = levels[-1]
        advice = (
            f"set preparation.mask_threshold={(top + 1) // 2}"
            if len(levels) == 1
            else "save them again without smoothing"
        )
        return (
            f"label maps hold {shown} and {len(pooled) - len(levels)} values between, each in few voxels: masks with"
            f" smoothed edges or of lossy pictures; {advice}, or declare labels if they are classes"
        )
    if _are_instances([{value for value in counts if value} for counts in cases], len(pooled)):
        return (
            f"label maps hold {len(pooled)} values up to {max(pooled)}, others in each case: numbers of instances, not"
            " classes; set preparation.remap_labels=foreground to make them one label, or declare labels if they are"
            " classes"
        )
    return None


def edge_hint(cases: Sequence[Mapping[int, int]]) -> str | None:
    """Return a sentence where a few values between 0 and 255 may be smoothed edges, or classes; None elsewhere.

    >>> print(edge_hint([{0: 3000, 64: 20, 128: 20, 191: 20, 255: 900}]))
    label maps hold 0, 255 and between them 64, 128, 191 in few voxels: classes, unless \
preparation.mask_threshold=128 says that they are smoothed edges
    """
    pooled = _pooled(cases)
    between = sorted(value for value in pooled if value < WHITE)
    if max(pooled, default=0) != WHITE or len(between) < FEWEST_BETWEEN:
        return None
    if sum(pooled[value] for value in between) >= pooled[WHITE]:
        return None
    return (
        f"label maps hold 0, 255 and between them {', '.join(map(str, between))} in few voxels: classes, unless"
        " preparation.mask_threshold=128 says that they are smoothed edges"
    )


def mask_hint(values: Sequence[int]) -> str | None:
    """Return a sentence on a number of undeclared values that is more than one would train on; None where it is not.

    >>> mask_hint(range(250))
    '249 label values are found and none is declared; for numbers of instances set \
preparation.remap_labels=foreground, to train on some alone preparation.keep_labels'
    """
    count = sum(value > 0 for value in values)
    if count < MANY_VALUES:
        return None
    return (
        f"{count} label values are found and none is declared; for numbers of instances set"
        " preparation.remap_labels=foreground, to train on some alone preparation.keep_labels"
    )


def _pooled(cases: Sequence[Mapping[int, int]]) -> Counter[int]:
    """Voxels of each label in all cases."""
    pooled: Counter[int] = Counter()
    for counts in cases:
        pooled.update({value: voxels for value, voxels in counts.items() if value})
    return pooled


def _levels(pooled: Mapping[int, int]) -> list[int]:
    """The values that a smoothed or lossy mask was drawn with: evenly spaced, most voxels by far; [] for others."""
    top, usual = max(pooled), float(np.median(list(pooled.values())))
    least = max(SCARCE * usual, LEVEL_SHARE * max(pooled.values()))
    frequent = [value for value, voxels in pooled.items() if voxels > least]
    near = NEAR_LEVEL * top
    for parts in range(1, MOST_LEVELS + 1):
        even = [top * part / parts for part in range(1, parts + 1)]
        clusters = [[value for value in frequent if abs(value - level) <= near] for level in even]
        if all(clusters) and all(any(value in cluster for cluster in clusters) or value <= near for value in frequent):
            found = [max(cluster, key=lambda value: pooled[value]) for cluster in clusters]
            is_wide = sum(value not in frequent for value in pooled) >= FEWEST_VALUES - 1 and top >= MANY_VALUES
            return found if is_wide else []
    return []


def _are_instances(cases: Sequence[set[int]], values: int) -> bool:
    """Whether cases count from 1 on, each as far as it gets, or have hardly a value in common."""
    labelled = [found for found in cases if found]
    if len(labelled) < 2:
        return False
    if sum(map(len, labelled)) / (values * len(labelled)) < SHARED:
        return True
    highest = [max(found) for found in labelled]
    ends_differ = max(highest) >= UNEQUAL * min(highest) or (
        len(labelled) >= ENOUGH_CASES and 2 * len(set(highest)) > len(labelled)
    )
    return ends_differ and all(len(found) >= CONSECUTIVE * most for found, most in zip(labelled, highest, strict=True))
