"""prediction.json: which model made a folder of label maps, from what."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dist_training.inference.model_card import Split
from imgmed.formats import dicom, has_known_suffix, pictures
from r2d2.errors import PredictionError
from r2d2.prediction.settings import DicomOutput, InferenceSettings
from r2d2_base.files import read_json, write_json

__all__ = [
    "MANIFEST",
    "EnsembleMember",
    "MadeFiles",
    "PredictedCase",
    "PredictionManifest",
    "is_of_dicom",
    "map_name",
    "prediction_name",
    "read_manifest",
    "write_manifest",
]

MANIFEST = "prediction.json"
ARRAYS = ".npz"
WRITTEN_AS = {
    ".nii": (".nii",),
    ".mha": (".mha", ".mhd"),
    ".nrrd": (".nrrd", ".nhdr"),
    ".png": (".png", ".jpg", ".jpeg"),
    ".tif": (".tif", ".tiff"),
}
"""The kind of a label map, and of the scans that it is for; for all others it is compressed NIfTI."""


class PredictedCase(BaseModel):
    """One label map of a prediction folder.

    Attributes:
        case_id: the case.
        file: its label map, in the folder.
        source: the scan's path: the first file, where it has several.
        source_sha256: SHA-256 of the scan's files.
        split: what the model's training, and that of the networks it started from, used this very scan for; None: it
            has never seen it.
        volumes_ml: volume of each structure, or region where they overlap, in millilitres; none of pictures.
        unlike: in what the scan is unlike those that the model was trained on, what is most so first; the file has the
            key where it is.
        uncertainty: see `case_uncertainty`, where it was asked for; None: there is no structure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_id: str
    file: str
    source: str
    source_sha256: tuple[str, ...]
    split: Split | None
    uncertainty: float | None = None
    volumes_ml: dict[str, float] = {}
    unlike: tuple[str, ...] = ()


class EnsembleMember(BaseModel):
    """One of several networks that made label maps together; its path, and its SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    model_sha256: str


class MadeFiles(BaseModel):
    """What a later call knows a label map by.

    Attributes:
        stamp: what it was made from, and by what.
        sha256: of its file and those that came with it, by their names in the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stamp: str
    sha256: dict[str, str]


class PredictionManifest(BaseModel):
    """Content of prediction.json.

    Attributes:
        model: path of the network; of the first of an ensemble.
        model_sha256: SHA-256 of the network.
        zoo_name: name and version of the (first) network in the zoo; the file has the key where it is from there.
        ensemble: all networks, where there are several; the file has the key then.
        inference: how they were applied; the file has the key where that is not the usual way.
        labels: name to label value, background included.
        segment_numbers: name of a label to its segment in a DICOM SEG, or its ROI in an RTSTRUCT, the same in the whole
            folder; it has the key where label maps are of these kinds.
        cases: one entry a label map.
        left_out: a sentence for each scan that could not be predicted; the file has the key where there are any.
        passed_over: a line for each file that was looked at and is no scan, and why; likewise.
        made_by: stands for the networks, how they were applied, and the version of R2D2; None: an earlier version
            wrote none.
        made: the files of each label map, by its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    model: str
    model_sha256: str
    zoo_name: str | None = None
    ensemble: tuple[EnsembleMember, ...] = ()
    inference: InferenceSettings = InferenceSettings()
    labels: dict[str, int]
    segment_numbers: dict[str, int] = {}
    cases: tuple[PredictedCase, ...]
    left_out: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    made_by: str | None = None
    made: dict[str, MadeFiles] = {}


def prediction_name(case_id: str, scan: Path, *, is_one_file: bool = True, dicom_output: DicomOutput = "nifti") -> str:
    """Give the file name of a label map: the case's, of the scan's own kind where that is kept without loss.

    Args:
        case_id: the case.
        scan: its (first) file.
        is_one_file: not a stack of pictures, which becomes one file.
        dicom_output: what label maps of DICOM series are written as.

    >>> [prediction_name("a", Path(name)) for name in ("a.nii", "0001.dcm", "scan.mhd", "photo.JPG")]
    ['a.nii', 'a.nii.gz', 'a.mha', 'a.png']
    >>> [prediction_name("a", Path(name), dicom_output="seg") for name in ("0001.dcm", "IM0001", "a.nii")]
    ['a.dcm', 'a.dcm', 'a.nii']
    """
    if dicom_output != "nifti" and is_of_dicom(scan):
        return f"{case_id}.dcm"
    ends = {ending: suffix for suffix, endings in WRITTEN_AS.items() for ending in endings}
    suffix = next((written for ending, written in ends.items() if scan.name.lower().endswith(ending)), ".nii.gz")
    return f"{case_id}{'.tif' if suffix == '.png' and not is_one_file else suffix}"


def is_of_dicom(scan: Path) -> bool:
    """Tell whether a scan is DICOM, by the name of its file, be it there or not: other formats have a known suffix."""
    return scan.name.lower().endswith(dicom.SUFFIXES) or not (has_known_suffix(scan) or scan.suffix.lower() == ARRAYS)


def map_name(file: str) -> str:
    """Give the file name of a map of numbers from 0 to 1, for that of its label map: NIfTI, or a picture of 16 bits.

    >>> map_name("a.nii"), map_name("a.png"), map_name("a.mha")
    ('a.nii', 'a.png', 'a.nii.gz')
    """
    return file if file.endswith((*pictures.WRITTEN_SUFFIXES, ".nii", ".nii.gz")) else f"{Path(file).stem}.nii.gz"


def write_manifest(folder: Path, manifest: PredictionManifest) -> None:
    """Write the manifest of a folder of label maps."""
    rare = ("zoo_name", "ensemble", "segment_numbers", "left_out", "passed_over", "made")
    usual: dict[str, Any] = {name: True for name in rare if not getattr(manifest, name)}
    if manifest.inference == InferenceSettings():
        usual["inference"] = True
    unasked = {"uncertainty"} if manifest.inference.uncertainty == "none" else set()
    usual["cases"] = {
        place: unasked | (set() if case.unlike else {"unlike"}) for place, case in enumerate(manifest.cases)
    }
    write_json(folder / MANIFEST, manifest.model_dump(mode="json", exclude=usual))


def read_manifest(folder: Path) -> PredictionManifest | None:
    """Read the manifest of a prediction folder; None where someone else made the label maps.

    Raises:
        PredictionError: where it is damaged.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        return PredictionManifest.model_validate(read_json(path))
    except (ValidationError, ValueError) as error:
        raise PredictionError(f"{path} is damaged; predict again") from error
