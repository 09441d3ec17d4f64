"""Which cases belong to one patient: by the layout of the source, the DICOM headers, and the names of cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from imgmed.recipes.patient_names import patients_by_name
from imgmed.splits.leaks import group_cases

__all__ = ["join_patients"]

MOST_LISTED = 5


def join_patients(
    patients: Mapping[str, str], headers: Mapping[str, str | None]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Join patients of the layout whose cases have the same PatientID in their DICOM headers, or names that tell it.

    Two visits in two folders are one patient, whatever the folders are called. An identifier that all cases share
    although the layout tells several patients apart was put there to hide them: it is not used. Names are looked at
    where neither layout nor header names a patient.

    Args:
        patients: {case_id: patient} as the layout names them; the case itself where it names none.
        headers: {case_id: identifier in the header}, None where there is none.

    Returns:
        {case_id: patient}, and sentences about what was joined or not used.

    >>> join_patients({"a": "a", "b": "b", "c": "c"}, {"a": "1", "b": "1", "c": "2"})[0]
    {'a': 'a', 'b': 'a', 'c': 'c'}
    >>> join_patients({"a": "a", "b": "b"}, {"a": "ANON", "b": "ANON"})[0]
    {'a': 'a', 'b': 'b'}
    >>> join_patients({"p1_visit1": "p1_visit1", "p1_visit2": "p1_visit2", "p2": "p2"}, {})[0]
    {'p1_visit1': 'p1', 'p1_visit2': 'p1', 'p2': 'p2'}
    """
    alone = sorted(case for case, patient in patients.items() if patient == case and headers.get(case) is None)
    told = patients_by_name(alone)
    patients = {**patients, **told}
    sentences = _named_alike(told)
    cases: dict[str, list[str]] = {}
    for case_id in sorted(patients):
        number = headers.get(case_id)
        if number is not None:
            cases.setdefault(number, []).append(case_id)
    named = [case_id for group in cases.values() for case_id in group]
    count = len({patients[case_id] for case_id in named})
    if len(cases) == 1 and count > 1:
        return patients, (
            *sentences,
            f"all {len(named)} cases of {count} patients have the same PatientID in their DICOM headers: it was not"
            " used to tell which cases belong to one patient",
        )
    pairs = [(group[0], other) for group in cases.values() for other in group[1:]]
    joined = group_cases(patients, pairs)
    sentences += [
        f"{_listed(group)} count as one patient: their DICOM headers have the same PatientID"
        for group in cases.values()
        if len({patients[case_id] for case_id in group}) > 1
    ]
    return joined, tuple(sentences)


def _named_alike(told: Mapping[str, str]) -> list[str]:
    """A sentence about cases whose names alone tell that they are of one patient."""
    counts = Counter(told.values())
    several = [patient for patient in counts if counts[patient] > 1]
    if not several:
        return []
    example = [case for case, patient in told.items() if patient == several[0]]
    return [
        f"{sum(counts[patient] for patient in several)} cases count as {len(several)} patients by their names, such as"
        f" {_listed(example)} as {several[0]}; preparation.patient_pattern tells patients otherwise"
    ]


def _listed(case_ids: list[str]) -> str:
    shown = case_ids if len(case_ids) <= MOST_LISTED else [*case_ids[:MOST_LISTED], f"{len(case_ids)} cases in all"]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
