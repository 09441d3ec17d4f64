"""First pass over a study: every case is read, checked and measured, and what was found is kept on disk.

A record is taken up again by a later run if the case's files still have their sizes and dates and the rules of
reading are the same; so an interrupted survey goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imgmed.dataset import SourceFiles
from imgmed.errors import ImgMedError
from imgmed.fingerprint.measures import CaseMeasures, labelled_box, measure_case
from imgmed.formats import is_picture, read_header
from imgmed.labels import check_declared, count_labels, labels_from_values, number_segments, without_ignored
from imgmed.npy import write_npy
from imgmed.preparation.intake import Intake
from imgmed.preparation.reading import CaseLabel, ReadingRules, read_case_image, read_case_label
from imgmed.privacy import Pseudonyms, Redaction
from imgmed.privacy.identities import identities_of_case, values_to_hide
from imgmed.slices import Affine
from imgmed.splits.duplicates import Signature, signature_of
from imgmed.study import CaseSource, VolumeSource
from imgmed.volume import Volume
from r2d2_base.files import read_json, sha256_of, write_bytes
from r2d2_base.processes import ProcessPool

__all__ = ["SURVEY", "SurveyRecord", "SurveyedCase", "is_surveyed", "name_problems", "survey_study"]

SURVEY = "survey"
RECORD_VERSION = 3
FOREGROUND_SAMPLE = 10_000  # labelled voxels per case from which dataset-wide percentiles are taken


class SurveyRecord(BaseModel):
    """What the first pass keeps of a case; nothing in it names the patient where names are hidden."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stamp: str = Field(description="Digest of the rules, and of the files' names, sizes and dates.")
    case_id: str
    patient_id: str
    header_patient: str | None = Field(description="PatientID of the DICOM header, hidden like patient_id; null: none.")
    images: tuple[SourceFiles, ...]
    label: SourceFiles | None
    category: str | None
    sha256: dict[str, str]
    shape: tuple[int, int, int]
    affine: Affine
    channels: int
    source_channels: int = Field(description="Channels of the source, of which `channels` are kept.")
    lowest: tuple[float, ...] = Field(description="Smallest intensity of each channel.")
    label_counts: dict[int, int] = Field(description="Voxels of each value; empty where masks are named.")
    combinations: tuple[tuple[tuple[str, ...], int], ...] = Field(
        description="Names of masks that share voxels, with these voxels; () where the source holds integers."
    )
    measures: CaseMeasures
    signature: Signature

    @property
    def image_content(self) -> tuple[str | None, ...]:
        """What tells the image's bytes: digests of its files and the entries in them."""
        parts = [(*(self.sha256[path] for path in image.files), image.entry) for image in self.images]
        return tuple(part for image in parts for part in image)


@dataclass(frozen=True, eq=False)
class SurveyedCase:
    """A case with its record; `foreground` is read when asked for."""

    source: CaseSource
    record: SurveyRecord
    path: Path

    @property
    def case_id(self) -> str:
        """Name of the case in the dataset."""
        return self.record.case_id

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        return self.record.shape

    @property
    def affine(self) -> np.ndarray:
        """Voxel index -> RAS millimetres, (4, 4)."""
        return np.array(self.record.affine)

    @property
    def is_picture(self) -> bool:
        """Whether the images are pictures: without a size in millimetres and a place in a patient."""
        return all(is_picture(image.path) for image in self.source.images)

    @property
    def placeholder(self) -> Volume:
        """A volume of the case's shape and place that takes no memory."""
        return Volume(np.broadcast_to(np.float32(0), self.shape), self.affine, self.source.images[0].path)

    @property
    def channels(self) -> int:
        """Number of channels kept."""
        return self.record.channels

    @property
    def lowest(self) -> tuple[float, ...]:
        """Smallest intensity of each channel."""
        return self.record.lowest

    @property
    def foreground(self) -> np.ndarray:
        """Labelled intensities (n, channels), at most 10,000, evenly spread."""
        sample: np.ndarray = np.load(self.path.with_suffix(".npy"))
        return sample


@dataclass(frozen=True)
class _Task:
    source: CaseSource
    root: Path
    patient: str | None
    rules: ReadingRules
    pseudonyms: Pseudonyms | None
    path: Path
    stamp: str


