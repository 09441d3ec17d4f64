"""Which cases are of one patient, where only their names tell: "p1_visit1" and "p1_visit2"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from imgmed.recipes.names import CONTRASTS, plain_name

__all__ = ["is_visit", "patients_by_name"]

# What follows the patient in a name: when, which part, which side, which contrast
VISITS = (
    *("visit", "visits", "session", "sess", "ses", "timepoint", "tp", "followup", "fup", "fu", "baseline", "bl"),
    *("day", "week", "month", "year", "pre", "post", "preop", "postop", "exam", "v", "t"),
)
PARTS = ("slice", "slc", "frame", "phase", "run", "rep", "echo", "ed", "es", "part", "patch", "tile", "crop")
SIDES = ("left", "right", "l", "r", "od", "os")
WORD = rf"(?:{'|'.join((*VISITS, *PARTS))})[-.]?\d*|{'|'.join((*SIDES, *CONTRASTS))}"
DATE = r"(?:19|20)\d{2}[-.]?(?:0[1-9]|1[0-2])[-.]?(?:0[1-9]|[12]\d|3[01])"
VISIT = re.compile(rf"(?:{'|'.join((*VISITS, *PARTS))})[-_.]?\d*|{DATE}|\d+", re.IGNORECASE)
AFTER = re.compile(rf"(?P<patient>.*?[^_\- ])[_\- ]+(?:{WORD}|{DATE})(?:[_\- ].*)?", re.IGNORECASE)
SUBJECT = re.compile(r"(?:.*[_/])?(?P<patient>sub-[^_/]+)(?:_.*)?")  # BIDS


def is_visit(name: str) -> bool:
    """Tell whether a name says when, or which part, and not what: "visit2", "2020-01-31", "frame01", "3".

    >>> is_visit("day_1"), is_visit("20200131"), is_visit("t1w")
    (True, True, False)
    """
    return VISIT.fullmatch(name) is not None


def patients_by_name(case_ids: Sequence[str]) -> dict[str, str]:
    """Return {case: patient} of the cases whose names tell that they are scans, parts or contrasts of one patient.

    A name is cut before its first word for a visit, a date, a part, a side or a contrast. What is left is a patient
    where several cases share it, unless all do: then it is the name of the study.

    >>> patients_by_name(["p1_visit1", "p1_visit2", "p2_visit1", "p3"])
    {'p1_visit1': 'p1', 'p1_visit2': 'p1'}
    >>> patients_by_name(["sub-01_ses-1_T1w", "sub-02_ses-1_T1w"])
    {'sub-01_ses-1_T1w': 'sub-01', 'sub-02_ses-1_T1w': 'sub-02'}
    >>> patients_by_name(["brain_slice_1", "brain_slice_2"]), patients_by_name(["liver_1", "liver_2"])
    ({}, {})
    """
    subjects = {case_id: match["patient"] for case_id in case_ids if (match := SUBJECT.fullmatch(case_id))}
    if len(subjects) == len(case_ids):
        return subjects
    bases = {case_id: match["patient"] for case_id in case_ids if (match := AFTER.fullmatch(case_id))}
    names = {case_id: base if plain_name(base := bases.get(case_id, "")) else case_id for case_id in case_ids}
    counts = Counter(names.values())
    if len(counts) == 1:
        return {}
    return {case_id: name for case_id, name in names.items() if counts[name] > 1}
