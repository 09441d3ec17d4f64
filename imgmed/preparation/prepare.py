"""From a folder of scans to a prepared dataset, in two passes over the files.

The work lies in an unfinished folder beside the wanted one. The first pass keeps a record of each case, the second
its arrays; both are taken over by a later run. The folder takes its place in one step when it is complete.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imgmed.archives import is_archive, unpack
from imgmed.augmentation.enlarge import enlarge_training
from imgmed.augmentation.settings import AugmentationSettings
from imgmed.dataset import (
    ARRAYS,
    REFERENCES,
    Case,
    DatasetDescription,
    PreparedDataset,
    case_files,
    write_description,
)
from imgmed.errors import DuplicateCasesError, InvalidCasesError, SourceNotFoundError
from imgmed.fingerprint import build_fingerprint, write_fingerprint
from imgmed.fingerprint.words import PICTURES, SCANS
from imgmed.intensity import Normalisation
from imgmed.label_codes import check_coded
from imgmed.labels import label_dtype
from imgmed.preparation.casework import JOURNAL, CaseRules, cropped_labels, write_cases, write_entry
from imgmed.preparation.comparison import describe_duplicates, find_duplicates
from imgmed.preparation.intake import Intake, take_in
from imgmed.preparation.labelling import Labelling, labelling_of
from imgmed.preparation.overlaps import mask_warnings
from imgmed.preparation.patients import join_patients
from imgmed.preparation.plan import Plan, derive_plan
from imgmed.preparation.splitting import divide_cases, empty_parts
from imgmed.preparation.survey import SURVEY, SurveyedCase, is_surveyed, survey_study
from imgmed.privacy import Pseudonyms, read_patient_key
from imgmed.scan import ScanPreparation, grid_for
from imgmed.settings import PreparationSettings
from imgmed.splits import PARTS, Splits
from imgmed.splits.given import parse_splits
from r2d2_base.errors import OutputExistsError
from r2d2_base.files import check_free_space
from r2d2_base.folders import remove_unfinished, resumable_folder
from r2d2_base.processes import ProcessPool
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["is_up_to_date", "prepare_dataset"]

PER_CASE_OVERHEAD = 16_384  # bytes: array headers, file system blocks, entries in the JSON files
UNPACKED = "source"
Finish = Callable[[PreparedDataset], None]


def prepare_dataset(
    source: Path | str,
    out: Path | str,
    settings: PreparationSettings | None = None,
    *,
    augmentation: AugmentationSettings | None = None,
    workers: int = 1,
    key_file: Path | None = None,
    finish: Finish | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> PreparedDataset:
    """Read, check and prepare every case of a study, and write the dataset.

    Each process holds one case at a time. The dataset appears under `out` when it is complete. After an error
    nothing of it remains; after an interruption its unfinished part stays beside `out`, and the same call goes
    on where it was. If `out` holds the dataset of this source and these settings already, nothing is done; if
    cases were added, changed or taken away meanwhile, `out` is brought up to date and the old cases stay in
    their splits.

    Args:
        source: folder of the study, in a layout that a recipe knows, or an archive (.zip, .tar, .tar.gz) of one.
        out: folder to be made.
        settings: what the user decided; the rest is derived from the training cases.
        augmentation: how copies are varied where `settings.augment_to` asks for some; where they would
            change nothing, or None: as in the paper's Table 1.
        workers: processes.
        key_file: key of the pseudonyms, outside of source and `out`, made where it is missing; needed where the
            source names patients and `settings.patient_ids` is "hashed".
        finish: called with the complete dataset before it takes its place, to write more files into its folder.
        progress: called with (stage, done, total).
        stop: ends the work where it is made; the same call then goes on where it was.

    Returns:
        The dataset, opened.

    Raises:
        ImgMedError: a leaf for each kind of bad input, see `imgmed.errors`; faulty cases are named together.
        CancelledError: `stop` was made.
    """
    settings = settings or PreparationSettings()
    wanted = Path(out)
    source, out = Path(source).absolute(), wanted.absolute()
    copies = None if settings.augment_to is None else _augmentation_of_copies(augmentation)
    _check_places(source, out, settings)
    watcher = Watcher(progress, stop)
    previous = _previous(source, out, settings, copies, key_file)
    if previous is not None and _has_splits(previous, settings.splits):
        with ProcessPool(1, watcher) as pool:
            if pool.run(is_up_to_date, previous, source, key_file):
                remove_unfinished(out)
                return PreparedDataset.read(wanted)
    with resumable_folder(out) as folder, ProcessPool(workers, watcher) as pool:
        _start(folder, previous)
        root = _unpacked(source, folder, watcher) if is_archive(source) else source
        intake = pool.run(take_in, root, settings, key_file, (source, out))
        _prepare(_Work(source, folder, settings, copies, intake, previous, pool))
        dataset = PreparedDataset.read(folder)
        if finish is not None:
            finish(dataset)
    return PreparedDataset.read(wanted)


def _check_places(source: Path, out: Path, settings: PreparationSettings) -> None:
    """Refuse what could only be found out after all scans have been read, and an `out` that would join the source."""
    if not source.exists():
        raise SourceNotFoundError(f"source {source} does not exist; name the folder or archive that holds the study")
    if out.resolve().is_relative_to(source.resolve()):
        raise OutputExistsError(f"{out} lies in the source {source}, which it would become a part of; choose another")
    if settings.splits is not None and not settings.splits.is_file():
        raise SourceNotFoundError(f"splits file {settings.splits} does not exist")


def _previous(
    source: Path,
    out: Path,
    settings: PreparationSettings,
    augmentation: AugmentationSettings | None,
    key_file: Path | None,
) -> PreparedDataset | None:
    """The dataset that stands at `out`, if it is of the same source and settings; None if `out` is free."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not out.is_dir() or not (out / "dataset.json").is_file():
        raise OutputExistsError(
            f"{out} exists and is no prepared dataset; choose another folder, or remove it if it is no longer needed"
        )
    dataset = PreparedDataset.read(out)
    theirs = dataset.description
    ours, before = settings.model_dump(), theirs.settings.model_dump()
    changed = [f"{key} was {before[key]!r}, now {ours[key]!r}" for key in ours if ours[key] != before[key]]
    if theirs.augmentation is not None and augmentation is not None and theirs.augmentation != augmentation:
        changed.append("copies were augmented by other settings")
    if not any(theirs.source_digest.startswith(one) for one in _path_digests(source, key_file)):
        changed.append(f"the source was {theirs.source_root}, or the key of the pseudonyms was another")
    if changed:
        raise OutputExistsError(
            f"{out} was prepared otherwise ({'; '.join(changed)}); choose another folder, or remove it"
        )
    return dataset


