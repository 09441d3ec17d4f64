"""From a folder of scans to a prepared dataset, in two passes over the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from imgmed.dataset import Case, DatasetDescription, PreparedDataset, SourceFiles, write_arrays, write_description
from imgmed.errors import InvalidCasesError
from imgmed.intensity import IntensityStatistics, Normalisation
from imgmed.labels import label_dtype, labels_from_values
from imgmed.plan import Plan, derive_plan
from imgmed.progress import Progress, report_progress
from imgmed.recipes import read_study
from imgmed.scan import ScanPreparation, grid_for, prepare_case
from imgmed.settings import PreparationSettings
from imgmed.splits import FEWEST_PATIENTS, Splits, patients_of, split_cases
from imgmed.storage import check_absent, check_free_space, staged_folder
from imgmed.study import Study, VolumeSource
from imgmed.survey import SurveyedCase, check_labelled, read_image, read_label, survey_study
from imgmed.volume import Volume

__all__ = ["prepare_dataset"]

PER_CASE_OVERHEAD = 16_384  # bytes: array headers, file system blocks, entries in the JSON files


def prepare_dataset(
    source: Path | str,
    out: Path | str,
    settings: PreparationSettings | None = None,
    progress: Progress = None,
) -> PreparedDataset:
    """Read, check and prepare every case of a study, and write the dataset.

    Memory holds one case at a time. The dataset appears under `out` when it is complete; after any error or
    interruption nothing of it remains.

    Args:
        source: folder of the study, in a layout that a recipe knows.
        out: folder to be made; it must not exist, or be empty.
        settings: what the user decided; the rest is derived from the training cases.
        progress: called with ("reading", done, total), then ("preparing", done, total).

    Returns:
        The dataset, opened.

    Raises:
        ImgMedError: a leaf for each kind of bad input, see `imgmed.errors`; faulty cases are named together.
    """
    settings = settings or PreparationSettings()
    out = Path(out)
    check_absent(out)
    study = read_study(source, settings.recipe)
    patients = patients_of([case.case_id for case in study.sources], settings.patient_pattern)
    if study.problems and len(set(patients.values())) < FEWEST_PATIENTS:
        raise InvalidCasesError(study.problems, len(study.sources))
    splits = split_cases(patients, settings.validation_fraction, settings.test_fraction, settings.folds, settings.seed)
    declared = settings.labels or study.labels
    surveyed = survey_study(study, declared, splits.train, progress)
    check_labelled(surveyed, study.root)
    plan = _plan(study, surveyed, splits, settings)
    labels = declared or labels_from_values([value for case in surveyed for value in case.label_counts])
    check_free_space(out, _bytes_needed(surveyed, plan.scan_preparation, labels))
    with staged_folder(out) as staging:
        cases = _write_cases(staging, study, surveyed, patients, plan, labels, progress)
        write_description(staging, _describe(study, settings, plan, labels, cases, splits), cases, splits)
    return PreparedDataset.read(out)


def _plan(study: Study, surveyed: Sequence[SurveyedCase], splits: Splits, settings: PreparationSettings) -> Plan:
    channels = study.channels or _channel_names(surveyed[0].channels)
    train = [case for case in surveyed if case.source.case_id in set(splits.train)]
    return derive_plan(train, surveyed, channels, settings)


def _channel_names(count: int) -> tuple[str, ...]:
    return ("image",) if count == 1 else tuple(f"channel_{number}" for number in range(count))


def _bytes_needed(cases: Sequence[SurveyedCase], preparation: ScanPreparation, labels: Mapping[str, int]) -> int:
    per_voxel = 4 * len(preparation.channels) + label_dtype(list(labels.values())).itemsize
    voxels = (grid_for(_placeholder(case), preparation).stack_shape for case in cases)
    return sum(int(np.prod(shape)) * per_voxel + PER_CASE_OVERHEAD for shape in voxels)


def _placeholder(case: SurveyedCase) -> Volume:
    """A volume of the case's geometry that takes no memory."""
    return Volume(np.broadcast_to(np.float32(0), case.shape), case.affine)


def _write_cases(
    folder: Path,
    study: Study,
    surveyed: Sequence[SurveyedCase],
    patients: Mapping[str, str],
    plan: Plan,
    labels: Mapping[str, int],
    progress: Progress,
) -> list[Case]:
    cases = []
    report_progress(progress, "preparing", 0, len(surveyed))
    for done, case in enumerate(surveyed, start=1):
        cases.append(_write_case(folder, study.root, case, patients[case.source.case_id], plan, labels))
        report_progress(progress, "preparing", done, len(surveyed))
    return cases


def _write_case(
    folder: Path, root: Path, surveyed: SurveyedCase, patient_id: str, plan: Plan, labels: Mapping[str, int]
) -> Case:
    source = surveyed.source
    volume = read_image(source)
    scan = prepare_case(volume, read_label(source, volume), plan.scan_preparation)
    grid, label_map = scan.grid, np.asarray(scan.label, label_dtype(list(labels.values())))
    write_arrays(folder, source.case_id, scan.image, label_map)
    return Case(
        case_id=source.case_id,
        patient_id=patient_id,
        images=tuple(_relative_source(image, root) for image in source.images),
        label=None if source.label is None else _relative_source(source.label, root),
        sha256={_relative(path, root): digest for path, digest in surveyed.sha256.items()},
        shape=grid.shape,
        spacing_mm=volume.spacing_mm,
        affine=grid.affine,
        slice_axis=grid.slice_axis,
        stack_shape=grid.stack_shape,
        stack_affine=grid.prepared_affine,
        slice_range=_labelled_slices(label_map),
        label_counts={name: surveyed.label_counts.get(value, 0) for name, value in labels.items()},
        clip_bounds=scan.bounds,
        intensity=IntensityStatistics.of(scan.image),
    )


def _labelled_slices(label_map: np.ndarray) -> tuple[int, int]:
    labelled = np.flatnonzero(label_map.any(axis=(1, 2)))
    return (int(labelled[0]), int(labelled[-1]) + 1) if len(labelled) else (0, 0)


def _relative_source(source: VolumeSource, root: Path) -> SourceFiles:
    return SourceFiles(files=tuple(_relative(path, root) for path in source.files), entry=source.entry)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _describe(
    study: Study,
    settings: PreparationSettings,
    plan: Plan,
    labels: Mapping[str, int],
    cases: Sequence[Case],
    splits: Splits,
) -> DatasetDescription:
    train = set(splits.train)
    return DatasetDescription(
        name=study.name,
        source_root=str(study.root.resolve()),
        recipe=study.recipe,
        settings=settings,
        channels=plan.scan_preparation.channels,
        labels=dict(labels),
        scan_preparation=plan.scan_preparation,
        normalisation=plan.normalisation,
        intensity=Normalisation.of_cases(
            plan.normalisation, [case.intensity for case in cases if case.case_id in train]
        ),
        reasons=plan.reasons,
        fingerprint=plan.fingerprint,
    )
