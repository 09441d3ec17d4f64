"""What is sent through a network one by one: scans from anywhere, or cases of a prepared dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imgmed import PreparedDataset, ScanPreparation, Volume, prepare_case
from imgmed.errors import ImgMedError
from imgmed.fingerprint import read_fingerprint
from imgmed.fingerprint.measures import CaseMeasures
from r2d2.errors import PredictionError
from r2d2.prediction.dicom import DicomTarget
from r2d2.prediction.ensemble import preparation_differences
from r2d2.prediction.faults import listed, sentence
from r2d2.prediction.manifest import PredictedCase, is_of_dicom, prediction_name
from r2d2.prediction.predictor import Predictor, Stack
from r2d2.prediction.reading import (
    CheckedScan,
    NoScanError,
    check_scan,
    is_capture_alone,
    measures_of,
    read_scan,
    read_source,
)
from r2d2.prediction.scans import FoundScans, few, found_scans
from r2d2.prediction.settings import DicomOutput, PredictionSettings
from r2d2_base.files import sha256_of
from r2d2_base.progress import Watcher

__all__ = ["Items", "ScanItem", "items_among", "items_of_dataset"]


Read = tuple[tuple[Stack, ...], np.ndarray, tuple[str, ...]]


@dataclass(frozen=True)
class ScanItem:
    """A scan on its way through the network.

    Attributes:
        name: what messages call it.
        case_id: of the case.
        make_entry: makes its entry in the manifest, which needs its files' digests.
        read: gives its slices for each of the networks' preparations, the affine of its voxels, and in what it is
            unlike the model's training scans.
        file: name of its label map.
        like: a NIfTI file whose header the label map takes over, or the DICOM series that it refers to.
        made_from: what else the label map depends on.
    """

    name: str
    case_id: str
    make_entry: Callable[[], PredictedCase]
    read: Callable[[], Read]
    file: str
    like: Path | DicomTarget | None
    made_from: tuple[object, ...] = ()

    @cached_property
    def entry(self) -> PredictedCase:
        """Its entry in the manifest, without what the networks say."""
        return self.make_entry()


@dataclass(frozen=True)
class Items:
    """All that is to be predicted, and what cannot be.

    Attributes:
        items: whose headers suit the model.
        left_out: a sentence for each that cannot be predicted.
        passed_over: a line for each file that is no scan, and why.
        told: puts the names of archives into a text in place of the folders where they lie unpacked.
    """

    items: tuple[ScanItem, ...]
    left_out: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    told: Callable[[object], str] = str


@contextmanager
def items_among(
    inputs: Sequence[Path],
    settings: PredictionSettings,
    predictor: Predictor,
    watcher: Watcher,
    *,
    will_be_written: bool = True,
) -> Iterator[Items]:
    """Find scans anywhere and look at their headers; archives are unpacked for as long as the context lasts.

    Args:
        inputs: see `found_scans`.
        settings: how they are read.
        predictor: the networks.
        watcher: told of ("checking", done, total).
        will_be_written: look too whether label maps can be written for them, as DICOM needs.

    Raises:
        PredictionError: none suits the model; or one does not, where ``settings.on_error`` is "stop". All are listed.
        ImgMedError: a path is missing, or is no scan; a layout is ambiguous.
    """
    series = predictor.card.series if settings.series is None else settings.series
    with found_scans(inputs, settings.recipe, series, watcher) as found:
        checked, faults, passed_over = _checked(found, predictor, settings, watcher, will_be_written)
        apart = found.apart() if faults and not checked else None
        if apart is not None:
            checked, faults, passed_over = _checked(apart, predictor, settings, watcher, will_be_written)
        if faults and (settings.on_error == "stop" or not checked):
            raise PredictionError(listed(faults, len(checked) + len(faults)))
        if not checked:
            raise PredictionError(f"no scans that suit the model: {few(passed_over)}")
        items = tuple(_item_of(scan, predictor) for scan in checked)
        yield Items(items, tuple(faults), tuple(passed_over), found.told)


def items_of_dataset(
    dataset: PreparedDataset, case_ids: Sequence[str], predictor: Predictor, *, will_be_written: bool = True
) -> Items:
    """Give cases of a prepared dataset, whose arrays alone are read; and headers, where label maps will be DICOM.

    Raises:
        PredictionError: it was prepared in another way than the model's.
        UnknownCaseError: it has no such case.
    """
    _check_preparation(predictor, dataset)
    measured = _measured(dataset)
    items = [_item_of_case(dataset, case_id, predictor, measured.get(case_id), will_be_written) for case_id in case_ids]
    return Items(tuple(items))


def _measured(dataset: PreparedDataset) -> dict[str, CaseMeasures]:
    """The measures of a dataset's cases; none where an earlier version prepared it."""
    try:
        return read_fingerprint(dataset.folder).cases
    except ImgMedError:
        return {}


def _unlike(measures: CaseMeasures | None, predictor: Predictor) -> tuple[str, ...]:
    """In what a scan is unlike those that the networks were trained on: of each measure what the first says of it."""
    if measures is None:
        return ()
    cards = [member.card for member in predictor.members]
    said = [card.familiarity.unlike(measures, card.channels) for card in cards if card.familiarity is not None]
    by_measure: dict[str, str] = {}
    for phrase in (phrase for phrases in said for phrase in phrases):
        by_measure.setdefault(phrase.partition(":")[0], phrase)
    return tuple(by_measure.values())