def is_up_to_date(dataset: PreparedDataset, source: Path, key_file: Path | None = None) -> bool:
    """Tell whether a dataset holds every case of `source`, none besides, and no file has changed since.

    Sizes and dates of the files are compared, not their contents.
    """
    source = Path(source).absolute()
    digest = dataset.description.source_digest
    if digest not in [one + _archive_state(source) for one in _path_digests(source, key_file)]:
        return False
    if is_archive(source):
        return True
    intake = take_in(source, dataset.description.settings, key_file, (dataset.folder,))
    return is_surveyed(intake, dataset.folder / SURVEY)


def _path_digest(source: Path, pseudonyms: Pseudonyms | None) -> str:
    """What stands for the source's path: by the key where patients are hidden, as a plain digest could be guessed."""
    path = str(source)
    return hashlib.sha256(path.encode()).hexdigest() if pseudonyms is None else pseudonyms.of(path)


def _path_digests(source: Path, key_file: Path | None) -> tuple[str, ...]:
    """What may stand for it in an earlier dataset."""
    plain = _path_digest(source, None)
    if key_file is None or not Path(key_file).is_file():
        return (plain,)
    return plain, _path_digest(source, Pseudonyms(read_patient_key(Path(key_file))))


def _archive_state(source: Path) -> str:
    """Size and date of an archive; "" for a folder, whose files are looked at one by one."""
    if not is_archive(source):
        return ""
    status = source.stat()
    return f"-{status.st_size}-{status.st_mtime_ns}"


def _has_splits(dataset: PreparedDataset, path: Path | None) -> bool:
    """Tell whether a dataset is divided as the user's file has it, where there is one."""
    if path is None:
        return True
    kept = dataset.original_splits
    given = parse_splits(path, list(kept.part_of))
    folds = [(sorted(fold.train), sorted(fold.validation)) for fold in kept.folds]
    return all(given[part] == sorted(getattr(kept, part)) for part in PARTS) and given["folds"] in ([], folds)


def _start(folder: Path, previous: PreparedDataset | None) -> None:
    """Take over what the earlier dataset holds; which of it still fits is found out case by case."""
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    if previous is None or (folder / JOURNAL).exists():
        return
    for name in (SURVEY, ARRAYS, REFERENCES):
        if (previous.folder / name).is_dir():
            shutil.copytree(previous.folder / name, folder / name, copy_function=os.link, dirs_exist_ok=True)
    for case in previous.cases.values():
        write_entry(folder, case, previous.description.rules_digest)