def survey_study(intake: Intake, folder: Path, pool: ProcessPool) -> tuple[tuple[SurveyedCase, ...], tuple[str, ...]]:
    """Read, check and measure every case, and keep the records in `folder`.

    Args:
        intake: the cases and what is taken of their files.
        folder: of the records of this and earlier runs; records that no case needs any more are removed.
        pool: reads the cases; its watcher is told of ("reading", done, total).

    Returns:
        The cases that can be used, in the order of the study, and a sentence for each that cannot.
    """
    folder.mkdir(exist_ok=True)
    tasks = _tasks(intake, folder)
    cases, problems = [], []
    for task, outcome in zip(tasks, pool.map_in_order(_survey_case, tasks, stage="reading"), strict=True):
        if isinstance(outcome, SurveyRecord):
            cases.append(SurveyedCase(task.source, outcome, task.path))
        else:
            problems.append(outcome)
    kept = {task.path.stem for task in tasks}
    for path in folder.iterdir():
        if path.stem not in kept:
            path.unlink()
    return tuple(cases), (*problems, *name_problems(cases), *_channel_problems(cases))


def is_surveyed(intake: Intake, folder: Path) -> bool:
    """Tell whether `folder` holds a current record of every case and of no other."""
    try:
        tasks = _tasks(intake, folder)
    except OSError:
        return False
    kept = {path.stem for path in folder.glob("*.json")} if folder.is_dir() else set()
    return kept == {task.path.stem for task in tasks} and all(_kept_record(task) is not None for task in tasks)


def _tasks(intake: Intake, folder: Path) -> list[_Task]:
    # Hidden by the key where there is one: a plain hash of a name could be found by trying names out.
    token = (intake.pseudonyms or Pseudonyms(b"")).of
    tasks = []
    for source in intake.study.sources:
        patient = intake.patients.get(source.case_id)
        names = [str(path.relative_to(intake.study.root)) for path in source.files]
        states = [path.stat() for path in source.files]
        stamp = token(
            repr(
                (
                    RECORD_VERSION,
                    intake.rules.model_dump_json(),
                    (source.case_id, patient, source.category),
                    [image.entry for image in source.images],
                    [(name, state.st_size, state.st_mtime_ns) for name, state in zip(names, states, strict=True)],
                )
            )
        )
        path = folder / f"{token(source.case_id)}.json"
        tasks.append(_Task(source, intake.study.root, patient, intake.rules, intake.pseudonyms, path, stamp))
    return tasks


def _survey_case(task: _Task) -> SurveyRecord | str:
    """Take over the record of an earlier run, or make one; a sentence if the case cannot be used."""
    try:
        return _kept_record(task) or _new_record(task)
    except ImgMedError as error:
        return str(error)


def _kept_record(task: _Task) -> SurveyRecord | None:
    try:
        record = SurveyRecord.model_validate(read_json(task.path))
    except (OSError, ValueError, ValidationError):
        return None
    return record if record.stamp == task.stamp and task.path.with_suffix(".npy").is_file() else None


def _new_record(task: _Task) -> SurveyRecord:
    source, rules = task.source, task.rules
    image = read_case_image(source, rules)
    label = None if source.label is None else read_case_label(source.label, image, rules)
    names, label_map = _named(label, rules)
    label_map = None if label_map is None else without_ignored(label_map, rules.ignore_label)
    counts = {} if label is None or label.label_map is None or label_map is None else count_labels(label_map)
    if counts and rules.labels is not None:
        check_declared(list(counts), rules.labels, str(source.label))
    sha256 = {path: sha256_of(path) for path in source.files}
    header = read_header(source.images[0], rules.spatial_units)
    public = _Public.of(task)
    case_id = public.text(source.case_id)
    record = SurveyRecord(
        stamp=task.stamp,
        case_id=case_id,
        patient_id=public.patient_id or case_id,
        header_patient=public.header_patient,
        images=tuple(public.files(image_source) for image_source in source.images),
        label=None if source.label is None else public.files(source.label),
        category=source.category,
        sha256={public.path(path): digest for path, digest in sha256.items()},
        shape=image.shape,
        affine=image.affine.tolist(),
        channels=image.channels,
        source_channels=_source_channels(source, image, rules),
        lowest=tuple(float(image.array[..., channel].min()) for channel in range(image.channels)),
        label_counts=counts,
        combinations=tuple(
            (tuple(sorted(combination)), voxels)
            for combination, voxels in (label.combinations if label is not None else {}).items()
        ),
        measures=measure_case(
            image,
            label_map,
            names,
            dtype=str(header.dtype),
            repaired=() if label is None else label.repaired,
            facts=header.facts,
        ),
        signature=signature_of(image),
    )
    write_npy(task.path.with_suffix(".npy"), _foreground_sample(image.array, label_map))
    write_bytes(task.path, record.model_dump_json().encode())
    return record


