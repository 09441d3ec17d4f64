"""What must stay on one side of every division of the cases, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imgmed.errors import LeakError, UnknownCaseError
from imgmed.splits.parts import Splits

__all__ = ["Pairs", "check_no_leak", "check_parts", "group_cases"]

Pairs = Sequence[tuple[str, str]]


def group_cases(patients: Mapping[str, str], duplicates: Pairs = ()) -> dict[str, str]:
    """Return {case_id: group}: what must stay on one side of every division.

    A group is a patient, or several patients that copies of the same image join, directly or through others;
    it is named after the first of its patients in alphabetical order.

    Args:
        patients: {case_id: patient_id}.
        duplicates: pairs of case ids with the same image content.

    Raises:
        UnknownCaseError: a pair names a case that is not there.

    >>> group_cases({"a1": "a", "a2": "a", "b": "b", "c": "c"}, [("a2", "c")])
    {'a1': 'a', 'a2': 'a', 'b': 'b', 'c': 'a'}
    """
    leader = {patient: patient for patient in patients.values()}

    def lead(patient: str) -> str:
        while leader[patient] != patient:
            leader[patient] = patient = leader[leader[patient]]
        return patient

    for first, second in duplicates:
        for case_id in (first, second):
            if case_id not in patients:
                raise UnknownCaseError(f"duplicates name case {case_id!r}, which is not among {len(patients)} cases")
        low, high = sorted((lead(patients[first]), lead(patients[second])))
        leader[high] = low
    return {case_id: lead(patient) for case_id, patient in patients.items()}


def check_no_leak(splits: Splits, patients: Mapping[str, str], duplicates: Pairs = ()) -> None:
    """Check that no patient, and no image content, lies in two parts or on both sides of a fold.

    Args:
        splits: the division; cases that it does not hold are not looked at.
        patients: {case_id: patient_id} of all cases.
        duplicates: pairs of cases with the same image content.

    Raises:
        LeakError: names the cases, their patients and the parts or folds they are in.

    >>> splits = Splits(train=("a1",), validation=("b",), test=("a2",), folds=())
    >>> check_no_leak(splits, {"a1": "a", "a2": "a", "b": "b"})
    Traceback (most recent call last):
    imgmed.errors.LeakError: 1 leak between the parts of the splits; keep each of these together:
      patient a: a1 in train, a2 in test
    """
    groups = group_cases(patients, duplicates)
    test = dict.fromkeys(splits.test, "test")
    places = [splits.part_of]
    for index, fold in enumerate(splits.folds):
        sides = {name: f"fold {index} {side}" for side, names in fold._asdict().items() for name in names}
        places.append(test | sides)
    _raise_torn(places, groups, patients)


def check_parts(parts: Mapping[str, str], patients: Mapping[str, str], duplicates: Pairs = ()) -> None:
    """Do the same for {case_id: part}; raises LeakError.

    >>> check_parts({"a": "train", "b": "test"}, {"a": "a", "b": "b"})
    """
    _raise_torn([parts], group_cases(patients, duplicates), patients)


def _raise_torn(places: Sequence[Mapping[str, str]], groups: Mapping[str, str], patients: Mapping[str, str]) -> None:
    torn: dict[str, str] = {}
    for place in places:
        torn = _torn(place, groups, patients) | torn
    if torn:
        raise LeakError([torn[group] for group in sorted(torn)])


def _torn(places: Mapping[str, str], groups: Mapping[str, str], patients: Mapping[str, str]) -> dict[str, str]:
    """A sentence for each group of which cases lie in several of the {case_id: place}."""
    members: dict[str, list[str]] = {}
    for case_id in sorted(places.keys() & groups.keys()):
        members.setdefault(groups[case_id], []).append(case_id)
    sentences = {}
    for group, cases in members.items():
        if len({places[case_id] for case_id in cases}) == 1:
            continue
        people = {patients[case_id] for case_id in cases}
        if len(people) == 1:
            where = ", ".join(f"{case_id} in {places[case_id]}" for case_id in cases)
            sentences[group] = f"patient {people.pop()}: {where}"
        else:
            where = ", ".join(f"{case_id} (patient {patients[case_id]}) in {places[case_id]}" for case_id in cases)
            sentences[group] = f"same image content: {where}"
    return sentences