def _unpacked(archive: Path, folder: Path, watcher: Watcher) -> Path:
    if not (folder / UNPACKED).is_dir():
        unpack(archive, folder / UNPACKED, progress=watcher.progress, stop=watcher.stop)
    return folder / UNPACKED


@dataclass(frozen=True)
class _Work:
    """What the steps of a preparation share."""

    source: Path
    folder: Path
    settings: PreparationSettings
    augmentation: AugmentationSettings | None
    intake: Intake
    previous: PreparedDataset | None
    pool: ProcessPool


@dataclass(frozen=True)
class _Draft:
    """What is decided before the arrays are made: names and numbers of labels, division, steps, what is to be said."""

    surveyed: Sequence[SurveyedCase]
    labelling: Labelling
    splits: Splits
    plan: Plan
    duplicates: tuple[str, ...]
    warnings: tuple[str, ...]


def _prepare(work: _Work) -> None:
    settings = work.settings
    surveyed, skipped = _survey(work)
    draft = _draft(work, surveyed)
    while draft.plan.misfits:
        misfits = draft.plan.misfits
        left = [case for number, case in enumerate(draft.surveyed) if number not in misfits]
        if settings.on_error == "stop" or not left:
            raise InvalidCasesError(tuple(misfits.values()), len(draft.surveyed))
        skipped = (*skipped, *map(work.intake.redaction.apply, misfits.values()))
        draft = _draft(work, left)
    labelling, splits, preparation = draft.labelling, draft.splits, draft.plan.scan_preparation
    check_free_space(work.folder, _bytes_needed(draft.surveyed, preparation, labelling.labels))
    rules = CaseRules(
        reading=work.intake.rules,
        preparation=preparation,
        labelling=labelling,
        selection=settings.slices,
        seed=settings.seed,
    )
    cases = write_cases(draft.surveyed, rules, work.folder, work.pool)
    _remove_others(work.folder, cases)
    plan = draft.plan
    if settings.kind == "volumes":
        train = set(splits.train)
        plan = plan.with_slices([case.grid.stack_shape for case in cases if case.case_id in train])
    fingerprint = build_fingerprint(
        {case.case_id: labelling.completed(case.record) for case in draft.surveyed},
        channels=preparation.channels,
        labels=labelling.labels,
        splits=splits,
        duplicates=draft.duplicates,
        words=PICTURES if all(case.is_picture for case in draft.surveyed) else SCANS,
    )
    write_fingerprint(work.folder, fingerprint)
    warnings = (*draft.warnings, *cropped_labels(cases))
    cases, splits, added = _with_copies(work, cases, splits)
    description = _describe(work, plan, labelling, rules, cases, splits, (*warnings, *added), skipped)
    write_description(work.folder, description, cases, splits)


def _draft(work: _Work, surveyed: Sequence[SurveyedCase]) -> _Draft:
    settings, intake = work.settings, work.intake
    surveyed, joined = _with_patients(surveyed, settings)
    labelling = labelling_of([case.record for case in surveyed], intake.rules.labels, intake.regions)
    check_coded(settings.label_codes, [name for name, value in labelling.labels.items() if value])
    duplicates = find_duplicates(intake, surveyed, labelling, work.pool.watcher)
    sentences = describe_duplicates(duplicates, surveyed)
    if duplicates and settings.on_duplicate == "stop":
        raise DuplicateCasesError(sentences)
    kept = None if work.previous is None else work.previous.original_splits
    splits = divide_cases(intake.study, surveyed, labelling, duplicates, settings, kept)
    train = [case for case in surveyed if case.case_id in set(splits.train)]
    indices, source_channels = intake.rules.channel_indices, _source_channels(work, surveyed)
    channels = source_channels if indices is None else tuple(source_channels[index] for index in indices)
    plan = derive_plan(train, surveyed, channels, settings, indices, None if indices is None else source_channels)
    said = (*joined, *labelling.hints, *mask_warnings(surveyed), *empty_parts(splits, surveyed))
    warnings = (*sentences, *said, *_public(work, intake.study.notes))
    return _Draft(surveyed, labelling, splits, plan, sentences, warnings)


