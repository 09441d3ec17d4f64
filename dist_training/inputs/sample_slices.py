"""Which validation slices are shown of a run: few, of different cases, where there is something to see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imgmed import Case, PreparedDataset

__all__ = ["choose_slices"]


def choose_slices(dataset: PreparedDataset, case_ids: Sequence[str], count: int) -> tuple[tuple[str, int], ...]:
    """Choose slices of as many cases as there are, small, middling and large ones by what is labelled in them.

    Of a case the slice with the most labelled pixels is taken; where there are fewer cases than slices wanted, several
    from one end of what is labelled to the other. Cases without a label come where there are no others. The choice is
    a function of the dataset alone; only the label maps of the chosen cases are read.

    Args:
        dataset: the prepared dataset.
        case_ids: of the cases to choose from.
        count: slices wanted.

    Returns:
        Case and number in its prepared stack of each slice, cases in the order of `case_ids`; fewer than wanted where
        no more are labelled.
    """
    labelled = [case_id for case_id in case_ids if _labelled_mm3(dataset, dataset.case(case_id)) > 0]
    cases = sorted(labelled or case_ids, key=lambda case_id: (_labelled_mm3(dataset, dataset.case(case_id)), case_id))
    taken = min(count, len(cases))
    if not taken:
        return ()
    chosen = {cases[(2 * place + 1) * len(cases) // (2 * taken)] for place in range(taken)}
    found = []
    for place, case_id in enumerate(one for one in case_ids if one in chosen):
        share = count // taken + (place < count % taken)
        found += [(case_id, number) for number in _slices_of(dataset, case_id, share)]
    return tuple(found)


def _labelled_mm3(dataset: PreparedDataset, case: Case) -> float:
    """How much of a scan is labelled, as its preparation counted."""
    voxels = sum(case.label_counts.get(name, 0) for name, value in dataset.labels.items() if value != 0)
    return voxels * float(np.prod(case.spacing_mm))


def _slices_of(dataset: PreparedDataset, case_id: str, count: int) -> list[int]:
    """Choose slices of a case: the fullest, or several spread over those where something is labelled."""
    values = [value for value in dataset.class_values if value != 0]
    areas = np.array([np.isin(plane, values).sum() for plane in dataset.label_map(case_id)])
    among = np.flatnonzero(areas) if areas.any() else np.arange(areas.size)
    count = min(count, among.size)
    if count == 1 and areas.any():
        return [int(areas.argmax())]
    return [int(part[part.size // 2]) for part in np.array_split(among, count)]
