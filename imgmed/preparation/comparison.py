"""Comparison of a study's cases with each other: which of them hold the same image content."""

from __future__ import annotations

from collections.abc import Sequence

from imgmed.preparation.intake import Intake
from imgmed.preparation.labelling import Labelling
from imgmed.preparation.reading import read_case_image, read_case_label
from imgmed.preparation.survey import SurveyedCase
from imgmed.splits.duplicates import Duplicate, confirm, describe, is_same_label_map, nominate
from imgmed.volume import Volume
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["describe_duplicates", "find_duplicates"]


def find_duplicates(
    intake: Intake, surveyed: Sequence[SurveyedCase], labelling: Labelling, watcher: Watcher = UNWATCHED
) -> tuple[Duplicate, ...]:
    """Return the pairs of cases that hold the same image content, confirmed by their voxels.

    Args:
        intake: what is read of the cases' files.
        surveyed: the cases with their fingerprints.
        labelling: numbers of the labels, by which these are compared too.
        watcher: told of ("comparing", done, total) volumes of nominated pairs.
    """
    cases = {case.case_id: case for case in surveyed}
    pairs = nominate({case_id: case.record.signature for case_id, case in cases.items()})
    total = len({case_id for pair in pairs for case_id in pair})
    seen: set[str] = set()

    def image(case_id: str) -> Volume:
        if case_id not in seen:
            seen.add(case_id)
            watcher.report("comparing", len(seen), total)
        return read_case_image(cases[case_id].source, intake.rules)

    def label_map(case_id: str) -> Volume | None:
        source = cases[case_id].source.label
        if source is None:
            return None
        scan = image(case_id)
        numbered = read_case_label(source, scan, intake.rules).numbered(labelling.segments)
        return Volume(numbered, scan.affine, source.path)

    def same_labels(first: str, second: str) -> bool | None:
        categories = cases[first].record.category, cases[second].record.category
        if None not in categories:
            return categories[0] == categories[1]
        maps = label_map(first), label_map(second)
        return None if maps[0] is None or maps[1] is None else is_same_label_map(maps[0], maps[1])

    contents = {case_id: case.record.image_content for case_id, case in cases.items()}
    return confirm(image, pairs, same_labels=same_labels, contents=contents)


def describe_duplicates(duplicates: Sequence[Duplicate], surveyed: Sequence[SurveyedCase]) -> tuple[str, ...]:
    """Return a sentence for each pair: which cases and files, how alike, and whether their labels agree."""
    names = {case.case_id: [str(image) for image in case.record.images] for case in surveyed}
    return tuple(describe(duplicate, names) for duplicate in duplicates)
