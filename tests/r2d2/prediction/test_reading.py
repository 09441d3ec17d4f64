"""Scans checked by their headers: which channels are taken, and which scans are refused."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from imgmed import ScanPreparation
from imgmed.errors import WrongChannelsError
from imgmed.study import VolumeSource
from r2d2.prediction.reading import NoScanError, check_scan, is_capture_alone, read_scan
from r2d2.prediction.scans import FoundScan
from tests.dicom_files import write_series


def preparation(*channels: str, source: tuple[str, ...] | None = None) -> ScanPreparation:
    indices = None if source is None else tuple(map(source.index, channels))
    return ScanPreparation(
        channels=channels, channel_indices=indices, source_channels=source, slice_axis=2, slice_size=(16, 16)
    )


def scan_of(folder: Path, *files: int, names: tuple[str, ...] | None = None) -> FoundScan:
    """A scan in files of so many channels; voxels are the number of the channel, counted over all files."""
    sources, first = [], 0
    for number, channels in enumerate(files):
        path = folder / f"{number}.nii"
        array = np.broadcast_to(np.arange(first, first + channels, dtype=np.uint8), (4, 3, 2, channels))
        nib.save(nib.Nifti1Image(array[..., 0] if channels == 1 else array, np.eye(4)), path)
        sources.append(VolumeSource((path,)))
        first += channels
    return FoundScan("case", tuple(sources), names, str(sources[0].path))


MODEL = preparation("T1", source=("FLAIR", "T1", "T1c", "T2"))


@pytest.mark.parametrize(
    ("rule", "files", "layout", "named", "taken"),
    [
        (preparation("MR"), (1,), None, None, [0]),
        (preparation("MR"), (1,), ("image",), None, [0]),
        (preparation("image"), (1,), ("CT",), None, [0]),
        (preparation("T1", "T2"), (2,), None, None, [0, 1]),
        (preparation("T1", "T2"), (1, 1), ("t2", "t1"), None, [1, 0]),
        (preparation("T1", "T2"), (4,), None, ("FLAIR", "t2", "t1", "DWI"), [2, 1]),
        (preparation("b", "a", source=("a", "b")), (2,), None, None, [1, 0]),
        (MODEL, (4,), None, None, [1]),
        (MODEL, (1, 1, 1, 1), None, None, [1]),
        (MODEL, (2, 2), None, None, [1]),
        (MODEL, (1,), None, ("T1",), [0]),
        (MODEL, (1, 1), ("T1", "FLAIR"), None, [0]),
    ],
)
def test_the_channels_of_the_model_are_taken(
    tmp_path: Path,
    rule: ScanPreparation,
    files: tuple[int, ...],
    layout: tuple[str, ...] | None,
    named: tuple[str, ...] | None,
    taken: list[int],
) -> None:
    volume = read_scan(check_scan(scan_of(tmp_path, *files, names=layout), rule, named))
    assert volume.array[0, 0, 0].tolist() == taken


@pytest.mark.parametrize(
    ("rule", "files", "layout", "named", "said"),
    [
        (preparation("MR"), (2,), None, None, r"2 channels; needed: 1 \(MR\)"),
        (preparation("T1"), (1,), ("FLAIR",), None, "no channel T1 among FLAIR"),
        (preparation("T1", "T2"), (1,), None, None, r"1 channel; needed: 2 \(T1, T2\)"),
        (MODEL, (1,), None, None, "1 channel; needed: all 4 .*T1 is number 1"),
        (MODEL, (2,), None, None, "2 channels; needed: all 4"),
        (MODEL, (1,), None, ("FLAIR",), "no channel T1 among FLAIR"),
        (MODEL, (2,), None, ("T1",), r"2 channels, but names for 1 \(T1\)"),
    ],
)
def test_other_channels_are_refused(
    tmp_path: Path,
    rule: ScanPreparation,
    files: tuple[int, ...],
    layout: tuple[str, ...] | None,
    named: tuple[str, ...] | None,
    said: str,
) -> None:
    with pytest.raises(WrongChannelsError, match=rf"0\.nii: {said}.*--channels"):
        check_scan(scan_of(tmp_path, *files, names=layout), rule, named)


def test_a_report_as_a_picture_in_colour_is_no_scan(tmp_path: Path) -> None:
    """By its class and because it has no place in the patient; a scan in colour is one that does not suit."""

    def coloured(number: int, dataset: Dataset) -> None:
        for name, value in {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}.items():
            setattr(dataset, name, value)
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation, dataset.PixelData = 7, 0, bytes(3 * 4 * 3)

    def captured(number: int, dataset: Dataset) -> None:
        coloured(number, dataset)
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        del dataset.ImagePositionPatient

    report, scan = (
        FoundScan(name, (VolumeSource(tuple(paths)),), None, str(paths[0]))
        for name, change in (("dose", captured), ("ct", coloured))
        for paths in (write_series(tmp_path / name, np.zeros((4, 3, 1), np.int16), np.eye(4), change=change),)
    )
    with pytest.raises(NoScanError, match=r"a picture of a study, such as a report \(3 channels; needed: 1"):
        check_scan(report, preparation("CT"))
    with pytest.raises(WrongChannelsError, match="3 channels; needed: 1"):
        check_scan(scan, preparation("CT"))
    assert is_capture_alone(report) and not is_capture_alone(scan)
