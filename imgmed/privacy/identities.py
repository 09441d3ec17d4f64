"""Who the patients of a study are, as DICOM headers and the layout's folders name them: what has to be hidden."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from imgmed.errors import ImgMedError
from imgmed.formats.dicom import PatientIdentity, find_series
from imgmed.recipes.tree import is_dicom
from imgmed.study import CaseSource, Study, VolumeSource

__all__ = ["has_dicom", "identities_of_case", "identities_of_study", "values_to_hide"]


def has_dicom(study: Study) -> bool:
    """Tell whether a case of the study, or a file that a problem may be about, is DICOM."""
    paths = [source.path for case in study.sources for source in _volumes(case)]
    return any(map(is_dicom, paths)) or (bool(study.problems) and any(map(is_dicom, study.unused)))


def identities_of_case(case: CaseSource) -> tuple[PatientIdentity, ...]:
    """Return what the DICOM headers of a case say: images first, then the label; () where there are none."""
    return tuple(identity for source in _volumes(case) for identity in _identities_in(source.path))


def values_to_hide(case: CaseSource, identities: Iterable[PatientIdentity]) -> tuple[str, ...]:
    """Return the names, numbers and dates that identify the patient of a case."""
    return (*((case.patient,) if case.patient else ()), *(value for one in identities for value in _values(one)))


def identities_of_study(study: Study) -> dict[str, tuple[str, ...]]:
    """Return {who: values to hide} of all patients, also of those whose files make no case; {} without DICOM.

    A patient is told by the layout's name, else by the header's number or name. One header is read of every
    volume, and of the files that belong to no case one for each way of naming them in each folder.
    """
    if not has_dicom(study):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for case in study.sources:
        identities = identities_of_case(case)
        who = case.patient or next((one.patient_id or one.name for one in identities), "") or case.case_id
        found[who] = (*found.get(who, ()), *values_to_hide(case, identities))
    for identity in _others(study):
        who = identity.patient_id or identity.name
        found[who] = (*found.get(who, ()), *_values(identity))
    for patient in study.patients:
        found[patient] = (*found.get(patient, ()), patient)
    return {who: tuple(dict.fromkeys(values)) for who, values in found.items()}


def _volumes(case: CaseSource) -> tuple[VolumeSource, ...]:
    return (*case.images, *(() if case.label is None else (case.label,)))


def _others(study: Study) -> Iterator[PatientIdentity]:
    looked_at = set()
    for path in study.unused:
        kind = path.parent, re.sub(r"[\d.]+", "", path.stem)
        if kind not in looked_at and is_dicom(path):
            identities = _identities_in(path)
            looked_at |= {kind} if identities else set()
            yield from identities


def _identities_in(path: Path) -> tuple[PatientIdentity, ...]:
    """What the header of a file says; () if it is no DICOM, or cannot be read."""
    try:
        return tuple(series.identity for series in find_series((path,))) if is_dicom(path) else ()
    except (ImgMedError, OSError):
        return ()


def _values(identity: PatientIdentity) -> tuple[str, ...]:
    return tuple(value for value in (identity.name, identity.patient_id, identity.birth_date) if value)