def _with_copies(work: _Work, cases: list[Case], splits: Splits) -> tuple[list[Case], Splits, tuple[str, ...]]:
    """Cases and splits with the augmented copies that were asked for, and what is to be said of them."""
    wanted = work.settings.augment_to
    if wanted is None or work.augmentation is None:
        return cases, splits, ()
    enlarged, splits = enlarge_training(
        work.folder,
        cases,
        splits,
        target_slices=wanted,
        settings=work.augmentation,
        seed=work.settings.seed,
        watcher=work.pool.watcher,
    )
    if len(enlarged) > len(cases):
        return enlarged, splits, ()
    return enlarged, splits, (f"augment_to={wanted}: training has as many slices already; no copies made",)


def _augmentation_of_copies(asked: AugmentationSettings | None) -> AugmentationSettings:
    """What was asked for; the paper's Table 1 where that would change nothing."""
    return AugmentationSettings.model_validate("table1") if asked is None or asked.is_neutral else asked


def _survey(work: _Work) -> tuple[tuple[SurveyedCase, ...], tuple[str, ...]]:
    """The usable cases, and a sentence for each that is left out; without permission to leave out, all are raised."""
    study = work.intake.study
    surveyed, found = survey_study(work.intake, work.folder / SURVEY, work.pool)
    problems = (*study.problems, *found)
    if problems and (work.settings.on_error == "stop" or not surveyed):
        raise InvalidCasesError(problems, len(study.sources))
    return surveyed, _public(work, (*study.left_out, *problems))


def _public(work: _Work, sentences: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(work.intake.redaction.apply, sentences))


def _with_patients(
    surveyed: Sequence[SurveyedCase], settings: PreparationSettings
) -> tuple[tuple[SurveyedCase, ...], tuple[str, ...]]:
    """The cases with the patients that they belong to by layout and headers; a pattern of the user's stands alone."""
    if settings.patient_pattern is not None:
        return tuple(surveyed), ()
    patients, sentences = join_patients(
        {case.case_id: case.record.patient_id for case in surveyed},
        {case.case_id: case.record.header_patient for case in surveyed},
    )
    return tuple(
        replace(case, record=case.record.model_copy(update={"patient_id": patients[case.case_id]})) for case in surveyed
    ), sentences


def _source_channels(work: _Work, surveyed: Sequence[SurveyedCase]) -> tuple[str, ...]:
    """Names of all channels of the source."""
    names, count = work.intake.rules.declared_channels, surveyed[0].record.source_channels
    if names is not None:
        return names
    return ("image",) if count == 1 else tuple(f"channel_{number}" for number in range(count))


def _bytes_needed(cases: Sequence[SurveyedCase], preparation: ScanPreparation, labels: Mapping[str, int]) -> int:
    per_voxel = 4 * len(preparation.channels) + label_dtype(list(labels.values())).itemsize
    voxels = (grid_for(case.placeholder, preparation).stack_shape for case in cases)
    return sum(int(np.prod(shape)) * per_voxel + PER_CASE_OVERHEAD for shape in voxels)


def _remove_others(folder: Path, cases: Sequence[Case]) -> None:
    """Remove arrays of cases that are no longer in the study, the journal and what was unpacked."""
    wanted = {path for case in cases for path in case_files(folder, case.case_id, case.label is not None)}
    for name in (ARRAYS, REFERENCES):
        if (folder / name).is_dir():
            for path in (folder / name).iterdir():
                if path not in wanted:
                    path.unlink()
    for name in (JOURNAL, UNPACKED):
        shutil.rmtree(folder / name, ignore_errors=True)


def _describe(
    work: _Work,
    plan: Plan,
    labelling: Labelling,
    rules: CaseRules,
    cases: Sequence[Case],
    splits: Splits,
    warnings: tuple[str, ...],
    skipped: tuple[str, ...],
) -> DatasetDescription:
    train = set(splits.train)
    study, hide = work.intake.study, work.intake.redaction.apply
    return DatasetDescription(
        name=hide(study.name),
        task=study.task,
        source_root=hide(str(work.source)),
        source_digest=_path_digest(work.source, work.intake.pseudonyms) + _archive_state(work.source),
        recipe=study.recipe,
        settings=work.settings,
        augmentation=work.augmentation,
        channels=plan.scan_preparation.channels,
        labels=dict(labelling.labels),
        ignore_label=rules.reading.ignore_label,
        regions=dict(labelling.regions),
        scan_preparation=plan.scan_preparation,
        normalisation=plan.normalisation,
        intensity=Normalisation.of_cases(
            plan.normalisation, [case.intensity for case in cases if case.case_id in train]
        ),
        reasons=plan.reasons,
        fingerprint=plan.fingerprint,
        warnings=warnings,
        skipped=skipped,
        rules_digest=rules.digest,
    )