def _checked(
    found: FoundScans, predictor: Predictor, settings: PredictionSettings, watcher: Watcher, will_be_written: bool
) -> tuple[list[CheckedScan], list[str], list[str]]:
    """The scans whose headers suit the model, what is wrong with the others, and what is none after all."""
    card = predictor.card
    targets = _targets(found, predictor) if will_be_written else {}
    checked: list[CheckedScan] = []
    pictures: list[CheckedScan] = []
    faults, passed_over = list(found.problems), list(found.passed_over)
    watcher.report("checking", 0, len(found.scans))
    for number, scan in enumerate(found.scans, start=1):
        try:
            fitting = check_scan(
                scan, card.scan_preparation, settings.channels, settings.spatial_units, card.scan_kinds
            )
            is_picture_of_study = is_capture_alone(scan)
            if scan.case_id in targets and not is_picture_of_study:
                targets[scan.case_id].check()
            (pictures if is_picture_of_study else checked).append(fitting)
        except NoScanError as error:
            passed_over.append(found.told(error))
        except (ImgMedError, PredictionError, OSError, MemoryError) as error:
            faults.append(sentence(error, scan.shown, found.told))
        watcher.report("checking", number, len(found.scans))
    if not checked:
        return pictures, faults, passed_over
    passed_over += [f"{one.scan.shown}: a picture of a study, such as a report" for one in pictures]
    return checked, faults, passed_over


def _item_of(checked: CheckedScan, predictor: Predictor) -> ScanItem:
    scan = checked.scan
    file, like = _target(scan.case_id, scan.images[0].files, predictor, "seg")

    def entry() -> PredictedCase:
        source, files = Path(scan.shown).absolute(), [file for image in scan.images for file in image.files]
        return _entry(scan.case_id, file, source, tuple(map(sha256_of, files)), predictor)

    def read() -> Read:
        volume = read_scan(checked)
        is_known = any(member.card.familiarity is not None for member in predictor.members)
        unlike = _unlike(measures_of(volume, checked), predictor) if is_known else ()
        return stacks_of(volume, predictor), volume.affine, unlike

    made_from = (checked.channels, checked.spatial_units)
    return ScanItem(scan.shown, scan.case_id, entry, read, file, like, made_from)


def _item_of_case(
    dataset: PreparedDataset,
    case_id: str,
    predictor: Predictor,
    measures: CaseMeasures | None,
    will_be_written: bool,
) -> ScanItem:
    case = dataset.case(case_id)
    source = dataset.source_root / case.images[0].path
    files = [dataset.source_root / path for path in case.images[0].files]
    file, like = _target(case_id, files, predictor, "nifti")

    def entry() -> PredictedCase:
        return _entry(case_id, file, source, case.image_sha256, predictor)

    def read() -> Read:
        if isinstance(like, DicomTarget) and will_be_written:
            like.check()
        own = (dataset.image(case_id), case.grid)
        needed = predictor.preparations  # one for slices, another for volumes, may be equal
        is_all = _fits(dataset, needed)
        stacks = (own,) * len(needed) if is_all else stacks_of(read_source(dataset, case_id), predictor)
        return stacks, np.array(case.affine), _unlike(measures, predictor)

    return ScanItem(case_id, case_id, entry, read, file, like)


def _targets(found: FoundScans, predictor: Predictor) -> dict[str, DicomTarget]:
    """Which series the label maps of scans will refer to."""
    likes = {scan.case_id: _target(scan.case_id, scan.images[0].files, predictor, "seg")[1] for scan in found.scans}
    return {case_id: like for case_id, like in likes.items() if isinstance(like, DicomTarget)}


def _target(
    case_id: str, files: Sequence[Path], predictor: Predictor, usual: DicomOutput
) -> tuple[str, Path | DicomTarget | None]:
    """The name of a scan's label map, and what it takes over from the scan's files."""
    first, dicom_output = files[0], predictor.settings.dicom_output or usual
    name = prediction_name(case_id, first, is_one_file=len(files) == 1, dicom_output=dicom_output)
    if dicom_output != "nifti" and is_of_dicom(first):
        return name, DicomTarget.of(files, dicom_output, [member.card for member in predictor.members])
    return name, first if _is_nifti(first) and first.is_file() else None


def _entry(case_id: str, file: str, source: Path, digests: tuple[str, ...], predictor: Predictor) -> PredictedCase:
    return PredictedCase(
        case_id=case_id, file=file, source=str(source), source_sha256=digests, split=predictor.split_of(digests)
    )


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def stacks_of(volume: Volume, predictor: Predictor) -> tuple[Stack, ...]:
    """Prepare a scan in each way that the networks need.

    Args:
        volume: (i, j, k, channels) of the model's channels alone.
        predictor: the networks.
    """
    prepared = [prepare_case(volume, None, preparation) for preparation in predictor.preparations]
    return tuple((one.image, one.grid) for one in prepared)


def _fits(dataset: PreparedDataset, preparations: Sequence[ScanPreparation]) -> bool:
    """Tell whether the arrays of a dataset are all that networks need."""
    return not any(
        preparation_differences(("model", preparation), ("dataset", dataset.scan_preparation))
        for preparation in preparations
    )


def _check_preparation(predictor: Predictor, dataset: PreparedDataset) -> None:
    """Refuse a dataset that was prepared as none of the networks needs it: its channels may be others."""
    first, *others = [
        preparation_differences(("model", preparation), ("dataset", dataset.scan_preparation))
        for preparation in predictor.preparations
    ]
    if first and all(others):
        raise PredictionError(
            f"{dataset.folder} was prepared in another way than the model's data ({'; '.join(first)}); "
            f"predict its scans with --input {dataset.source_root} instead"
        )
