"""Which slices of a case are trained on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:  # settings hold the model, and the command line shows settings without NumPy
    import numpy as np

__all__ = ["SliceSelection", "evenly_spread", "select_slices"]


class SliceSelection(BaseModel):
    """Which slices of a case are trained on; validation and test always see all of them.

    >>> select_slices(10, SliceSelection(count=5), seed=0, case_id="a").tolist()
    [1, 3, 5, 7, 9]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int | None = Field(
        default=None,
        ge=1,
        description="So many of a case, evenly: what is left is cut into equal parts, and of each the middle slice is"
        " taken (the later one of two). null, or where there are no more: all.",
    )
    within_labels: bool = Field(
        default=False, description="Only from the first slice with a label to the last; without labels: none."
    )
    keep_empty: float = Field(
        default=1.0, ge=0, le=1, description="Part of the slices without a label that is kept, drawn by the seed."
    )

    @property
    def is_neutral(self) -> bool:
        """Whether every slice is selected."""
        return self == SliceSelection()


def select_slices(label_map: np.ndarray | int, rule: SliceSelection, seed: int, case_id: str) -> np.ndarray:
    """Select slices of a case: within the labelled extent, dropping empty ones in part, then evenly a number of them.

    Args:
        label_map: (slices, height, width), 0 the background; or the number of slices of a case without label map,
            where `within_labels` and `keep_empty` mean nothing.
        rule: what is wanted.
        seed: with the case's name it decides which empty slices are dropped.
        case_id: the case's name.

    Returns:
        int64 indices, ascending, none twice; may be empty.

    >>> import numpy as np
    >>> label_map = np.zeros((6, 1, 1), np.uint8)
    >>> label_map[[2, 4]] = 1
    >>> select_slices(label_map, SliceSelection(within_labels=True), 0, "a").tolist()
    [2, 3, 4]
    >>> select_slices(label_map, SliceSelection(keep_empty=0), 0, "a").tolist()
    [2, 4]
    """
    import numpy as np

    if isinstance(label_map, int):
        return np.array(evenly_spread(label_map, rule.count), dtype=np.int64)
    labelled = label_map.any(axis=(1, 2))
    chosen = np.arange(len(labelled))
    if rule.within_labels:
        places = np.flatnonzero(labelled)
        chosen = chosen[places[0] : places[-1] + 1] if len(places) else chosen[:0]
    empty = chosen[~labelled[chosen]]
    kept = round(rule.keep_empty * len(empty))
    if kept < len(empty):
        digest = hashlib.sha256(case_id.encode()).digest()
        drawn = np.random.default_rng([seed, int.from_bytes(digest[:8], "big")]).permutation(empty)[kept:]
        chosen = np.setdiff1d(chosen, drawn)
    return chosen[evenly_spread(len(chosen), rule.count)]


def evenly_spread(count: int, wanted: int | None) -> list[int]:
    """Return `wanted` of the indices 0 to `count` - 1, the middles of as many equal parts; all if there are no more.

    >>> evenly_spread(10, 5), evenly_spread(10, 1), evenly_spread(2, 70)
    ([1, 3, 5, 7, 9], [5], [0, 1])
    """
    if wanted is None or wanted >= count:
        return list(range(count))
    return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]
