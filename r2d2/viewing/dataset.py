"""What a page tells of a prepared dataset: its cases, labels, splits, and why it was prepared so."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from imgmed import ImgMedError, PreparedDataset, read_fingerprint
from imgmed.dataset import CASES, DATASET, SPLITS
from imgmed.fingerprint import Fingerprint
from imgmed.splits import PARTS
from r2d2.reports.palette import colours_of
from r2d2_base.files import read_json

__all__ = [
    "CaseRow",
    "DatasetView",
    "Glance",
    "LabelRow",
    "PartRow",
    "glance_at",
    "is_dataset",
    "open_dataset",
    "view_dataset",
]

REPORT = "dataset.html"


@dataclass(frozen=True)
class CaseRow:
    """A case of a dataset.

    Attributes:
        case_id: its name.
        part: train, validation or test; empty: in none.
        size: voxels along the file's axes.
        spacing_mm: along the same axes; None: a picture, without millimetres.
        labels: that it has.
        odd: a sentence for each thing in which it lies far from the others.
        is_copy: whether it is an augmented copy of another.
    """

    case_id: str
    part: str
    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    labels: tuple[str, ...]
    odd: tuple[str, ...]
    is_copy: bool


@dataclass(frozen=True)
class LabelRow:
    """A label of a dataset: its value, its colour in pictures, and how many cases have it."""

    name: str
    value: int
    colour: str
    cases: int


@dataclass(frozen=True)
class PartRow:
    """A part of the split: its patients, cases and slices."""

    name: str
    patients: int
    cases: int
    slices: int


@dataclass(frozen=True)
class DatasetView:
    """What is told of a dataset.

    Attributes:
        name: of the study.
        task: segmentation or classification.
        layout: of the source.
        channels: their names.
        labels: without the background.
        parts: of the split.
        folds: how many there are.
        cases: all of them, the odd ones first.
        choices: name, value and reason of what was chosen in preparing.
        warnings: what was noticed and did not stop the preparation.
        skipped: cases left out, each with its reason.
        is_placed: whether cases have millimetres.
        report: the HTML report; None: there is none.
    """

    name: str
    task: str
    layout: str
    channels: tuple[str, ...]
    labels: tuple[LabelRow, ...]
    parts: tuple[PartRow, ...]
    folds: int
    cases: tuple[CaseRow, ...]
    choices: tuple[tuple[str, str, str], ...]
    warnings: tuple[str, ...]
    skipped: tuple[str, ...]
    is_placed: bool
    report: Path | None


@dataclass(frozen=True)
class Glance:
    """A dataset in a list of them.

    Attributes:
        name: of the study.
        cases: how many are divided into train, validation and test.
        labels: without the background.
        prepared_at: seconds since 1970.
    """

    name: str
    cases: int
    labels: tuple[str, ...]
    prepared_at: float


def glance_at(folder: Path | str) -> Glance | None:
    """Look at a prepared dataset without its cases; None: it cannot be read."""
    try:
        states = [os.stat(f"{folder}/{name}") for name in (DATASET, SPLITS)]  # noqa: PTH116 - of hundreds
    except OSError:
        return None
    return _glanced(Path(folder), tuple((state.st_mtime, state.st_size) for state in states))


@lru_cache(maxsize=1024)
def _glanced(folder: Path, stamp: tuple[tuple[float, int], ...]) -> Glance | None:
    try:
        head, splits = read_json(folder / DATASET), read_json(folder / SPLITS)
        labels = sorted((value, name) for name, value in head["labels"].items() if value != 0)
        cases = sum(len(splits[part]) for part in PARTS)
        return Glance(str(head["name"]), cases, tuple(str(name) for _, name in labels), stamp[0][0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def is_dataset(folder: Path) -> bool:
    """Tell whether a folder holds a prepared dataset, by its files' names."""
    return all((folder / name).is_file() for name in (DATASET, CASES, SPLITS))


