"""What is to be said of masks that have names: which of them share voxels, and which hold none anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from imgmed.preparation.survey import SurveyedCase
from imgmed.study import enumerated

__all__ = ["mask_warnings"]

MOST_SHOWN = 3


def mask_warnings(surveyed: Sequence[SurveyedCase]) -> tuple[str, ...]:
    """Return sentences about masks that overlap, and about structures whose masks are empty in every case."""
    voxels: Counter[tuple[str, ...]] = Counter()
    cases: Counter[tuple[str, ...]] = Counter()
    for case in surveyed:
        for names, count in case.record.combinations:
            voxels[names] += count
            cases[names] += 1
    shared = [(names, count) for names, count in voxels.most_common() if len(names) > 1]
    shown = [
        f"{' and '.join(names)} share {count} voxels in {cases[names]} of {len(surveyed)} cases"
        for names, count in shared[:MOST_SHOWN]
    ]
    sentences = []
    if shown:
        more = f", and {len(shared) - MOST_SHOWN} more combinations do" if len(shared) > MOST_SHOWN else ""
        sentences.append(
            f"masks overlap: {'; '.join(shown)}{more}; such voxels have a label of their own, and the regions of the"
            " structures hold it"
        )
    labels = [case.source.label for case in surveyed if case.source.label is not None]
    empty = {name for label in labels for name in label.structures} - {name for names in voxels for name in names}
    if empty:
        sentences.append(f"no voxel in any mask of {enumerated(sorted(empty))}: no label of the dataset")
    return tuple(sentences)
