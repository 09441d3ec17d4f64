"""Which cases belong to one patient, by the layout of the source and by the DICOM headers."""

from __future__ import annotations

from collections.abc import Mapping

from imgmed.splits.leaks import group_cases

__all__ = ["join_patients"]

MOST_LISTED = 5


def join_patients(
    patients: Mapping[str, str], headers: Mapping[str, str | None]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Join patients of the layout whose cases have the same PatientID in their DICOM headers.

    Two visits in two folders are one patient, whatever the folders are called. An identifier that all cases share
    although the layout tells several patients apart was put there to hide them: it is not used.

    Args:
        patients: {case_id: patient} as the layout names them.
        headers: {case_id: identifier in the header}, None where there is none.

    Returns:
        {case_id: patient}, and sentences about what was joined or not used.

    >>> join_patients({"a": "a", "b": "b", "c": "c"}, {"a": "1", "b": "1", "c": "2"})[0]
    {'a': 'a', 'b': 'a', 'c': 'c'}
    >>> join_patients({"a": "a", "b": "b"}, {"a": "ANON", "b": "ANON"})[0]
    {'a': 'a', 'b': 'b'}
    """
    cases: dict[str, list[str]] = {}
    for case_id in sorted(patients):
        number = headers.get(case_id)
        if number is not None:
            cases.setdefault(number, []).append(case_id)
    named = [case_id for group in cases.values() for case_id in group]
    count = len({patients[case_id] for case_id in named})
    if len(cases) == 1 and count > 1:
        return dict(patients), (
            f"all {len(named)} cases of {count} patients have the same PatientID in their DICOM headers: it was not"
            " used to tell which cases belong to one patient",
        )
    pairs = [(group[0], other) for group in cases.values() for other in group[1:]]
    joined = group_cases(patients, pairs)
    sentences = [
        f"{_listed(group)} count as one patient: their DICOM headers have the same PatientID"
        for group in cases.values()
        if len({patients[case_id] for case_id in group}) > 1
    ]
    return joined, tuple(sentences)


def _listed(case_ids: list[str]) -> str:
    shown = case_ids if len(case_ids) <= MOST_LISTED else [*case_ids[:MOST_LISTED], f"{len(case_ids)} cases in all"]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
