"""What would be read from a source, found from names and headers alone; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imgmed.errors import ImgMedError
from imgmed.formats import SpatialUnits, read_header
from imgmed.geometry import axis_codes
from imgmed.header_checks import channel_faults, image_faults, label_faults, spacing_faults
from imgmed.label_glance import Glance, labels_at_a_glance
from imgmed.preparation.patients import join_patients
from imgmed.privacy import Redaction
from imgmed.privacy.identities import identities_of_case, identities_of_study
from imgmed.recipe_names import AUTO
from imgmed.recipes import read_study
from imgmed.study import CaseSource, Study, VolumeSource
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["InspectedCase", "Inspection", "inspect_source"]

SCHEMA_VERSION = 1
WITHOUT_PLACE = ("PNG", "JPEG", "TIFF", "npz")  # formats that know no millimetres and no patient


@dataclass(frozen=True)
class InspectedCase:
    """A case as its files' names and headers show it; None where they do not say or cannot be read.

    Args:
        case_id: its name.
        patient: as the layout names it.
        images: files of each image volume, below the study's root.
        label: files of the label.
        shape: voxels along i, j, k.
        spacing_mm: along the same axes; None for pictures.
        orientation: where the axes point, such as "RAS"; None for pictures.
        channels: number of channels, over all image volumes.
        dtype: number type of the voxels.
        category: class in a classification study.
        split: where the source divides its cases.
    """

    case_id: str
    patient: str | None
    images: tuple[str, ...]
    label: str | None
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str | None = None
    channels: int | None = None
    dtype: str | None = None
    category: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Inspection:
    """A study as `prepare` would read it. Patients' names and numbers from DICOM are replaced in every text.

    `left_out` are sentences about labelled cases that the source itself leaves out; `folds` is how many it has.
    """

    name: str
    recipe: str
    reason: str
    task: str
    channels: tuple[str, ...] | None
    labels: dict[str, int] | None
    regions: dict[str, tuple[int, ...]] | None
    patients: int
    cases: tuple[InspectedCase, ...]
    splits: dict[str, int]
    categories: dict[str, int]
    problems: tuple[str, ...]
    left_out: tuple[str, ...]
    folds: int
    unused: tuple[str, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the inspection as plain values under its own names, with `schema_version`."""
        return {"schema_version": SCHEMA_VERSION} | asdict(self)


def inspect_source(
    source: Path | str,
    recipe: str = AUTO,
    *,
    series: str | None = None,
    spatial_units: SpatialUnits = "header",
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Inspection:
    """Find the cases of a source and read the headers of their files; where no labels are declared, a glance at some
    label maps.

    Args:
        source: a folder, or a single .npz file.
        recipe: "auto" or the name of a recipe.
        series: regular expression for the description of DICOM series, see `read_study`.
        spatial_units: what sizes in headers count in, see `read_volume`.
        progress: called with ("inspecting", done, total).
        stop: ends the work where it is made.

    Raises:
        ImgMedError: as `read_study`; what is wrong with single cases is listed in `problems`.
    """
    watcher = Watcher(progress, stop)
    study = read_study(source, recipe, series=series)
    hide = Redaction(list(identities_of_study(study).values()))
    problems = list(study.problems)
    counts: dict[str, int] = {}
    spacings_mm: dict[str, Sequence[float]] = {}
    cases: list[InspectedCase] = []
    sound: list[CaseSource] = []
    watcher.report("inspecting", 0, len(study.sources))
    for done, case_source in enumerate(study.sources, start=1):
        case, faults = _inspect_case(case_source, study, hide, spatial_units)
        cases.append(case)
        problems += faults
        sound += [] if faults else [case_source]
        if case.channels is not None:
            counts[str(case_source.images[0])] = case.channels
        if case.spacing_mm is not None:
            spacings_mm[str(case_source.images[0])] = case.spacing_mm
        watcher.report("inspecting", done, len(study.sources))
    problems += channel_faults(counts) if study.channels is None else []
    problems += spacing_faults(spacings_mm)
    glance = labels_at_a_glance(sound, spatial_units) if study.labels is None else Glance()
    problems += glance.faults
    return _inspection(study, cases, problems, glance.found, hide)


def _inspection(
    study: Study, cases: Sequence[InspectedCase], problems: Sequence[str], glance: str | None, hide: Redaction
) -> Inspection:
    patients, joined = _patients_of(study)
    return Inspection(
        name=hide.apply(study.name),
        recipe=study.recipe,
        reason=hide.apply(study.reason),
        task=study.task,
        channels=study.channels,
        labels=study.labels,
        regions=study.regions,
        patients=len(set(patients.values())),
        cases=tuple(cases),
        splits=dict(Counter(source.split for source in study.sources if source.split is not None)),
        categories=dict(sorted(Counter(source.category for source in study.sources if source.category).items())),
        problems=tuple(hide.apply(problem) for problem in problems),
        left_out=tuple(hide.apply(sentence) for sentence in study.left_out),
        folds=len(study.folds),
        unused=tuple(hide.apply(_relative(path, study.root)) for path in study.unused),
        notes=tuple(hide.apply(note) for note in (*study.notes, *joined, *filter(None, [glance]))),
    )


def _patients_of(study: Study) -> tuple[dict[str, str], tuple[str, ...]]:
    """The patient of each case by layout and headers, as `prepare` joins them, and what is to be said of that."""
    headers = {
        case.case_id: next((one.patient_id for one in identities_of_case(case) if one.patient_id), None)
        for case in study.sources
    }
    return join_patients({case.case_id: case.patient or case.case_id for case in study.sources}, headers)


def _inspect_case(
    source: CaseSource, study: Study, hide: Redaction, spatial_units: SpatialUnits
) -> tuple[InspectedCase, list[str]]:
    shown: dict[str, Any] = {
        "case_id": hide.apply(source.case_id),
        "patient": None if source.patient is None else hide.apply(source.patient),
        "images": tuple(hide.apply(_described(image, study.root)) for image in source.images),
        "label": None if source.label is None else hide.apply(_described(source.label, study.root)),
        "category": source.category,
        "split": source.split,
    }
    try:
        headers = [read_header(image, spatial_units) for image in source.images]
    except ImgMedError as error:
        return InspectedCase(**shown), [str(error)]
    first = headers[0]
    is_placed = first.facts.get("format") not in WITHOUT_PLACE
    case = InspectedCase(
        **shown,
        shape=first.shape,
        spacing_mm=_spacing(first.affine) if is_placed else None,
        orientation=axis_codes(first.affine) if is_placed else None,
        channels=sum(header.channels for header in headers),
        dtype="colours" if first.dtype.names else str(first.dtype),
    )
    return case, [*image_faults(source, headers, study.channels), *label_faults(source, first, spatial_units)]


def _described(source: VolumeSource, root: Path) -> str:
    path = _relative(source.path, root)
    if len(source.files) > 1:
        folder = path.rpartition("/")[0]
        return f"{folder or '.'}/ ({len(source.files)} files)"
    return path if source.entry is None else f"{path}[{source.entry}]"


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _spacing(affine: np.ndarray) -> tuple[float, float, float]:
    i, j, k = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).round(6).tolist()
    return i, j, k
