"""A study as it is taken in: its cases, what is read of them, who the patients are and how they are hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imgmed.errors import LabelError, PatientKeyError, UnknownChannelError
from imgmed.label_codes import check_coded
from imgmed.labels import BACKGROUND
from imgmed.preparation.reading import ReadingRules
from imgmed.privacy import Pseudonyms, Redaction, read_patient_key
from imgmed.privacy.identities import has_dicom, identities_of_study
from imgmed.recipes import read_study
from imgmed.settings import PreparationSettings
from imgmed.splits import patients_of
from imgmed.study import Study

__all__ = ["Intake", "take_in"]


@dataclass(frozen=True)
class Intake:
    """A study with the rules of reading it.

    Args:
        study: its cases.
        rules: what is taken of their files.
        patients: {case_id: patient} where a pattern or the layout names one.
        pseudonyms: hides patients; None: there are no names to hide, or they may be kept.
        regions: {name: label values} of the user, or of the study where its labels keep their numbers.
    """

    study: Study
    rules: ReadingRules
    patients: Mapping[str, str]
    pseudonyms: Pseudonyms | None
    regions: Mapping[str, tuple[int, ...]] | None = None

    @cached_property
    def redaction(self) -> Redaction:
        """Puts pseudonyms into sentences and paths that may name any patient of the study."""
        if self.pseudonyms is None:
            return Redaction([])
        identities = identities_of_study(self.study)
        return Redaction(list(identities.values()), [self.pseudonyms.of(who) for who in identities])


def take_in(
    root: Path, settings: PreparationSettings, key_file: Path | None, apart_from: Sequence[Path] = ()
) -> Intake:
    """Find the cases of a source folder.

    Args:
        root: the folder.
        settings: the wanted recipe, channels, labels and patients.
        key_file: of the pseudonyms; made where it is missing and needed.
        apart_from: folders that the key must lie outside of.

    Raises:
        SourceLayoutError: no layout fits.
        LabelError: labels to keep, or with codes, that the study does not have.
        UnknownChannelError: a wanted channel that the study does not name.
        PatientKeyError: patients are named, and there is no key, or it lies where the data go.
    """
    study = read_study(root, settings.recipe, series=settings.series)
    patients = _patients(study, settings)
    is_renumbered = settings.remap_labels is not None or settings.mask_threshold is not None
    ignored = study.ignore_label if settings.ignore_label is None else settings.ignore_label
    labels = settings.labels or (_renumbered(study, settings) if is_renumbered else study.labels)
    kept = _kept_labels(labels, settings.keep_labels)
    regions = settings.regions
    if regions is None and study.regions is not None and not is_renumbered:
        regions = {name: values for name, values in study.regions.items() if kept is None or set(values) <= set(kept)}
    channels = settings.channel_names or study.channels
    rules = ReadingRules(
        declared_channels=channels,
        channel_indices=_channel_indices(channels, settings.channels),
        remap_labels=settings.remap_labels,
        keep_labels=kept,
        mask_threshold=settings.mask_threshold,
        ignore_label=ignored,
        spatial_units=settings.spatial_units,
        labels=labels if labels is None or kept is None else _only(labels, kept),
    )
    if rules.labels is not None:  # which combinations of masks there are is known when these are read
        foreground = [name for name, value in rules.labels.items() if value]
        check_coded((name for name in settings.label_codes if "+" not in name), foreground)
    # What a pattern finds in a case's name is no secret: the name stays.
    are_named = has_dicom(study) or (
        bool(patients) and settings.patient_pattern is None and not study.are_patients_coded
    )
    hides = settings.patient_ids == "hashed" and are_named
    pseudonyms = _pseudonyms(root, key_file, (root, *apart_from)) if hides else None
    return Intake(study, rules, patients, pseudonyms, regions)


def _patients(study: Study, settings: PreparationSettings) -> dict[str, str]:
    if settings.patient_pattern is not None:
        return patients_of([case.case_id for case in study.sources], settings.patient_pattern)
    return {case.case_id: case.patient for case in study.sources if case.patient is not None}


def _channel_indices(names: tuple[str, ...] | None, wanted: tuple[str | int, ...] | None) -> tuple[int, ...] | None:
    if wanted is None:
        return None
    known = {name.casefold(): number for number, name in enumerate(names or ())}
    unknown = [name for name in wanted if isinstance(name, str) and name.casefold() not in known]
    if unknown:
        raise UnknownChannelError(
            f"no channel {', '.join(map(repr, unknown))}; the study names {', '.join(names or ()) or 'none'};"
            " channels can also be given by number, from 0, and be named by channel_names"
        )
    return tuple(name if isinstance(name, int) else known[name.casefold()] for name in wanted)


def _renumbered(study: Study, settings: PreparationSettings) -> dict[str, int] | None:
    """The study's labels with new numbers: known where one label is what lies above the threshold of a mask."""
    named = [name for name, value in (study.labels or {}).items() if value]
    return {BACKGROUND: 0, named[0]: 1} if settings.mask_threshold is not None and len(named) == 1 else None


def _kept_labels(labels: Mapping[str, int] | None, kept: tuple[str | int, ...] | None) -> tuple[str | int, ...] | None:
    """The labels to keep, by number where they are declared; names of masks (DICOM) are told when these are read."""
    if kept is None or labels is None:
        return kept
    unknown = [label for label in kept if label not in labels and label not in labels.values()]
    if unknown:
        declared = ", ".join(f"{value} {name}" for name, value in labels.items() if value)
        raise LabelError(f"keep_labels: no label {', '.join(map(str, unknown))}; declared are {declared}")
    return tuple(labels[label] if isinstance(label, str) else label for label in kept)


def _only(labels: Mapping[str, int], kept: tuple[str | int, ...]) -> dict[str, int]:
    return {name: value for name, value in labels.items() if value == 0 or value in kept}


def _pseudonyms(root: Path, key_file: Path | None, data: Sequence[Path]) -> Pseudonyms:
    if key_file is None:
        raise PatientKeyError(
            f"{root} names patients, who are hidden by a keyed hash: name a file for the key (key_file), or keep"
            " the names (patient_ids=plain)"
        )
    for folder in data:
        if Path(key_file).absolute().is_relative_to(folder):
            raise PatientKeyError(f"the key {key_file} lies inside {folder}; whoever gets the data must not get it")
    return Pseudonyms(read_patient_key(Path(key_file)))
