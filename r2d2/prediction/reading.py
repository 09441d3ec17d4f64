"""A scan that was found, checked by its header and read as the model needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dist_training.inference.model_card import ScanKind
from imgmed import PreparedDataset, ScanPreparation, Volume, read_header
from imgmed.errors import InvalidVolumeError, UnsupportedFormatError, WrongChannelsError
from imgmed.fingerprint.measures import CaseMeasures, measure_case
from imgmed.formats import SpatialUnits, VolumeHeader, is_picture
from imgmed.formats.dicom import is_capture
from imgmed.preparation.reading import ReadingRules, read_case_image
from imgmed.recipes.tree import is_dicom
from imgmed.scan import channel_choice, grid_for
from imgmed.study import CaseSource, VolumeSource
from r2d2.errors import PredictionError
from r2d2.prediction.scans import FoundScan
from r2d2_base.files import sha256_of

__all__ = [
    "CheckedScan",
    "NoScanError",
    "check_scan",
    "is_capture_alone",
    "measures_of",
    "read_scan",
    "read_source",
]

NAME_THEM = "--channels names those that it has"
SCANS_APART = "--channels names those of its files; files that are scans of their own are predicted one at a time"
_NO_NAME = re.compile(r"image|channel_\d+")  # what stands for channels that nobody named


class NoScanError(PredictionError):
    """A DICOM picture of a study that is no scan for a model, such as a report in colour."""


@dataclass(frozen=True)
class CheckedScan:
    """A scan whose headers suit a model.

    Attributes:
        scan: its files.
        channels: which of its channels the model takes, 0-based, in the model's order.
        spatial_units: what the sizes in its headers count in.
        facts: what the first header says besides, see `VolumeHeader`.
    """

    scan: FoundScan
    channels: tuple[int, ...]
    spatial_units: SpatialUnits = "header"
    facts: Mapping[str, str] = field(default_factory=dict)


def check_scan(
    scan: FoundScan,
    preparation: ScanPreparation,
    names: Sequence[str] | None = None,
    spatial_units: SpatialUnits = "header",
    kinds: Sequence[ScanKind] = (),
) -> CheckedScan:
    """Look at the headers of a scan: its channels, and the size that it would have as the network's slices.

    Args:
        scan: what was found.
        preparation: the model's.
        names: of the scan's channels as the user names them; None: as the layout does, if it does.
        spatial_units: what the sizes in headers count in, see `read_volume`.

    Raises:
        NoScanError: it is a picture of a study, and does not suit.
        ImgMedError: the files cannot be read, or do not suit, such as a picture for a model of volumes.
    """
    try:
        headers = [read_header(image, spatial_units) for image in scan.images]
        count = sum(header.channels for header in headers)
        channels = channel_choice(preparation, count, names or _names_of(scan, preparation, count), scan.shown)
    except (UnsupportedFormatError, WrongChannelsError) as error:
        if is_capture_alone(scan):
            reason = str(error).removeprefix(f"{scan.shown}: ")
            raise NoScanError(f"{scan.shown}: a picture of a study, such as a report ({reason})") from error
        if isinstance(error, WrongChannelsError):
            raise WrongChannelsError(f"{error} ({SCANS_APART if len(scan.images) > 1 else NAME_THEM})") from error
        raise
    _check_kind(scan, headers[0], kinds)
    place = Volume(np.broadcast_to(np.float32(0), headers[0].shape), headers[0].affine, scan.images[0].path)
    grid_for(place, preparation)
    return CheckedScan(scan, channels, spatial_units, headers[0].facts)


def _check_kind(scan: FoundScan, header: VolumeHeader, kinds: Sequence[ScanKind]) -> None:
    """Refuse pictures for a model of volumes, and volumes for one of pictures; one slice of a volume is a picture."""
    if kinds == ("volume",) and is_picture(scan.images[0].path):
        raise InvalidVolumeError(
            f"{scan.shown}: a picture, whose size in millimetres nobody knows; the model was trained on volumes: give"
            " the scan that it was made from"
        )
    if kinds == ("picture",) and not is_picture(scan.images[0].path) and min(header.shape) > 1:
        size = " x ".join(map(str, header.shape))
        raise InvalidVolumeError(
            f"{scan.shown}: a volume of {size} voxels; the model was trained on pictures: give its slices as such"
        )


def is_capture_alone(scan: FoundScan) -> bool:
    """Tell whether a scan is DICOM that shows a study and has no place in the patient, as reports and screenshots."""
    path = scan.images[0].path
    return is_dicom(path) and is_capture(path)


def _names_of(scan: FoundScan, preparation: ScanPreparation, count: int) -> tuple[str, ...] | None:
    """The names that the layout gives to the channels, where both it and the model name theirs."""
    names = scan.channels
    if names is None or len(names) != count or any(map(_NO_NAME.fullmatch, (*names, *preparation.channels))):
        return None
    return names


def measures_of(volume: Volume, checked: CheckedScan) -> CaseMeasures:
    """Measure a scan that was read, as `prepare` measured those of the model: what tells that it is unlike them.

    Args:
        volume: with the model's channels alone, as `read_scan` gives it.
        checked: says what its header says.
    """
    return measure_case(volume, None, {}, facts=checked.facts)


def read_scan(checked: CheckedScan) -> Volume:
    """Read a scan as it lies in its files, with the model's channels alone.

    Raises:
        ImgMedError: the files cannot be read, or do not suit.
    """
    source = CaseSource(checked.scan.case_id, checked.scan.images, None)
    rules = ReadingRules(channel_indices=checked.channels, spatial_units=checked.spatial_units)
    return read_case_image(source, rules)


def read_source(dataset: PreparedDataset, case_id: str) -> Volume:
    """Read the scan that a case of a dataset was prepared from, with the dataset's channels alone.

    Raises:
        PredictionError: it is not there any more, or was changed.
        ImgMedError: its files cannot be read.
    """
    case = dataset.case(case_id)
    images = tuple(
        VolumeSource(tuple(dataset.source_root / file for file in image.files), image.entry) for image in case.images
    )
    files = [file for image in images for file in image.files]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise PredictionError(
            f"{case_id}: its scan is needed, as a network takes other slices than {dataset.folder} has, and {missing}"
            " is not there; predict the scans with --input"
        )
    if tuple(map(sha256_of, files)) != case.image_sha256:
        raise PredictionError(
            f"{case_id}: {files[0]} was changed since {dataset.folder} was prepared; prepare it again"
        )
    rules = ReadingRules(
        channel_indices=dataset.scan_preparation.channel_indices,
        spatial_units=dataset.description.settings.spatial_units,
    )
    return read_case_image(CaseSource(case_id, images, None), rules)
