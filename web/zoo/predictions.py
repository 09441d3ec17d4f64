"""What a prediction made: its label maps, by number, so that no browser names a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from werkzeug.exceptions import NotFound

from r2d2.engine import JobDetails
from r2d2.engine.errors import RefusedError
from r2d2.errors import R2D2Error
from r2d2.prediction.manifest import PredictedCase, PredictionManifest, is_of_dicom, read_manifest

__all__ = ["Made", "label_map_file", "made_by"]


_KINDS = {".mha": "MetaImage", ".nrrd": "NRRD", ".png": "PNG", ".tif": "TIFF"}


@dataclass(frozen=True)
class Made:
    """What a prediction made.

    Attributes:
        folder: of the label maps.
        manifest: what is in it.
        structures: whose volumes are told, in the order of the labels.
    """

    folder: Path
    manifest: PredictionManifest
    structures: tuple[str, ...]

    @property
    def heads(self) -> tuple[str, ...]:
        """The words above the columns of its table."""
        return ("Case", "Label map", *(f"{name}, ml" for name in self.structures), "Remarks")

    def kind_of(self, case: PredictedCase) -> str:
        """Say what a label map is written as."""
        if not is_of_dicom(Path(case.file)):
            return _KINDS.get(Path(case.file).suffix, "NIfTI")
        return "RTSTRUCT" if self.manifest.inference.dicom_output == "rtstruct" else "DICOM SEG"


def made_by(details: JobDetails) -> Made | None:
    """Read what a job made; None: nothing yet.

    Raises:
        RefusedError: it is no prediction.
    """
    job = details.job
    if job.task != "predict" or job.output is None:
        raise RefusedError(f"job {job.id} is no prediction: its task is {job.task}")
    folder = Path(job.output)
    try:
        manifest = read_manifest(folder)
    except (R2D2Error, OSError):
        return None
    if manifest is None:
        return None
    names = dict.fromkeys(name for case in manifest.cases for name in case.volumes_ml)
    return Made(folder, manifest, tuple(names))


def label_map_file(made: Made, number: int) -> Path:
    """Give a label map by its number, from 1; no link leads out of the folder.

    Raises:
        NotFound: there is none.
    """
    if not 1 <= number <= len(made.manifest.cases):
        raise NotFound(f"there is no label map {number}: it made {len(made.manifest.cases)}")
    file = made.folder / made.manifest.cases[number - 1].file
    real = file.resolve()
    if file.is_symlink() or made.folder.resolve() not in real.parents or not real.is_file():
        raise NotFound(f"label map {number} is not there any more")
    return real
