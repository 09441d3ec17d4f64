"""Division of cases into training, validation and test, and into folds: drawn, given, fixed or extended."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Container, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from imgmed.errors import InvalidSplitsError, SourceLayoutError, TooFewPatientsError
from imgmed.splits.given import parse_splits
from imgmed.splits.leaks import Pairs, check_no_leak, check_parts, group_cases
from imgmed.splits.parts import PARTS, Fold, Splits
from imgmed.splits.stratification import distribute

__all__ = [
    "FEWEST_PATIENTS",
    "extend_splits",
    "fixed_splits",
    "folded_splits",
    "patients_of",
    "read_splits",
    "split_cases",
]

FEWEST_PATIENTS = 3
SEAT_ORDER = ("test", "validation", "train")  # in which groups without rare labels take their places
RARE_ORDER = ("train", "test", "validation")  # which part sees a label of fewer than three groups

Place = TypeVar("Place", bound=Hashable)


def patients_of(case_ids: Sequence[str], pattern: str | None) -> dict[str, str]:
    """Return {case_id: patient_id}: group 1 of `pattern` searched in the case id, or the case id itself.

    Raises:
        SourceLayoutError: the pattern is not found in a case id.

    >>> patients_of(["p1_left", "p1_right"], "^(p[0-9]+)_")
    {'p1_left': 'p1', 'p1_right': 'p1'}
    """
    if pattern is None:
        return {case_id: case_id for case_id in case_ids}
    patients = {}
    for case_id in case_ids:
        match = re.search(pattern, case_id)
        if match is None or not match.group(1):
            raise SourceLayoutError(
                f"patient_pattern {pattern!r} finds no patient in case {case_id!r}; correct it or leave it out"
            )
        patients[case_id] = match.group(1)
    return patients


def split_cases(
    patients: Mapping[str, str],
    validation_fraction: float,
    test_fraction: float,
    folds: int,
    seed: int,
    *,
    strata: Mapping[str, frozenset[int]] | None = None,
    duplicates: Pairs = (),
) -> Splits:
    """Divide cases by patient; the result depends on names, labels and the seed, not on any order.

    Groups (see `group_cases`) are ordered by the SHA-256 of seed and name, and labels that not all of them have
    are spread over the parts and over the folds (see `imgmed.splits.stratification`). Every part gets at least one
    group, unless its fraction is 0; fewer than 3 groups are all trained on. With fewer groups than `folds` outside the
    test part there are as many folds as such groups, and none for a single one.

    Args:
        patients: {case_id: patient_id}.
        validation_fraction: wanted part of the groups, 0 to 1; 0: no validation part.
        test_fraction: the same for the test.
        folds: number of folds, at least 2.
        seed: decides the order.
        strata: {case_id: label values found in it}; a case that is missing has none.
        duplicates: pairs of cases with the same image content; they stay together.

    >>> splits = split_cases({name: name for name in "abcd"}, 0.1, 0.2, folds=5, seed=0)
    >>> len(splits.train), len(splits.validation), len(splits.test), len(splits.folds)
    (2, 1, 1, 3)
    """
    return fixed_splits(
        {}, patients, validation_fraction, test_fraction, folds, seed, strata=strata, duplicates=duplicates
    )


def fixed_splits(
    parts: Mapping[str, str],
    patients: Mapping[str, str],
    validation_fraction: float,
    test_fraction: float,
    folds: int,
    seed: int,
    *,
    strata: Mapping[str, frozenset[int]] | None = None,
    duplicates: Pairs = (),
) -> Splits:
    """Divide cases of which the source itself assigns some or all; the folds are drawn over all but the test.

    Cases without a part are distributed as `extend_splits` does. A validation or test part that would stay empty is
    drawn out of the training part, unless its fraction is 0 or there are fewer than 3 groups.

    Args:
        parts: {case_id: "train", "validation" or "test"}, as the source divides them.
        patients: {case_id: patient_id}, all cases; the other arguments are those of `split_cases`.

    Raises:
        InvalidSplitsError: a part of another name.
        LeakError: a patient, or copies of one image, assigned to two parts.
        TooFewPatientsError: nothing to train on would be left.

    >>> splits = fixed_splits({"a": "test", "b": "train", "c": "train"}, {n: n for n in "abc"}, 0.1, 0.2, 2, 0)
    >>> splits.test, len(splits.train), len(splits.validation)
    (('a',), 1, 1)
    """
    strange = sorted(set(parts.values()) - set(PARTS))
    if strange:
        raise InvalidSplitsError(f"a case belongs to {', '.join(PARTS)}; received {', '.join(map(repr, strange))}")
    draw = _Draw(patients, duplicates, seed, strata)
    given = {case_id: part for case_id, part in parts.items() if case_id in patients}
    check_parts(given, patients, duplicates)
    placed = draw.parts(draw.settled(given), validation_fraction, test_fraction)
    placed = draw.without_empty_parts(placed, validation_fraction, test_fraction)
    count = draw.fold_count(placed, folds)
    return draw.splits(placed, draw.folds(placed, {}, count), count)


def extend_splits(
    existing: Splits,
    patients: Mapping[str, str],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    *,
    folds: int = 0,
    strata: Mapping[str, frozenset[int]] | None = None,
    duplicates: Pairs = (),
) -> Splits:
    """Keep splits for a study whose cases have changed.

    Old cases stay in their part and fold, and new cases of an old patient (or copies of an old image) join it;
    cases that are gone drop out. New groups go where the wanted fractions, and then equal folds, are missed
    most, stratified as in `split_cases`; the number of folds is kept.

    Args:
        existing: the splits so far.
        patients: {case_id: patient_id} of all cases there are now; the other arguments are those of `split_cases`.
        folds: number of folds where there were none, as there was one patient alone.

    Raises:
        LeakError: a group of cases lies in two parts, or two folds, of the existing splits.
        TooFewPatientsError: a part or a fold that held cases would be left with none.

    >>> old = split_cases({name: name for name in "abcd"}, 0.1, 0.2, folds=2, seed=0)
    >>> new = extend_splits(old, {name: name for name in "abcdefghij"}, 0.1, 0.2, seed=0)
    >>> set(old.test) <= set(new.test), len(new.test), len(new.validation), len(new.train)
    (True, 2, 1, 7)
    """
    kept = _restricted(existing, patients)
    check_no_leak(kept, patients, duplicates)
    draw = _Draw(patients, duplicates, seed, strata)
    placed = draw.parts(draw.settled(kept.part_of), validation_fraction, test_fraction)
    count = len(kept.folds) or draw.fold_count(placed, folds)
    extended = draw.splits(placed, draw.folds(placed, draw.settled(kept.fold_of), count), count)
    _check_none_emptied(existing, extended)
    return extended


def folded_splits(
    given: Sequence[tuple[Sequence[str], Sequence[str]]],
    test: Container[str],
    patients: Mapping[str, str],
    folds: int,
    seed: int,
    *,
    strata: Mapping[str, frozenset[int]] | None = None,
    duplicates: Pairs = (),
) -> Splits:
    """Divide cases by the folds of the source itself: the first one gives the training and validation parts.

    Args:
        given: (training, validation) cases of each fold; a lone one divides the cases, and folds are drawn.
        test: cases that the source keeps for the test.
        patients: {case_id: patient_id}, all cases; those that no fold names are left aside. The other arguments are
            those of `split_cases`.

    Raises:
        LeakError: a patient, or copies of one image, on both sides of a fold.
        TooFewPatientsError: a fold that trains on no case, or holds none out.

    >>> splits = folded_splits([("a", "b"), ("b", "a")], "c", {name: name for name in "abc"}, 5, 0)
    >>> splits.train, splits.validation, splits.test, len(splits.folds)
    (('a',), ('b',), ('c',), 2)
    """
    sides = [tuple(tuple(sorted(case for case in side if case in patients)) for side in fold) for fold in given]
    for number, fold in enumerate(sides):
        if not all(fold):
            raise TooFewPatientsError(f"fold {number} of the source is left without cases to train on or to hold out")
    train, validation = sides[0]
    kept = tuple(sorted(case for case in patients if case in test))
    splits = Splits(train=train, validation=validation, test=kept, folds=tuple(Fold(*fold) for fold in sides))
    check_no_leak(splits, patients, duplicates)
    if len(sides) > 1:
        return splits
    named = {case: patients[case] for case in (*train, *validation, *kept)}
    draw = _Draw(named, [pair for pair in duplicates if set(pair) <= named.keys()], seed, strata)
    placed = draw.settled(splits.part_of)
    count = draw.fold_count(placed, folds)
    return draw.splits(placed, draw.folds(placed, {}, count), count)


def read_splits(
    path: Path | str,
    patients: Mapping[str, str],
    folds: int,
    seed: int,
    *,
    strata: Mapping[str, frozenset[int]] | None = None,
    duplicates: Pairs = (),
) -> Splits:
    """Read splits from a JSON file: {"train": [...], "validation": [...], "test": [...]}, optionally "folds".

    "folds" is [{"train": [...], "validation": [...]}, ...], each fold holding all cases outside the test; without
    it they are drawn as in `split_cases`. The splits.json of a prepared dataset is such a file. "test" may be empty.

    Args:
        path: the file.
        patients: {case_id: patient_id} of the study; the other arguments are those of `split_cases`.

    Raises:
        SourceNotFoundError: no such file.
        InvalidSplitsError: not such JSON, or cases that are unknown, missing or named twice, all listed.
        LeakError: a patient, or copies of one image, in two parts or on both sides of a fold.
    """
    content = parse_splits(Path(path), list(patients))
    given = Splits.model_validate({"folds": (), **content})
    check_no_leak(given, patients, duplicates)
    draw = _Draw(patients, duplicates, seed, strata)
    placed = draw.settled(given.part_of)
    count = len(given.folds) or draw.fold_count(placed, folds)
    return draw.splits(placed, draw.folds(placed, draw.settled(given.fold_of), count), count)


class _Draw:
    """The groups of a study in the order that the seed gives them, ready to be placed."""

    def __init__(
        self,
        patients: Mapping[str, str],
        duplicates: Pairs,
        seed: int,
        strata: Mapping[str, frozenset[int]] | None,
    ) -> None:
        self.patients = len(set(patients.values()))
        self.groups = group_cases(patients, duplicates)
        self.order = sorted(set(self.groups.values()), key=lambda group: (_rank(seed, group), group))
        self.labels: dict[str, frozenset[int]] = dict.fromkeys(self.order, frozenset())
        for case_id, found in (strata or {}).items():
            if case_id in self.groups:
                self.labels[self.groups[case_id]] |= found

    def settled(self, places: Mapping[str, Place]) -> dict[str, Place]:
        """{group: place} of {case_id: place}."""
        return {self.groups[case_id]: place for case_id, place in places.items()}

    def sizes(self, validation_fraction: float, test_fraction: float) -> dict[str, int]:
        """{part: wanted number of groups}, at least one where its fraction is not 0; few groups are all trained on."""
        count = len(self.order)
        if count < FEWEST_PATIENTS:
            return {"test": 0, "validation": 0, "train": count}
        fewest = {"test": int(test_fraction > 0), "validation": int(validation_fraction > 0)}
        test = min(max(fewest["test"], round(test_fraction * count)), count - 1 - fewest["validation"])
        validation = min(max(fewest["validation"], round(validation_fraction * count)), count - test - 1)
        return {"test": test, "validation": validation, "train": count - test - validation}

    def parts(self, settled: Mapping[str, str], validation_fraction: float, test_fraction: float) -> dict[str, str]:
        """{group: part} of all groups; those of `settled` keep theirs."""
        sizes = self.sizes(validation_fraction, test_fraction)
        new = [group for group in self.order if group not in settled]
        given = _missed_most(sizes, Counter(settled.values()), len(new))
        seats = [part for part in SEAT_ORDER for _ in range(given.count(part))]
        return {**settled, **distribute(new, self.labels, seats, settled, RARE_ORDER)}

    def without_empty_parts(
        self, parts: Mapping[str, str], validation_fraction: float, test_fraction: float
    ) -> dict[str, str]:
        """The same, where a validation or test part without groups is drawn out of the training part."""
        sizes = self.sizes(validation_fraction, test_fraction)
        empty = [part for part in SEAT_ORDER if part not in parts.values() and sizes[part]]
        train = [group for group in self.order if parts[group] == "train"]
        if train and not empty:
            return dict(parts)
        if len(train) <= len(empty):
            none_in = f" and none in {', '.join(empty)}" if empty else ""
            raise TooFewPatientsError(
                f"the given parts leave {len(train)} patients to train on{none_in}; assign at least one to each part or"
                " none at all, or set the fraction of a part that you can do without to 0"
            )
        seats = [part for part in empty for _ in range(sizes[part])][: len(train) - 1]
        seats += ["train"] * (len(train) - len(seats))
        settled = {group: part for group, part in parts.items() if part != "train"}
        return {**settled, **distribute(train, self.labels, seats, settled, RARE_ORDER)}

    def fold_count(self, parts: Mapping[str, str], most: int) -> int:
        """The wanted number of folds, or fewer where there are not as many groups outside the test part."""
        others = sum(part != "test" for part in parts.values())
        return min(most, others) if others > 1 else 0

    def folds(self, parts: Mapping[str, str], settled: Mapping[str, int], count: int) -> dict[str, int]:
        """{group: index of the fold that holds it out} of all groups outside the test part."""
        if count == 0:
            return {}
        others = [group for group in self.order if parts[group] != "test"]
        new = [group for group in others if group not in settled]
        equal = dict.fromkeys(range(count), len(others))  # no fold reaches it, so the smallest misses it most
        seats = _missed_most(equal, Counter(settled.values()), len(new))
        return {**settled, **distribute(new, self.labels, seats, settled, range(count))}

    def splits(self, parts: Mapping[str, str], folds: Mapping[str, int], count: int) -> Splits:
        """Return the cases of the placed groups."""
        others = {group for group, part in parts.items() if part != "test"}
        held_out = [{group for group in others if folds[group] == index} for index in range(count)]
        train, validation, test = ({group for group in parts if parts[group] == part} for part in PARTS)
        return Splits(
            train=self.cases(train),
            validation=self.cases(validation),
            test=self.cases(test),
            folds=tuple(Fold(self.cases(others - held), self.cases(held)) for held in held_out),
        )

    def cases(self, chosen: Container[str]) -> tuple[str, ...]:
        """Return the cases of these groups, sorted."""
        return tuple(sorted(case_id for case_id, group in self.groups.items() if group in chosen))


def _rank(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()


def _missed_most(wanted: Mapping[Place, int], present: Counter[Place], count: int) -> list[Place]:
    """The places that `count` newcomers take one by one, each where most are missing; the first of equals."""
    missing = Counter(wanted)
    missing.subtract(present)
    taken = []
    for _ in range(count):
        place = max(wanted, key=lambda place: missing[place])
        missing[place] -= 1
        taken.append(place)
    return taken


def _restricted(splits: Splits, names: Container[str]) -> Splits:
    """Return the splits without the cases that are not among `names`."""

    def kept(cases: Sequence[str]) -> tuple[str, ...]:
        return tuple(case_id for case_id in cases if case_id in names)

    return Splits(
        train=kept(splits.train),
        validation=kept(splits.validation),
        test=kept(splits.test),
        folds=tuple(Fold(kept(fold.train), kept(fold.validation)) for fold in splits.folds),
    )


def _sides(splits: Splits) -> dict[str, tuple[str, ...]]:
    """{how a message calls it: its cases} of every part and fold."""
    parts = {f"the {part} part": getattr(splits, part) for part in PARTS}
    return parts | {f"fold {index}": fold.validation for index, fold in enumerate(splits.folds)}


def _check_none_emptied(before: Splits, after: Splits) -> None:
    emptied = [name for name, cases in _sides(before).items() if cases and not _sides(after)[name]]
    if emptied:
        raise TooFewPatientsError(
            f"the kept splits would leave no case in {', '.join(emptied)}, as all its cases are gone;"
            " bring them back, or draw new splits"
        )