@dataclass(frozen=True)
class _Public:
    """What of a case's names may be written down."""

    root: Path
    patient_id: str | None
    header_patient: str | None
    redaction: Redaction

    @classmethod
    def of(cls, task: _Task) -> _Public:
        identities, hidden = identities_of_case(task.source), task.pseudonyms
        number = next((one.patient_id for one in identities), "")
        patient = task.patient or number or next((one.name for one in identities), "") or None
        if hidden is None:
            return cls(task.root, patient, number or None, Redaction([]))
        values = values_to_hide(task.source, identities) if identities else ()
        return cls(
            task.root,
            None if patient is None else hidden.of(patient),
            hidden.of(number) if number else None,
            hidden.redaction(patient or task.source.case_id, values),
        )

    def text(self, text: str) -> str:
        return self.redaction.apply(text)

    def path(self, path: Path) -> str:
        return self.text(path.relative_to(self.root).as_posix())

    def files(self, source: VolumeSource) -> SourceFiles:
        return SourceFiles(files=tuple(self.path(path) for path in source.files), entry=source.entry)


def _named(label: CaseLabel | None, rules: ReadingRules) -> tuple[dict[str, int], np.ndarray | None]:
    """Names and numbers of one case's labels, for its measures; those of the dataset may differ."""
    if label is None:
        return {}, None
    if label.label_map is not None:
        counted = without_ignored(label.label_map, rules.ignore_label)
        found = rules.labels or labels_from_values(list(count_labels(counted)))
        return dict(found), label.label_map
    names, segments = number_segments({"": set(label.combinations)})
    return names, label.numbered(segments)


def _foreground_sample(image: np.ndarray, label_map: np.ndarray | None) -> np.ndarray:
    box = None if label_map is None else labelled_box(label_map)
    if label_map is None:
        labelled = image.reshape(-1, image.shape[-1])
    elif box is None:
        labelled = image[:0, 0, 0]
    else:
        part = tuple(slice(first, last) for first, last in box)  # a mask costs much where the voxels lie i first
        mask = label_map[part] > 0
        chosen = np.flatnonzero(mask)
        chosen = chosen[_evenly(len(chosen))]
        return image[part][np.unravel_index(chosen, mask.shape)]
    return labelled[_evenly(len(labelled))]


def _evenly(count: int) -> np.ndarray:
    return np.linspace(0, max(0, count - 1), min(count, FOREGROUND_SAMPLE)).astype(np.intp)


def name_problems(cases: Sequence[SurveyedCase]) -> list[str]:
    """Return a sentence for each case that is called like another once patients' names are hidden."""
    counts = Counter(case.case_id for case in cases)
    return [
        f"case {case.case_id} is one of {counts[case.case_id]} of this name once patients' names are hidden; rename"
        " the folders, such as by adding the visit's number"
        for case in cases
        if counts[case.case_id] > 1
    ]


def _source_channels(source: CaseSource, image: Volume, rules: ReadingRules) -> int:
    """Channels of a case's files, of which `image` has the kept ones."""
    if rules.channel_indices is None:
        return image.channels
    return sum(read_header(one).channels for one in source.images)


def _channel_problems(cases: Sequence[SurveyedCase]) -> list[str]:
    """One sentence for each case whose number of channels is not the most frequent one."""
    counts = [case.record.source_channels for case in cases]
    usual = max(sorted(set(counts)), key=counts.count, default=0)
    return [
        f"{case.source.images[0]}: {count} channels, but {counts.count(usual)} other cases have"
        f" {usual}; all cases need the same channels"
        for case, count in zip(cases, counts, strict=True)
        if count != usual
    ]
