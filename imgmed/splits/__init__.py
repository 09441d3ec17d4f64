"""Division of a study's cases, and what must not be divided: patients and copies of the same image."""

from imgmed.splits.division import (
    FEWEST_PATIENTS,
    extend_splits,
    fixed_splits,
    folded_splits,
    patients_of,
    read_splits,
    split_cases,
)
from imgmed.splits.leaks import check_no_leak, group_cases
from imgmed.splits.parts import PARTS, Fold, Splits

__all__ = [
    "FEWEST_PATIENTS",
    "PARTS",
    "Fold",
    "Splits",
    "check_no_leak",
    "extend_splits",
    "fixed_splits",
    "folded_splits",
    "group_cases",
    "patients_of",
    "read_splits",
    "split_cases",
]
