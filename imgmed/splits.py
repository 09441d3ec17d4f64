"""Division of patients into training, validation and test, and into folds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from imgmed.errors import SourceLayoutError, TooFewPatientsError

__all__ = ["FEWEST_PATIENTS", "Fold", "Splits", "patients_of", "split_cases"]

FEWEST_PATIENTS = 3


class Fold(NamedTuple):
    """Case identifiers of one division of the non-test cases: `train, validation = fold`."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


class Splits(BaseModel):
    """Case identifiers of each part, sorted. No patient is in two of train, validation and test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...] = Field(description="Cases that a network learns from.")
    validation: tuple[str, ...] = Field(description="Cases that choose the best network.")
    test: tuple[str, ...] = Field(description="Cases that are only ever predicted.")
    folds: tuple[Fold, ...] = Field(description="Divisions of all cases outside the test part.")

    @field_serializer("folds")
    def _name_parts(self, folds: tuple[Fold, ...]) -> list[dict[str, tuple[str, ...]]]:
        return [fold._asdict() for fold in folds]


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
        found = re.search(pattern, case_id)
        if found is None or not found.group(1):
            raise SourceLayoutError(
                f"patient_pattern {pattern!r} finds no patient in case {case_id!r}; correct it or leave it out"
            )
        patients[case_id] = found.group(1)
    return patients


def split_cases(
    patients: Mapping[str, str], validation_fraction: float, test_fraction: float, folds: int, seed: int
) -> Splits:
    """Divide cases by patient; the result depends on the names and the seed only, not on their order.

    Patients are ordered by the SHA-256 of seed and name. Every part gets at least one patient; with fewer
    patients than `folds` outside the test part there are as many folds as such patients.

    Args:
        patients: {case_id: patient_id}.
        validation_fraction: wanted part of the patients, 0 to 1.
        test_fraction: the same for the test.
        folds: number of folds, at least 2.
        seed: decides the order.

    Raises:
        TooFewPatientsError: fewer than 3 patients.

    >>> splits = split_cases({name: name for name in "abcd"}, 0.1, 0.2, folds=5, seed=0)
    >>> len(splits.train), len(splits.validation), len(splits.test), len(splits.folds)
    (2, 1, 1, 3)
    """
    order = sorted(set(patients.values()), key=lambda patient: (_rank(seed, patient), patient))
    if len(order) < FEWEST_PATIENTS:
        raise TooFewPatientsError(
            f"at least {FEWEST_PATIENTS} patients are needed, one each to train, validate and test;"
            f" received {len(order)} ({', '.join(order)})"
        )
    test_count = min(max(1, round(test_fraction * len(order))), len(order) - 2)
    validation_count = min(max(1, round(validation_fraction * len(order))), len(order) - test_count - 1)
    test, others = order[:test_count], order[test_count:]
    parts = min(folds, len(others))
    held_out = [others[part::parts] for part in range(parts)]
    return Splits(
        train=_cases_of(others[validation_count:], patients),
        validation=_cases_of(others[:validation_count], patients),
        test=_cases_of(test, patients),
        folds=tuple(
            Fold(
                train=_cases_of([patient for patient in others if patient not in part], patients),
                validation=_cases_of(part, patients),
            )
            for part in held_out
        ),
    )


def _rank(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}:{patient}".encode()).digest()


def _cases_of(chosen: Sequence[str], patients: Mapping[str, str]) -> tuple[str, ...]:
    wanted = set(chosen)
    return tuple(sorted(case_id for case_id, patient in patients.items() if patient in wanted))
