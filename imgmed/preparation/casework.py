"""Second pass over a study: every case becomes arrays, and what was done is kept in a journal until the end."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from imgmed.dataset import Case, case_files, write_arrays, write_reference
from imgmed.intensity import IntensityStatistics
from imgmed.labels import count_labels, label_dtype, without_ignored
from imgmed.preparation.labelling import Labelling
from imgmed.preparation.reading import ReadingRules, read_case_image, read_case_label
from imgmed.preparation.survey import SurveyedCase, SurveyRecord
from imgmed.scan import ScanPreparation, prepare_case
from imgmed.selection import SliceSelection, select_slices
from imgmed.slices import SliceGrid
from imgmed.volume import Volume
from r2d2_base.files import read_json, write_bytes
from r2d2_base.processes import ProcessPool

__all__ = ["JOURNAL", "CaseRules", "cropped_labels", "labelled_slices", "write_cases", "write_entry"]

JOURNAL = "journal"


@dataclass(frozen=True)
class CaseRules:
    """What is done to every case alike."""

    reading: ReadingRules
    preparation: ScanPreparation
    labelling: Labelling
    selection: SliceSelection
    seed: int

    @property
    def digest(self) -> str:
        """Tells arrays made by these rules from others."""
        parts = (
            self.reading.model_dump_json(),
            self.preparation.model_dump_json(exclude={"slice_size"}),
            sorted(self.labelling.labels.items()),
            sorted(self.labelling.segments.items()),
            self.selection.model_dump_json(),
            self.seed,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()


class Entry(BaseModel):
    """A line of the journal: a case, and what its arrays were made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    case: Case


@dataclass(frozen=True)
class _Task:
    surveyed: SurveyedCase
    rules: CaseRules
    folder: Path


def write_cases(surveyed: Sequence[SurveyedCase], rules: CaseRules, folder: Path, pool: ProcessPool) -> list[Case]:
    """Write arrays and reference label map of every case into an unfinished dataset; those that fit are taken over.

    Args:
        surveyed: the cases.
        rules: what is done to them.
        folder: the unfinished dataset.
        pool: prepares the cases; its watcher is told of ("preparing", done, total).
    """
    tasks = [_Task(case, rules, folder) for case in surveyed]
    return list(pool.map_in_order(_case_of, tasks, stage="preparing"))


def write_entry(folder: Path, case: Case, rules_digest: str) -> None:
    """Note in the journal that the arrays of `case` lie in `folder`."""
    (folder / JOURNAL).mkdir(exist_ok=True)
    entry = Entry(digest=_digest(rules_digest, case), case=case)
    write_bytes(folder / JOURNAL / f"{case.case_id}.json", entry.model_dump_json().encode())


def _digest(rules_digest: str, case: Case | SurveyRecord) -> str:
    content = (rules_digest, case.patient_id, sorted(case.sha256.items()), case.images, case.label, case.category)
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _case_of(task: _Task) -> Case:
    """Take over the arrays of an earlier run, or make them."""
    record, folder = task.surveyed.record, task.folder
    try:
        entry = Entry.model_validate(read_json(folder / JOURNAL / f"{record.case_id}.json"))
        is_complete = all(path.is_file() for path in case_files(folder, record.case_id, record.label is not None))
        if is_complete and entry.digest == _digest(task.rules.digest, record):
            return entry.case
    except (OSError, ValueError, ValidationError):
        pass  # no entry, or a damaged one: the case is made again
    case = _new_case(task)
    write_entry(folder, case, task.rules.digest)
    return case


def _new_case(task: _Task) -> Case:
    record, rules = task.surveyed.record, task.rules
    source = task.surveyed.source
    image = read_case_image(source, rules.reading)
    label_map = None
    if source.label is not None:
        numbered = read_case_label(source.label, image, rules.reading).numbered(rules.labelling.segments)
        dtype = label_dtype([*rules.labelling.labels.values(), rules.reading.ignore_label or 0])
        label_map = Volume(numbered.astype(dtype, copy=False), image.affine, source.label.path)
        write_reference(task.folder, record.case_id, label_map)
    scan = prepare_case(image, label_map, rules.preparation)
    write_arrays(task.folder, record.case_id, scan.image, scan.label)
    slices = len(scan.image)
    labelled = None if scan.label is None else without_ignored(scan.label, rules.reading.ignore_label)
    chosen = select_slices(slices if labelled is None else labelled, rules.selection, rules.seed, record.case_id)
    return Case(
        case_id=record.case_id,
        patient_id=record.patient_id,
        images=record.images,
        label=record.label,
        sha256=record.sha256,
        grid=scan.grid,
        spacing_mm=image.spacing_mm,
        slice_range=labelled_slices(labelled),
        label_counts=_named_counts(label_map, rules.labelling),
        labels_cropped=0 if label_map is None else _cropped(label_map, scan.grid, rules.reading.ignore_label),
        clip_bounds=scan.bounds,
        intensity=IntensityStatistics.of(scan.image),
        category=record.category,
        training_slices=None if len(chosen) == slices else tuple(chosen.tolist()),
    )


def labelled_slices(label_map: np.ndarray | None) -> tuple[int, int]:
    """Return the first slice of (slices, height, width) with a label, and the last plus one; (0, 0): none."""
    if label_map is None:
        return 0, 0
    labelled = np.flatnonzero(label_map.any(axis=(1, 2)))
    return (int(labelled[0]), int(labelled[-1]) + 1) if len(labelled) else (0, 0)


def cropped_labels(cases: Sequence[Case]) -> tuple[str, ...]:
    """Return a sentence on cases of which labelled voxels were cropped away, if there are any."""
    found = sorted((case for case in cases if case.labels_cropped), key=lambda case: -case.labels_cropped)
    if not found:
        return ()
    worst = found[0]
    return (
        f"{len(found)} of {len(cases)} cases have labels where the scan was cropped (most: {worst.labels_cropped:,}"
        f" voxels of {worst.case_id}): they are not learned, and count as missed; preparation.operations can crop"
        " otherwise",
    )


def _cropped(label_map: Volume, grid: SliceGrid, ignore_label: int | None) -> int:
    """Count the labelled voxels (i, j, k) that the prepared stack does not cover."""
    if all(part == slice(0, size) for part, size in zip(grid.kept, grid.original_stack_shape, strict=True)):
        return 0
    labelled = without_ignored(label_map.array, ignore_label)
    return int(np.count_nonzero(labelled)) - int(np.count_nonzero(grid.to_stack(labelled)[grid.kept]))


def _named_counts(label_map: Volume | None, labelling: Labelling) -> dict[str, int]:
    if label_map is None:
        return {}
    counts = count_labels(label_map.array)
    return {name: counts.get(value, 0) for name, value in labelling.labels.items()}
