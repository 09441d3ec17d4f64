"""DICOM files for tests, written with pydicom alone."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_NUMBERS = itertools.count(1)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def new_uid() -> UID:
    """Make a UID that no other file of this process has; of the digits 0 to 3, as no patient's number or date is."""
    return UID(f"1.2.3.{np.base_repr(next(_NUMBERS), 4)}")


def write_series(
    folder: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    slope: float | Sequence[float] = 1,
    intercept: float = 0,
    names: Callable[[int], str] = "IM{:04d}".format,
    compress: str | None = None,
    change: Callable[[int, Dataset], None] | None = None,
    series_uid: str | None = None,
    study_uid: str | None = None,
    description: str = "abdomen",
) -> list[Path]:
    """Write stored pixels (columns, rows, slices) int16 or uint16 with an affine (column, row, slice) -> RAS mm."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = RAS_TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    shared = {
        "SOPClassUID": CT_STORAGE,
        "StudyInstanceUID": study_uid or new_uid(),
        "SeriesInstanceUID": series_uid or new_uid(),
        "FrameOfReferenceUID": new_uid(),
        "Modality": "CT",
        "SeriesDescription": description,
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "StudyID": "1",
        "StudyDate": "20200101",
        "StudyTime": "120000",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "SeriesNumber": 1,
        "ImageOrientationPatient": [float(value) for value in (lps[:3, :2] / spacing[:2]).T.ravel()],
        "PixelSpacing": [float(spacing[1]), float(spacing[0])],
        "SliceThickness": float(spacing[2]),
    }
    paths = []
    for k in range(array.shape[2]):
        dataset = Dataset()
        for name, value in shared.items():
            setattr(dataset, name, value)
        dataset.InstanceNumber = k + 1
        dataset.SOPInstanceUID = new_uid()
        position = lps @ [0, 0, k, 1]
        dataset.ImagePositionPatient = [float(value) for value in position[:3]]
        dataset.RescaleSlope = slope if isinstance(slope, int | float) else slope[k]
        dataset.RescaleIntercept = intercept
        _set_pixels(dataset, array[:, :, k].T)
        if change is not None:
            change(k, dataset)
        path = folder / names(k)
        save(dataset, path, compress)
        paths.append(path)
    return paths


def save(dataset: Dataset, path: Path, compress: str | None = None) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if compress is not None:
        dataset.compress(compress, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def _set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """`pixels` is (rows, columns) of 8 or 16 bits."""
    bits = pixels.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