def open_dataset(folder: Path) -> PreparedDataset:
    """Open a prepared dataset; one that has not changed is not read again.

    Raises:
        ImgMedError: it is none, or damaged, or of another version.
    """
    if not is_dataset(folder):
        return PreparedDataset.read(folder)  # says what is missing
    states = [(folder / name).stat() for name in (DATASET, CASES, SPLITS)]
    return _opened(folder, tuple((state.st_mtime_ns, state.st_size) for state in states))


@lru_cache(maxsize=16)
def _opened(folder: Path, stamp: tuple) -> PreparedDataset:
    return PreparedDataset.read(folder)


def view_dataset(dataset: PreparedDataset) -> DatasetView:
    """Gather what is told of a dataset; only its small files are read."""
    description = dataset.description
    odd = _odd(dataset)
    foreground = {name: value for name, value in dataset.labels.items() if value != 0}
    colours = colours_of(foreground)
    having = Counter(name for case in dataset.cases.values() for name, count in case.label_counts.items() if count)
    part_of = dataset.splits.part_of
    rows = [
        CaseRow(
            case_id=case_id,
            part=part_of.get(case_id, ""),
            size=case.shape,
            spacing_mm=None if case.is_picture else case.spacing_mm,
            labels=tuple(name for name in foreground if case.label_counts.get(name)),
            odd=odd.get(case_id, ()),
            is_copy=case.augmented_from is not None,
        )
        for case_id, case in dataset.cases.items()
    ]
    report = dataset.folder / REPORT
    return DatasetView(
        name=dataset.name,
        task=description.task,
        layout=description.recipe,
        channels=dataset.channels,
        labels=tuple(LabelRow(name, value, colours[name], having[name]) for name, value in foreground.items()),
        parts=tuple(_part(dataset, part) for part in PARTS),
        folds=len(dataset.splits.folds),
        cases=tuple(sorted(rows, key=lambda row: -len(row.odd))),
        choices=tuple(_choices(dataset)),
        warnings=description.warnings,
        skipped=description.skipped,
        is_placed=dataset.words.is_placed,
        report=report if report.is_file() else None,
    )


def _part(dataset: PreparedDataset, part: str) -> PartRow:
    cases = [dataset.case(case_id) for case_id in getattr(dataset.splits, part)]
    patients = {case.patient_id for case in cases}
    return PartRow(part, len(patients), len(cases), sum(case.grid.slices for case in cases))


def _odd(dataset: PreparedDataset) -> dict[str, tuple[str, ...]]:
    try:
        fingerprint: Fingerprint = read_fingerprint(dataset.folder)
    except ImgMedError:
        return {}
    return {
        case_id: tuple(oddity.sentence for oddity in oddities) for case_id, oddities in fingerprint.odd_cases.items()
    }


def _choices(dataset: PreparedDataset) -> list[tuple[str, str, str]]:
    """Name, value and reason of each choice."""
    steps, description = dataset.scan_preparation, dataset.description
    values = {
        "slice_axis": f"{steps.slice_axis} ({dataset.words.axes[steps.slice_axis]})",
        "slice_size": " x ".join(map(str, steps.slice_size)) + " pixels",
        "normalisation": description.normalisation,
        "kind": description.settings.kind,
        "operations": ", ".join(step.op for step in steps.operations),
        "clipping": "",
        "spacing_mm": "",
        "crop": "",
    }
    for step in steps.operations:
        if step.op == "resample" and step.spacing_mm is not None:
            values["spacing_mm"] = " x ".join(f"{size:.4g}" for size in step.spacing_mm if size is not None) + " mm"
        if step.op == "crop_to_content":
            values["crop"] = "what is not 0" if step.above is None else f"above {step.above:g}"
        if step.op == "clip" and step.percentiles is not None:
            values["clipping"] = "{:g} to {:g} %".format(*step.percentiles)
        elif step.op == "clip" and step.bounds is not None:
            values["clipping"] = ", ".join(f"{low:.4g} to {high:.4g}" for low, high in step.bounds)
    return [(name, values.get(name, ""), reason) for name, reason in description.reasons.items()]
